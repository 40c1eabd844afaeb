/**
 * @module TensorInfo: inputs and outputs of an engine, and of a context, where their shapes and addresses are set; dimensions go through the
 * shim over memory that stays in place.
 */

import { ArgumentError, ClosedError, ModelError, message, ShapeError } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { type DType, formatShape, type Shape, type TensorInfo } from "../core/tensor.ts";
import type { DeviceMemory } from "../cuda/buffers.ts";
import { cString } from "../ffi/memory.ts";
import { SHIM_STATUS, type Shim, shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import type { TensorRtLibrary } from "./library.ts";
import type { NativeObject } from "./native-object.ts";

const MAX_DIMS = SHIM_CONSTANTS.BT_MAX_DIMS;

/** Where the shim writes dimensions, or reads them; good until the next call that uses it. */
export class ShapeCells {
  /** What is passed as the pointer. */
  readonly cells: Int32Array<ArrayBuffer> = new Int32Array(new ArrayBuffer(MAX_DIMS * 4));

  /** The dimensions that a call wrote. @param rank what it returned */
  read(rank: number): Shape {
    return Array.from(this.cells.subarray(0, rank));
  }

  /** Write dimensions for a call. @returns the rank @throws {ArgumentError} If there are more than eight */
  write(shape: Shape): number {
    const rank = shape.length;
    if (rank > MAX_DIMS) {
      throw new ArgumentError(message(`pass the shape ${formatShape(shape)}`, `it may have ${MAX_DIMS} dimensions`));
    }
    for (let axis = 0; axis < rank; axis++) this.cells[axis] = shape[axis]!;
    return rank;
  }
}

/** nvinfer1::DataType by number; the names are the project's dtypes where it has one. */
const DATA_TYPES = ["f32", "f16", "i8", "i32", "bool", "u8", "fp8", "bf16", "i64", "int4", "fp4", "e8m0"] as const;

/** Those without a JavaScript array: they occur inside a network, not at its edge. */
const INNER: ReadonlySet<string> = new Set(["fp8", "bf16", "int4", "fp4", "e8m0"]);

/** The dtype of a tensor, by its number of nvinfer1::DataType. @throws {ModelError} If JavaScript has no array for it */
export function dtypeOf(number: number, tensor: string, source: string): DType {
  const name = DATA_TYPES[number];
  if (name !== undefined && !INNER.has(name)) return name as DType;
  const action = `use tensor ${JSON.stringify(tensor)} of ${source}`;
  const found = `its element type must be f32, f16, i8, u8, i32, i64 or bool, got ${name ?? `number ${number}`}`;
  throw new ModelError(message(action, found, "convert it with a Cast at the edge of the model"), source);
}

/** Number of a dtype in nvinfer1::DataType; -1 where TensorRT has none such. */
export function dtypeNumber(dtype: DType): number {
  return (DATA_TYPES as readonly string[]).indexOf(dtype);
}

/** nvinfer1::TensorIOMode::kINPUT. */
const INPUT = 1;

/** How TensorRT lays out a tensor in memory: row-major (`linear`), channels in vectors of 2 to 32, or channels last. */
export type TensorFormat =
  | "linear"
  | `chw${2 | 4 | 16 | 32}`
  | `hwc${"" | 8 | 16}`
  | "dhwc"
  | "dhwc8"
  | "cdhw32"
  | "dla-linear"
  | "dla-hwc4";

/** nvinfer1::TensorFormat by number. */
const FORMATS: readonly TensorFormat[] = [
  ...(["linear", "chw2", "hwc8", "chw4", "chw16", "chw32", "dhwc8", "cdhw32", "hwc"] as const),
  ...(["dla-linear", "dla-hwc4", "hwc16", "dhwc"] as const),
];

/** A format as one of nvinfer1::TensorFormats, which are bits. */
export function formatBit(format: TensorFormat): number {
  return 1 << FORMATS.indexOf(format);
}

/**
 * Channels side by side of a tensor of a format: `vector` of {@linkcode TypedDeviceMemory}.
 *
 * @returns `undefined` where no such number tells it: other than linear, that is so of four dimensions only
 */
export function vectorOf(format: TensorFormat, shape: Shape): number | undefined {
  if (format === "linear") return 1;
  if (shape.length !== 4) return undefined;
  const channels = shape[1]!;
  if (format === "hwc") return channels;
  if (format === "hwc8") return Math.ceil(channels / 8) * 8;
  if (format === "hwc16") return Math.ceil(channels / 16) * 16;
  return { chw2: 2, chw4: 4, chw16: 16, chw32: 32 }[format as string];
}

/** An input or output of an engine. */
export interface EngineTensor extends TensorInfo {
  readonly mode: "input" | "output";
  /** True where its values are read on the host, before the inference runs. */
  readonly isShapeInput: boolean;
  /** Where its memory lies. */
  readonly location: "device" | "host";
  /** True for plain row-major memory. */
  readonly isLinear: boolean;
  /** How it lies in memory. */
  readonly format: TensorFormat;
  /** TensorRT's own words: `Row major linear FP32 format (kLINEAR)`. */
  readonly formatText: string;
  /** Smallest, typical and largest shape of each optimisation profile; equal where the shape is fixed, empty for outputs. */
  readonly profiles: readonly ProfileShape[];
}

/** The shapes an input may have under one optimisation profile. */
export interface ProfileShape {
  readonly min: Shape;
  readonly opt: Shape;
  readonly max: Shape;
}

const cells = new ShapeCells();

function profilesOf(library: TensorRtLibrary, engine: number, name: Uint8Array, count: number): ProfileShape[] {
  return Array.from({ length: count }, (_, profile) => {
    const [min, opt, max] = [0, 1, 2].map((selector) => {
      const rank = shim().bt_engine_profile_shape(library.handle, engine, name, profile, selector, cells.cells);
      return cells.read(library.check(rank, "CudaEngine.getProfileShape"));
    });
    return { min: min!, opt: opt!, max: max! };
  });
}

/** Read one tensor of an ICudaEngine. @throws {ModelError} If its element type has no JavaScript array */
export function readEngineTensor(
  library: TensorRtLibrary,
  engine: number,
  name: string,
  profileCount: number,
  source: string,
): EngineTensor {
  const encoded = cString(name);
  const rank = shim().bt_engine_tensor_shape(library.handle, engine, encoded, cells.cells);
  const shape = cells.read(library.check(rank, "CudaEngine.getTensorShape"));
  const mode = library.call(engine, "CudaEngine.getTensorIOMode", encoded) === INPUT ? "input" : "output";
  const format = FORMATS[library.call(engine, "CudaEngine.getTensorFormat", encoded)]!;
  return {
    name,
    dtype: dtypeOf(library.call(engine, "CudaEngine.getTensorDataType", encoded), name, source),
    shape,
    mode,
    isShapeInput: mode === "input" && library.call(engine, "CudaEngine.isShapeInferenceIO", encoded) === 1,
    location: library.call(engine, "CudaEngine.getTensorLocation", encoded) === 0 ? "device" : "host",
    isLinear: format === "linear",
    format,
    formatText: library.text(engine, "CudaEngine.getTensorFormatDesc", encoded),
    profiles: mode === "input" ? profilesOf(library, engine, encoded, profileCount) : [],
  };
}

/** An input or output of one context. Its calls allocate nothing; look it up once and keep it. */
export class ContextTensor {
  readonly info: EngineTensor;
  readonly #context: NativeObject & { readonly profile: number };
  readonly #name: Uint8Array;
  readonly #cells = new ShapeCells();
  readonly #native: Shim = shim();

  /** @internal */
  constructor(context: NativeObject & { readonly profile: number }, info: EngineTensor) {
    this.#context = context;
    this.info = info;
    this.#name = cString(info.name);
  }

  /**
   * Say where the tensor lies. The memory stays the caller's, and is used by every enqueue from now on.
   *
   * @param address in device memory, on the host for tensors whose `location` is "host"; large enough for the shape in use,
   *   aligned to 256 bytes
   * @throws {TensorRtError} If TensorRT refuses it
   */
  setAddress(address: number): void {
    const { library, handle } = this.#context;
    const status = this.#native.bt_context_set_tensor_address(library.handle, handle, this.#name, address);
    if (status !== SHIM_STATUS.ok) {
      throw library.failure(`bind ${JSON.stringify(this.info.name)}`, "ExecutionContext.setTensorAddress", status);
    }
  }

  /**
   * Set the shape of an input.
   *
   * @throws {ShapeError} If the profile in use does not allow it
   */
  setShape(shape: Shape): void {
    const { library, handle } = this.#context;
    const rank = this.#cells.write(shape);
    const cells = this.#cells.cells;
    const status = this.#native.bt_context_set_input_shape(library.handle, handle, this.#name, cells, rank);
    if (status !== SHIM_STATUS.ok) this.#refuse(shape);
  }

  /** The shape in use; -1 where it is not known yet. */
  get shape(): Shape {
    const { library, handle } = this.#context;
    const rank = this.#native.bt_context_tensor_shape(library.handle, handle, this.#name, this.#cells.cells);
    return this.#cells.read(library.check(rank, "ExecutionContext.getTensorShape"));
  }

  /**
   * Channels side by side under the shape in use: `vector` of the memory that is bound to it. 1 for row-major memory.
   *
   * @throws {ShapeError} If its format is one that no such number tells
   */
  get vector(): number {
    const { format, name, formatText } = this.info;
    const { shape } = this;
    const vector = vectorOf(format, shape);
    if (vector !== undefined) return vector;
    const expected = "linear, or of four dimensions with their channels in vectors or last";
    const found = `its format must be ${expected}, got ${JSON.stringify(formatText)} for ${formatShape(shape)}`;
    const text = message(`lay out ${JSON.stringify(name)}`, found, "build the plan with linear inputs and outputs");
    throw new ShapeError(text, { tensor: name, expected, actual: formatText });
  }

  /** Elements between neighbours along each axis. */
  get strides(): Shape {
    const { library, handle } = this.#context;
    const rank = this.#native.bt_context_tensor_strides(library.handle, handle, this.#name, this.#cells.cells);
    return this.#cells.read(library.check(rank, "ExecutionContext.getTensorStrides"));
  }

  /** Upper bound of an output's bytes for the input shapes in use, also where its shape depends on the data. */
  get maxBytes(): number {
    const { library, handle } = this.#context;
    return library.call(handle, "ExecutionContext.getMaxOutputSize", this.#name);
  }

  /** Let an allocator place an output whose shape depends on the data; `undefined` takes it away. */
  setAllocator(allocator: OutputAllocator | undefined): void {
    const { library, handle } = this.#context;
    const address = allocator?.handle ?? 0;
    const status = this.#native.bt_context_set_output_allocator(library.handle, handle, this.#name, address);
    library.check(status, "ExecutionContext.setOutputAllocator", `place ${JSON.stringify(this.info.name)}`);
  }

  #refuse(shape: Shape): never {
    const { library, profile, closed, label } = this.#context;
    const { name } = this.info;
    if (closed) throw new ClosedError(`set the shape of ${JSON.stringify(name)}`, label);
    const { lines } = library.log.takeErrors();
    const range = this.info.profiles[profile];
    const expected =
      range === undefined
        ? formatShape(this.info.shape)
        : `within ${formatShape(range.min)} and ${formatShape(range.max)} of profile ${profile}`;
    const actual = formatShape(shape);
    const why = lines.length === 0 ? "" : ` (${lines.join("; ")})`;
    throw new ShapeError(
      message(`set the shape of ${JSON.stringify(name)}`, `it must be ${expected}, got ${actual}${why}`),
      { tensor: name, expected, actual },
    );
  }
}

/** The context whose outputs are asked for. */
export interface AllocatingContext extends NativeObject {
  /** A tensor of it, by name. */
  tensor(name: string): ContextTensor;
  /** Free something with the context. */
  retire(free: () => void): void;
}

/**
 * Grants TensorRT memory of the caller. Where it is too small the inference fails; {@linkcode OutputAllocator.requestedBytes}
 * then says what is needed.
 */
export class OutputAllocator extends Resource {
  readonly #handle: number;
  readonly #cells = new ShapeCells();
  readonly #context: AllocatingContext;
  readonly #output: string;

  private constructor(context: AllocatingContext, output: string) {
    super(`OutputAllocator of ${JSON.stringify(output)}`, context);
    this.#context = context;
    this.#output = output;
    this.#handle = shim().bt_allocator_create()!;
  }

  /**
   * Make an allocator and let it place an output.
   *
   * @param output name of an output whose shape depends on the data
   * @throws {ArgumentError} If the engine has no such tensor
   */
  static create(context: AllocatingContext, output: string): OutputAllocator {
    const tensor = context.tensor(output);
    const allocator = new OutputAllocator(context, output);
    try {
      tensor.setAllocator(allocator);
    } catch (error) {
      allocator.close();
      throw error;
    }
    return allocator;
  }

  /** Address of the IOutputAllocator. Borrowed: valid while it is open. @throws {ClosedError} If it is closed */
  get handle(): number {
    this.assertOpen("use an OutputAllocator");
    return this.#handle;
  }

  /** Give it memory, which stays the caller's and outlives the inferences. At `tensor.maxBytes` it always fits. */
  setMemory(memory: DeviceMemory): void {
    shim().bt_allocator_set_memory(this.handle, memory.pointer, memory.byteLength);
  }

  /** Largest request in bytes since the memory was given. */
  get requestedBytes(): number {
    return shim().bt_allocator_requested(this.handle);
  }

  /** Shape of the last inference that was enqueued; `undefined` before the first. */
  get shape(): Shape | undefined {
    const rank = shim().bt_allocator_shape(this.handle, this.#cells.cells);
    return rank < 0 ? undefined : this.#cells.read(rank);
  }

  protected override release(): void {
    this.#context.tensor(this.#output).setAllocator(undefined);
    this.#context.retire(() => shim().bt_observer_destroy(this.#handle));
  }
}
