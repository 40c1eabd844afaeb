/** @module OptimizationProfile: the smallest, typical and largest shape of each dynamic input. */

import { message, OptionError } from "../core/errors.ts";
import { formatShape, type Shape } from "../core/tensor.ts";
import { cString } from "../ffi/memory.ts";
import { methodId, SHIM_STATUS, shim } from "../ffi/shim.ts";
import { HostMemory } from "./host-memory.ts";
import { NativeObject } from "./native-object.ts";
import { ShapeCells } from "./tensor-info.ts";

/** nvinfer1::OptProfileSelector in the order of its numbers. */
const SELECTORS = ["min", "opt", "max"] as const;

/** Three shapes of one input; `opt` is what the kernels are chosen for. */
export interface ShapeRange {
  readonly min: Shape;
  readonly opt: Shape;
  readonly max: Shape;
}

const cells = new ShapeCells();

/** A profile of a builder, which owns it. There is nothing to close. */
export class OptimizationProfile {
  readonly #builder: NativeObject;
  readonly #handle: number;

  private constructor(builder: NativeObject, handle: number) {
    this.#builder = builder;
    this.#handle = handle;
  }

  /** Called by {@linkcode Builder.createProfile} alone. */
  static wrap(builder: NativeObject, handle: number): OptimizationProfile {
    return new OptimizationProfile(builder, handle);
  }

  /** Address of the IOptimizationProfile. Borrowed: valid while the builder is open. @throws {ClosedError} If it is closed */
  get handle(): number {
    this.#builder.assertOpen("use an optimisation profile");
    return this.#handle;
  }

  /**
   * Set the shapes of an input.
   *
   * @param input name of the input
   * @throws {OptionError} If TensorRT refuses one: they must have the input's rank, and min ≤ opt ≤ max on every axis
   */
  setShapes(input: string, range: ShapeRange): void {
    const { library, handle } = this.#use();
    const name = cString(input);
    for (const [number, selector] of SELECTORS.entries()) {
      const rank = cells.write(range[selector]);
      const status = shim().bt_profile_set_dimensions(library.handle, handle, name, number, cells.cells, rank);
      if (status === SHIM_STATUS.ok) continue;
      this.#refuse(input, selector, formatShape(range[selector]));
    }
  }

  /** Set the values of an input that holds a shape itself. @param values up to 64 a selector */
  setValues(input: string, range: ShapeRange): void {
    const { library, handle } = this.#use();
    const name = cString(input);
    for (const [number, selector] of SELECTORS.entries()) {
      const values = new Int32Array(new ArrayBuffer(4 * Math.max(1, range[selector].length)));
      values.set(range[selector]);
      const count = range[selector].length;
      const status = shim().bt_profile_set_shape_values(library.handle, handle, name, number, values, count);
      if (status === SHIM_STATUS.ok) continue;
      this.#refuse(input, selector, formatShape(range[selector]));
    }
  }

  /** What was set for an input. */
  shapes(input: string): ShapeRange {
    const { library, handle } = this.#use();
    const name = cString(input);
    const [min, opt, max] = SELECTORS.map((_, number) => {
      const rank = shim().bt_profile_dimensions(library.handle, handle, name, number, cells.cells);
      return rank < 0 ? [] : cells.read(rank);
    });
    return { min: min!, opt: opt!, max: max! };
  }

  /** True if the shapes fit each other. TensorRT compares them with the network when it builds. */
  get isValid(): boolean {
    const { library, handle } = this.#use();
    const status = shim().bt_bool(library.handle, handle, methodId("OptimizationProfile.isValid"));
    return library.check(status, "OptimizationProfile.isValid") === 1;
  }

  #use(): { readonly library: NativeObject["library"]; readonly handle: number } {
    return { library: this.#builder.library, handle: this.handle };
  }

  #refuse(input: string, selector: string, shape: string): never {
    const { lines } = this.#builder.library.log.takeErrors();
    const why = lines.length === 0 ? "" : `: ${lines.join("; ")}`;
    throw new OptionError(
      message(
        `set the ${selector} shape of ${JSON.stringify(input)} to ${shape}`,
        `TensorRT refused it${why}`,
        "every shape needs the input's rank, and min ≤ opt ≤ max on every axis",
      ),
      `profiles.${input}.${selector}`,
    );
  }
}

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
