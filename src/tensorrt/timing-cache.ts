/** @module TimingCache: how fast the kernels were that earlier builds tried, so that later builds need not try again. */

import { shim } from "../ffi/shim.ts";
import { HostMemory } from "./host-memory.ts";
import { NativeObject } from "./native-object.ts";

/** Measured timings. They hold for one GPU and one version of TensorRT; others are refused. */
export class TimingCache extends NativeObject {
  private constructor(config: NativeObject, handle: number) {
    super("TimingCache", config.library, handle, config);
  }

  /**
   * Make a cache from what an earlier build serialised, or an empty one.
   *
   * @throws {TensorRtError} If the bytes are no timing cache of this version
   */
  static create(config: NativeObject, bytes: Uint8Array = new Uint8Array()): TimingCache {
    const { library } = config;
    const stored = bytes.byteLength === 0 ? null : bytes;
    const handle = shim().bt_config_create_timing_cache(library.handle, config.handle, stored, bytes.byteLength);
    if (handle !== null) return new TimingCache(config, handle);
    throw library.failure("read a timing cache", "IBuilderConfig::createTimingCache", -1);
  }

  /** Take in what another cache of the same GPU and version knows. @returns false if they do not fit */
  combine(other: TimingCache): boolean {
    return shim().bt_timing_cache_combine(this.library.handle, this.handle, other.handle, 0) === 0;
  }

  /** The bytes to keep for the next build. */
  serialize(): Uint8Array<ArrayBuffer> {
    const handle = this.pointer("TimingCache.serialize", "serialise a timing cache");
    using memory = HostMemory.wrap("TimingCache bytes", this.library, handle, this);
    return memory.copy();
  }
}
