/** @module PoolView: a pool of stream-ordered device memory, whoever owns it: its figures and its limits. */

import type { Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/memory.ts";
import { check } from "./check.ts";

/** Attribute numbers of `enum cudaMemPoolAttr`. */
const RELEASE_THRESHOLD = 4;
const RESERVED_CURRENT = 5;
const RESERVED_HIGH = 6;
const USED_CURRENT = 7;
const USED_HIGH = 8;

const out = new OutCells(1);

/** What a pool holds, in bytes. */
export interface PoolUsage {
  /** Handed out now, and at most so far. */
  readonly usedBytes: number;
  readonly usedHighBytes: number;
  /** Taken from the device now, and at most so far. */
  readonly reservedBytes: number;
  readonly reservedHighBytes: number;
}

/** A pool someone else owns: the device, or a `MemoryPool`. */
export class PoolView {
  readonly handle: Handle<"cudaMemPool_t">;

  /** Made by {@linkcode PoolView.ofDevice} and `MemoryPool`. */
  constructor(handle: Handle<"cudaMemPool_t">) {
    this.handle = handle;
  }

  /** The pool every device has from the start. */
  static ofDevice(deviceIndex: number): PoolView {
    check(cudaRuntime().cudaDeviceGetDefaultMemPool(out.cells, deviceIndex), "cudaDeviceGetDefaultMemPool");
    return new PoolView(out.pointer() as Handle<"cudaMemPool_t">);
  }

  /** How much is handed out and reserved. */
  usage(): PoolUsage {
    return {
      usedBytes: this.#attribute(USED_CURRENT),
      usedHighBytes: this.#attribute(USED_HIGH),
      reservedBytes: this.#attribute(RESERVED_CURRENT),
      reservedHighBytes: this.#attribute(RESERVED_HIGH),
    };
  }

  /**
   * How much freed memory the pool keeps for later allocations when a stream is synchronised. 0, the default, gives
   * all of it back to the device, which makes the next allocation slow.
   *
   * @param bytes `Infinity` to keep everything
   */
  setReleaseThreshold(bytes: number): void {
    if (bytes === Number.POSITIVE_INFINITY) out.cells[0] = 0xffff_ffff_ffff_ffffn;
    else out.setPointer(0, bytes);
    check(cudaRuntime().cudaMemPoolSetAttribute(this.handle, RELEASE_THRESHOLD, out.cells), "cudaMemPoolSetAttribute");
  }

  /** Give unused memory back to the device. @param keepBytes how much may stay reserved */
  trim(keepBytes = 0): void {
    check(cudaRuntime().cudaMemPoolTrimTo(this.handle, keepBytes), "cudaMemPoolTrimTo");
  }

  #attribute(attribute: number): number {
    check(cudaRuntime().cudaMemPoolGetAttribute(this.handle, attribute, out.cells), "cudaMemPoolGetAttribute");
    return out.pointer();
  }
}
