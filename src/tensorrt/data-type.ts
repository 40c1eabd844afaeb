/** @module DataType: TensorRT's element types, and those of them that have a JavaScript array. */

import type { DType } from "../core/dtype.ts";
import { ModelError, message } from "../core/errors.ts";

/** nvinfer1::DataType by number; the names are the project's dtypes where it has one. */
const DATA_TYPES = ["f32", "f16", "i8", "i32", "bool", "u8", "fp8", "bf16", "i64", "int4", "fp4", "e8m0"] as const;

/** Those without a JavaScript array: they occur inside a network, not at its edge. */
const INNER: ReadonlySet<string> = new Set(["fp8", "bf16", "int4", "fp4", "e8m0"]);

/**
 * The dtype of a tensor.
 *
 * @param number of nvinfer1::DataType
 * @param tensor its name, for the message
 * @param source the model or plan, for the message
 * @throws {ModelError} If JavaScript has no array for the type
 */
export function dtypeOf(number: number, tensor: string, source: string): DType {
  const name = DATA_TYPES[number];
  if (name !== undefined && !INNER.has(name)) return name as DType;
  throw new ModelError(
    message(
      `use tensor ${JSON.stringify(tensor)} of ${source}`,
      `its element type must be f32, f16, i8, u8, i32, i64 or bool: ${name ?? `number ${number}`}`,
      "convert it with a Cast at the edge of the model",
    ),
    source,
  );
}
