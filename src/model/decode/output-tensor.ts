/** @module Output tensor: the outputs a decoder reads, checked against its plan. */

import type { DType } from "../../core/dtype.ts";
import { ModelError, message, ShapeError } from "../../core/errors.ts";
import { formatShape } from "../../core/shape.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { DecodeInput } from "../layout.ts";

/** Dtypes of boxes, scores and logits. */
export const FLOATS: readonly DType[] = ["f32", "f16"];

/** Dtypes of counts. */
export const INTEGERS: readonly DType[] = ["i64", "i32"];

/** Dtypes of class ids. */
export const NUMBERS: readonly DType[] = [...INTEGERS, ...FLOATS];

const HINT = "the layout does not fit this model: name another one";

/** True if the dimension is the one that is wanted, any where -1 is, or none where none is. */
function fits(actual: number | undefined, wanted: number | undefined, orMore: boolean): boolean {
  if (actual === undefined || wanted === undefined) return actual === wanted;
  return orMore ? actual >= wanted : wanted < 0 || actual === wanted;
}

/**
 * An output by name, of rank 1 to 4. The dimensions after the first are given one by one, so that a frame allocates
 * nothing; -1 stands for any size.
 *
 * @param fewest smallest first dimension: for a batch, the picture's index + 1
 * @throws {ShapeError} If it is missing, or has another dtype or shape
 */
export function outputTensor(
  input: DecodeInput,
  name: string,
  dtypes: readonly DType[],
  fewest: number,
  second?: number,
  third?: number,
  fourth?: number,
): Tensor {
  const tensor = input.outputs.get(name);
  if (
    tensor !== undefined &&
    dtypes.includes(tensor.dtype) &&
    fits(tensor.shape[0], fewest, true) &&
    fits(tensor.shape[1], second, false) &&
    fits(tensor.shape[2], third, false) &&
    fits(tensor.shape[3], fourth, false) &&
    tensor.shape.length <= 4
  ) {
    return tensor;
  }
  const rest = [second, third, fourth].filter((dim) => dim !== undefined);
  const actual = tensor === undefined ? "no such output" : `${tensor.dtype} ${formatShape(tensor.shape)}`;
  const expected = `${dtypes.join(" or ")} ${formatShape([-1, ...rest])}${fewest > 1 ? ` of at least ${fewest} rows` : ""}`;
  throw new ShapeError(message(`decode output "${name}"`, `it must be ${expected}, got ${actual}`, HINT), {
    tensor: name,
    expected,
    actual,
  });
}

/**
 * A class id that a model gave as a number of any dtype.
 *
 * @throws {ModelError} If it is no whole number from 0 on: the column is not one of class ids
 */
export function classIdOf(value: number, output: string): number {
  if (Number.isInteger(value) && value >= 0 && value <= 0x7fffffff) return value;
  throw new ModelError(
    message(`decode output "${output}"`, `class ids are whole numbers from 0 on, got ${value}`, HINT),
    output,
  );
}
