/** @module Element type: ONNX's numbers for element types, and the dtypes they stand for. */

import type { DType } from "../core/dtype.ts";

/** ONNXTensorElementDataType, by value. */
const NAMES: readonly string[] = [
  "undefined",
  "f32",
  "u8",
  "i8",
  "u16",
  "i16",
  "i32",
  "i64",
  "string",
  "bool",
  "f16",
  "f64",
  "u32",
  "u64",
  "complex64",
  "complex128",
  "bf16",
  "f8e4m3fn",
  "f8e4m3fnuz",
  "f8e5m2",
  "f8e5m2fnuz",
  "u4",
  "i4",
];

const ELEMENT_TYPES: Readonly<Record<DType, number>> = { f32: 1, u8: 2, i8: 3, i32: 6, i64: 7, bool: 9, f16: 10 };

/** The number ONNX gives a dtype. */
export function elementTypeOf(dtype: DType): number {
  return ELEMENT_TYPES[dtype];
}

/** Name of an element type, for messages; it is a dtype where {@linkcode dtypeOf} knows it. */
export function elementTypeName(elementType: number): string {
  return NAMES[elementType] ?? `element type ${elementType}`;
}

/** The dtype of an element type, or `undefined` if the library has none for it. */
export function dtypeOf(elementType: number): DType | undefined {
  const name = elementTypeName(elementType);
  return name in ELEMENT_TYPES ? (name as DType) : undefined;
}
