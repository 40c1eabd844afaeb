/** @module OptimizationProfile: the smallest, typical and largest shape of each dynamic input. */

import { message, OptionError } from "../core/errors.ts";
import { fitsShape, formatShape, isDynamic, type Shape } from "../core/tensor.ts";
import { cString } from "../ffi/memory.ts";
import { SHIM_STATUS, shim } from "../ffi/shim.ts";
import type { BuildConfig, InputShapes } from "./build-options.ts";
import { HostMemory, NativeObject } from "./native-object.ts";
import type { NetworkTensor } from "./network.ts";
import { type ProfileShape, ShapeCells } from "./tensor-info.ts";

/** nvinfer1::OptProfileSelector in the order of its numbers. */
const SELECTORS = ["min", "opt", "max"] as const;

/** Three shapes of one input; `opt` is what the kernels are chosen for. */
export type ShapeRange = ProfileShape;

const cells = new ShapeCells();

/** True if the three have one rank, and min ≤ opt ≤ max on every axis. */
function isOrdered({ min, opt, max }: ShapeRange): boolean {
  const isOneRank = min.length === opt.length && opt.length === max.length;
  return isOneRank && opt.every((dim, axis) => min[axis]! <= dim && dim <= max[axis]!);
}

/** A profile of a builder, which owns it. There is nothing to close. */
export class OptimizationProfile {
  readonly #builder: NativeObject;
  readonly #handle: number;
  /** Inputs whose last range is out of order. */
  readonly #unordered = new Set<string>();

  /** @internal */
  constructor(builder: NativeObject, handle: number) {
    this.#builder = builder;
    this.#handle = handle;
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
    const { library } = this.#builder;
    this.#set(input, range, (name, selector, shape) => {
      const rank = cells.write(shape);
      return shim().bt_profile_set_dimensions(library.handle, this.handle, name, selector, cells.cells, rank);
    });
  }

  /** Set the values of an input that holds a shape itself. @param range up to 64 values a selector */
  setValues(input: string, range: ShapeRange): void {
    const { library } = this.#builder;
    this.#set(input, range, (name, selector, { length }) => {
      const values = new Int32Array(new ArrayBuffer(4 * Math.max(1, length)));
      values.set(range[SELECTORS[selector]!]);
      return shim().bt_profile_set_shape_values(library.handle, this.handle, name, selector, values, length);
    });
  }

  #set(input: string, range: ShapeRange, set: (name: Uint8Array, selector: number, shape: Shape) => number): void {
    const name = cString(input);
    if (isOrdered(range)) this.#unordered.delete(input);
    else this.#unordered.add(input);
    for (const [number, selector] of SELECTORS.entries()) {
      if (set(name, number, range[selector]) === SHIM_STATUS.ok) continue;
      const { lines } = this.#builder.library.log.takeErrors();
      const action = `set the ${selector} shape of ${JSON.stringify(input)} to ${formatShape(range[selector])}`;
      const hint = "every shape needs the input's rank, and min ≤ opt ≤ max on every axis";
      const found = lines.length === 0 ? "TensorRT refused it" : lines.join("; ");
      throw new OptionError(message(action, found, hint), `profiles.${input}.${selector}`);
    }
  }

  /** What was set for an input. */
  shapes(input: string): ShapeRange {
    const { library } = this.#builder;
    const name = cString(input);
    const [min, opt, max] = SELECTORS.map((_, number) => {
      const rank = shim().bt_profile_dimensions(library.handle, this.handle, name, number, cells.cells);
      return rank < 0 ? [] : cells.read(rank);
    });
    return { min: min!, opt: opt!, max: max! };
  }

  /** @internal Inputs whose ranges TensorRT would refuse, which may end the process: see `TensorRtLibrary.assertSafe`. */
  get unordered(): readonly string[] {
    return [...this.#unordered];
  }

  /** True if the shapes fit each other. TensorRT compares them with the network when it builds. */
  get isValid(): boolean {
    if (this.#unordered.size > 0) return false;
    return this.#builder.library.call(this.handle, "OptimizationProfile.isValid") === 1;
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
    if (stored !== null) library.assertSafe("read a timing cache", "BuilderConfig.createTimingCache");
    const handle = shim().bt_config_create_timing_cache(library.handle, config.handle, stored, bytes.byteLength);
    if (handle !== null) return new TimingCache(config, handle);
    throw library.failure("read a timing cache", "BuilderConfig.createTimingCache");
  }

  /** Take in what another cache of the same GPU and version knows. @returns false if they do not fit */
  combine(other: TimingCache): boolean {
    return shim().bt_timing_cache_combine(this.library.handle, this.handle, other.handle, 0) === SHIM_STATUS.ok;
  }

  /** The bytes to keep for the next build. */
  serialize(): Uint8Array<ArrayBuffer> {
    const handle = this.pointer("serialise a timing cache", "TimingCache.serialize");
    using memory = new HostMemory("TimingCache bytes", handle, this);
    return memory.copy();
  }
}

/** Axis of the batch. */
const BATCH = 0;

/** Axes of height and width of an image tensor: NHWC where the last axis holds 1, 3 or 4 channels, else NCHW. */
function imageAxes(shape: Shape): { readonly height: number; readonly width: number } | undefined {
  if (shape.length !== 4) return undefined;
  const isChannelsLast = [1, 3, 4].includes(shape[3]!) && ![1, 3, 4].includes(shape[1]!);
  return isChannelsLast ? { height: 1, width: 2 } : { height: 2, width: 3 };
}

/**
 * The profiles of a build, each with the shapes of every dynamic input by name: none where all shapes are fixed.
 *
 * @throws {OptionError} If a dynamic axis has no range, or a profile names an input that is not there, or gives one
 * another rank or side than the model
 */
export function inputProfiles(
  inputs: readonly NetworkTensor[],
  config: BuildConfig,
): ReadonlyMap<string, ShapeRange>[] {
  const dynamic = inputs.filter((input) => isDynamic(input.shape));
  for (const profile of config.profiles) {
    for (const [name, shapes] of Object.entries(profile)) checkShapes(inputNamed(name, inputs), shapes);
  }
  if (dynamic.length === 0) return [];
  const listed = config.profiles.length === 0 ? [{}] : config.profiles;
  return listed.map((profile) => {
    const byName: Readonly<Record<string, InputShapes>> = profile;
    return new Map(dynamic.map((input) => [input.name, rangeOf(input, byName[input.name], config)]));
  });
}

function inputNamed(name: string, inputs: readonly NetworkTensor[]): NetworkTensor {
  const found = inputs.find((input) => input.name === name);
  if (found !== undefined) return found;
  const hint = `the inputs are ${inputs.map((input) => JSON.stringify(input.name)).join(", ")}`;
  const text = message("build an engine", `a profile names the input ${JSON.stringify(name)}`, hint);
  throw new OptionError(text, "profiles");
}

/** TensorRT would say so after a while for one input, and not at all where the model leaves nothing open. */
function checkShapes({ name, shape }: NetworkTensor, listed: InputShapes): void {
  const shapes = "min" in listed ? [listed.min, listed.opt, listed.max] : [listed];
  const wrong = shapes.find((one) => !fitsShape(one, shape));
  if (wrong === undefined) return;
  const found = `a profile gives the input ${JSON.stringify(name)} ${formatShape(shape)} the shape ${formatShape(wrong)}`;
  throw new OptionError(message("build an engine", found, "only what the model leaves open can be chosen"), "profiles");
}

function rangeOf(input: NetworkTensor, listed: InputShapes | undefined, config: BuildConfig): ShapeRange {
  if (listed !== undefined) return "min" in listed ? listed : { min: listed, opt: listed, max: listed };
  const axes = imageAxes(input.shape);
  const at = (selector: "min" | "opt" | "max"): Shape =>
    input.shape.map((dim, axis) => {
      if (dim >= 0) return dim;
      if (axis === BATCH && config.batch !== undefined) return config.batch[selector];
      if (axis === axes?.width && config.size !== undefined) return config.size[selector][0];
      if (axis === axes?.height && config.size !== undefined) return config.size[selector][1];
      throw unset(
        input,
        axis === BATCH ? "batch" : axis === axes?.width || axis === axes?.height ? "size" : "profiles",
      );
    });
  return { min: at("min"), opt: at("opt"), max: at("max") };
}

function unset(input: NetworkTensor, option: "batch" | "size" | "profiles"): OptionError {
  const hints = {
    batch: "say how many images a batch has: `batch: 1`, or `batch: { min: 1, opt: 4, max: 8 }`",
    size: "say how large the images are: `size: [640, 640]`, or `size: { min, opt, max }`",
    profiles: `list its shapes: \`profiles: [{ ${JSON.stringify(input.name)}: { min, opt, max } }]\``,
  };
  const found = `the input ${JSON.stringify(input.name)} ${formatShape(input.shape)} is dynamic and has no range`;
  return new OptionError(message("build an engine", found, hints[option]), option);
}
