/** @module Tensor: an array in host memory with its dtype and shape, and the declaration of one by a model. */

import { ArgumentError, message, ShapeError } from "./errors.ts";
import { printable } from "./log.ts";
import { formatBytes } from "./units.ts";

/** What a model declares of one of its inputs or outputs. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  /** -1 where the model leaves a dimension open. */
  readonly shape: Shape;
}

/** Elements in host memory, row-major (the last dimension is contiguous). */
export interface Tensor<T extends DType = DType> {
  readonly dtype: T;
  readonly shape: Shape;
  readonly data: DTypeMap[T];
}

/** `images: f32 [1, 3, 640, 640]` */
export function formatTensorInfo(info: TensorInfo): string {
  return `${printable(info.name)}: ${info.dtype} ${formatShape(info.shape)}`;
}

/** A zeroed tensor that owns its memory. @throws {ArgumentError} If a dimension is dynamic */
export function createTensor<T extends DType>(dtype: T, shape: Shape): Tensor<T> {
  return { dtype, shape, data: allocate(dtype, volume(shape)) };
}

/**
 * A tensor over an array the caller owns; nothing is copied.
 *
 * @throws {ShapeError} If the array has another number of elements than the shape
 *
 * @example
 * ```ts
 * import { tensorOf } from "bun-tensorrt/onnxruntime";
 *
 * const { dtype, shape, data } = tensorOf("f32", [1, 3], Float32Array.of(0.1, 0.2, 0.3));
 * console.log(dtype, shape, data.length);
 * ```
 */
export function tensorOf<T extends DType>(dtype: T, shape: Shape, data: DTypeMap[T]): Tensor<T> {
  if (data.length !== volume(shape)) {
    const expected = `${volume(shape)} elements for ${dtype} ${formatShape(shape)}`;
    throw new ShapeError(`Cannot make a tensor: it needs ${expected}, got ${data.length}`, {
      tensor: "data",
      expected,
      actual: `${data.length} elements`,
    });
  }
  return { dtype, shape, data };
}

/** Dimensions, outermost first; -1 where the model leaves one open. */
export type Shape = readonly number[];

/** Number of elements; the empty shape is a scalar and has 1. @throws {ArgumentError} If a dimension is dynamic */
export function volume(shape: Shape): number {
  let product = 1;
  for (const dim of shape) {
    if (dim < 0) throw new ArgumentError(`Cannot count the elements of ${formatShape(shape)}: a dimension is dynamic`);
    product *= dim;
  }
  return product;
}

/**
 * Elements in memory of a tensor whose channels come in vectors, as TensorRT's formats have them: of [N, C, H, W] the element
 * (n, c, cell) lies at `n · ⌈C / vector⌉ · vector · H · W + (⌊c / vector⌋ · H · W + cell) · vector + c mod vector`. Row-major
 * is a vector of 1, channels last one of C; what fills the last vector is 0, or whatever was there.
 *
 * @param vector channels side by side; other than 1 for four dimensions only
 * @throws {ArgumentError} If a dimension is dynamic, or there are no four
 */
export function vectorVolume(shape: Shape, vector: number): number {
  if (vector === 1) return volume(shape);
  if (shape.length !== 4) {
    throw new ArgumentError(`Cannot lay out ${formatShape(shape)} in vectors: it must have four dimensions`);
  }
  const [batch, channels, height, width] = shape;
  return volume([batch!, Math.ceil(channels! / vector) * vector, height!, width!]);
}

/** Read a tensor out of memory whose channels come in vectors: see {@linkcode vectorVolume}. */
export function unpackVectors<T extends DType>(tensor: Tensor<T>, packed: DTypeMap[T], vector: number): void {
  if (vector === 1) (tensor.data as TypedArray).set(packed as never);
  else moveVectors(tensor.shape, vector, tensor.data, packed, false);
}

/** Write a tensor into such memory, and 0 where its channels fill no vector. */
export function packVectors<T extends DType>(packed: DTypeMap[T], { shape, data }: Tensor<T>, vector: number): void {
  if (vector === 1) {
    (packed as TypedArray).set(data as never);
    return;
  }
  packed.fill((packed instanceof BigInt64Array ? 0n : 0) as never);
  moveVectors(shape, vector, data, packed, true);
}

function moveVectors(shape: Shape, vector: number, plain: TypedArray, packed: TypedArray, packs: boolean): void {
  const [batch = 0, channels = 0, height = 0, width = 0] = shape;
  const cells = height * width;
  const vectors = Math.ceil(channels / vector);
  for (let image = 0, at = 0; image < batch; image++) {
    for (let channel = 0; channel < channels; channel++) {
      let other = (image * vectors + Math.floor(channel / vector)) * cells * vector + (channel % vector);
      for (let cell = 0; cell < cells; cell++, at++, other += vector) {
        if (packs) packed[other] = plain[at]!;
        else plain[at] = packed[other]!;
      }
    }
  }
}

/** True if any dimension is dynamic. */
export function isDynamic(shape: Shape): boolean {
  return shape.some((dim) => dim < 0);
}

/** True if both have the same rank and dimensions. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** True if `actual` fits `declared`, whose dynamic dimensions take any size. */
export function fitsShape(actual: Shape, declared: Shape): boolean {
  return actual.length === declared.length && declared.every((dim, axis) => dim < 0 || dim === actual[axis]);
}

/** `[1, 3, ?, ?]`: a dynamic dimension is printed as a question mark. */
export function formatShape(shape: Shape): string {
  return `[${shape.map((dim) => (dim < 0 ? "?" : String(dim))).join(", ")}]`;
}

/** Typed array that holds the elements of each dtype on the host. `bool` is one byte, 0 or 1. */
export interface DTypeMap {
  f32: Float32Array<ArrayBuffer>;
  f16: Float16Array<ArrayBuffer>;
  i8: Int8Array<ArrayBuffer>;
  u8: Uint8Array<ArrayBuffer>;
  u16: Uint16Array<ArrayBuffer>;
  i32: Int32Array<ArrayBuffer>;
  i64: BigInt64Array<ArrayBuffer>;
  bool: Uint8Array<ArrayBuffer>;
}

/** Element type of a tensor. */
export type DType = keyof DTypeMap;

/** Host array of any dtype. */
export type TypedArray = DTypeMap[DType];

/** The constructor of each dtype's array. */
export const ARRAYS: {
  readonly [T in DType]: {
    new (buffer: ArrayBuffer, byteOffset: number, length: number): DTypeMap[T];
    readonly BYTES_PER_ELEMENT: number;
  };
} = {
  f32: Float32Array,
  f16: Float16Array,
  i8: Int8Array,
  u8: Uint8Array,
  u16: Uint16Array,
  i32: Int32Array,
  i64: BigInt64Array,
  bool: Uint8Array,
};

/** Every dtype, for messages and tests. */
export const DTYPES: readonly DType[] = Object.keys(ARRAYS) as DType[];

/** Element types by the numbers that ONNX files and ONNX Runtime give them; those that are dtypes have their names. */
export const ELEMENT_TYPES: readonly string[] = (
  "undefined f32 u8 i8 u16 i16 i32 i64 string bool f16 f64 u32 u64 complex64 complex128 bf16 " +
  "f8e4m3fn f8e4m3fnuz f8e5m2 f8e5m2fnuz u4 i4"
).split(" ");

/** Width of one element in bytes. */
export function bytesPerElement(dtype: DType): number {
  return ARRAYS[dtype].BYTES_PER_ELEMENT;
}

/**
 * A typed array over a part of a buffer. Copies nothing.
 *
 * @param dtype      element type
 * @param buffer     memory to view; the view lives as long as it does
 * @param byteOffset start in bytes, a multiple of the element's width
 * @param length     number of elements
 */
export function viewOf<T extends DType>(
  dtype: T,
  buffer: ArrayBuffer,
  byteOffset: number,
  length: number,
): DTypeMap[T] {
  return new ARRAYS[dtype](buffer, byteOffset, length);
}

function createBuffer(byteLength: number): ArrayBuffer {
  try {
    return new ArrayBuffer(byteLength);
  } catch (error) {
    const found = `there is none for ${formatBytes(byteLength)} in one piece`;
    throw new ArgumentError(
      message("allocate memory", found, "use fewer or smaller images at once, or a model with smaller tensors"),
      { cause: error },
    );
  }
}

/**
 * A zeroed array of `length` elements over its own ArrayBuffer, so that it never moves while native code reads it.
 *
 * @throws {ArgumentError} If memory does not suffice
 */
export function allocate<T extends DType>(dtype: T, length: number): DTypeMap[T] {
  return viewOf(dtype, createBuffer(length * bytesPerElement(dtype)), 0, length);
}

/** Numbers of chance, the same in each process: what a model is found to be by a run on them it is always. */
export class Chance {
  #state = 1;

  /** The next one from `low` up to `high`. */
  between(low: number, high: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return low + ((high - low) * this.#state) / 2 ** 32;
  }
}
