/** @module ShapeCells: dimensions on their way through the shim, over memory that stays in place. */

import { ArgumentError, ModelError, message } from "../core/errors.ts";
import { type DType, formatShape, type Shape, type TensorInfo } from "../core/tensor.ts";
import { cString } from "../ffi/memory.ts";
import { shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import type { TensorRtLibrary } from "./library.ts";

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
