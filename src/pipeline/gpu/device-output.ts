/** @module DeviceOutput: the outputs a decoding kernel reads, checked against its plan. */

import type { DType } from "../../core/dtype.ts";
import { message, ShapeError } from "../../core/errors.ts";
import { formatShape, type Shape } from "../../core/shape.ts";
import type { TypedDeviceMemory } from "../../cuda/buffer-view.ts";

/** Every output of a model in device memory, by name. */
export type DeviceOutputs = ReadonlyMap<string, TypedDeviceMemory>;

/** Dtypes of boxes, scores and logits. */
export const FLOATS: readonly DType[] = ["f32", "f16"];

/** Dtypes of counts. */
export const INTEGERS: readonly DType[] = ["i32", "i64"];

/** Dtypes of class ids. */
export const NUMBERS: readonly DType[] = [...FLOATS, ...INTEGERS];

/** Codes of kernels/decode.cuh. */
const CODES: Partial<Record<DType, number>> = { f32: 0, f16: 1, i32: 2, i64: 3 };

/** The code of a dtype that {@linkcode deviceOutput} let through. */
export function dtypeCode(output: TypedDeviceMemory): number {
  return CODES[output.dtype] ?? -1;
}

/**
 * An output by name.
 *
 * @param expected -1 for a dimension of any size
 * @throws {ShapeError} If it is missing, or has another dtype or shape
 */
export function deviceOutput(
  outputs: DeviceOutputs,
  name: string,
  dtypes: readonly DType[],
  expected: Shape,
): TypedDeviceMemory {
  const output = outputs.get(name);
  const fits =
    output !== undefined &&
    dtypes.includes(output.dtype) &&
    output.shape.length === expected.length &&
    expected.every((dim, axis) => dim < 0 || dim === output.shape[axis]);
  if (fits) return output;
  const wanted = `${dtypes.join(" or ")} ${formatShape(expected)}`;
  const actual = output === undefined ? "no such output" : `${output.dtype} ${formatShape(output.shape)}`;
  throw new ShapeError(
    message(
      `decode output ${JSON.stringify(name)}`,
      `it must be ${wanted}, got ${actual}`,
      "the layout does not fit this model: name another one",
    ),
    { tensor: name, expected: wanted, actual },
  );
}
