/** @module DType: element types of tensors, and the typed array and width of each. */

import { ArgumentError, message } from "./errors.ts";
import { formatBytes } from "./units.ts";

/** Typed array that holds the elements of each dtype on the host. `bool` is one byte, 0 or 1. */
export interface DTypeMap {
  f32: Float32Array<ArrayBuffer>;
  f16: Float16Array<ArrayBuffer>;
  i8: Int8Array<ArrayBuffer>;
  u8: Uint8Array<ArrayBuffer>;
  i32: Int32Array<ArrayBuffer>;
  i64: BigInt64Array<ArrayBuffer>;
  bool: Uint8Array<ArrayBuffer>;
}

/** Element type of a tensor. */
export type DType = keyof DTypeMap;

/** Host array of any dtype. */
export type TypedArray = DTypeMap[DType];

const BYTES: Readonly<Record<DType, number>> = { f32: 4, f16: 2, i8: 1, u8: 1, i32: 4, i64: 8, bool: 1 };

/** Every dtype, for messages and tests. */
export const DTYPES: readonly DType[] = Object.keys(BYTES) as DType[];

/** Width of one element in bytes. */
export function bytesPerElement(dtype: DType): number {
  return BYTES[dtype];
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
  const view = (): TypedArray => {
    switch (dtype as DType) {
      case "f32":
        return new Float32Array(buffer, byteOffset, length);
      case "f16":
        return new Float16Array(buffer, byteOffset, length);
      case "i8":
        return new Int8Array(buffer, byteOffset, length);
      case "u8":
      case "bool":
        return new Uint8Array(buffer, byteOffset, length);
      case "i32":
        return new Int32Array(buffer, byteOffset, length);
      case "i64":
        return new BigInt64Array(buffer, byteOffset, length);
    }
  };
  return view() as DTypeMap[T];
}

function createBuffer(byteLength: number): ArrayBuffer {
  try {
    return new ArrayBuffer(byteLength);
  } catch (error) {
    const found = `there is none for ${formatBytes(byteLength)} in one piece`;
    throw new ArgumentError(
      message("allocate memory", found, "use fewer or smaller pictures at once, or a model with smaller tensors"),
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
