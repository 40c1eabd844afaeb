/** @module Outputs: finds a model's outputs by name, rank and dtype. */

import type { DType } from "../core/dtype.ts";
import type { TensorInfo } from "../core/tensor.ts";
import type { ModelInfo } from "./model-info.ts";

/** True for f32 and f16. */
export function isFloat(info: TensorInfo): boolean {
  return info.dtype === "f32" || info.dtype === "f16";
}

/** The output of this name if it has the rank and one of the dtypes. */
export function findOutput(
  model: ModelInfo,
  name: string,
  rank: number,
  dtypes: readonly DType[],
): TensorInfo | undefined {
  const info = model.outputs.find((output) => output.name === name);
  return info !== undefined && info.shape.length === rank && dtypes.includes(info.dtype) ? info : undefined;
}

/** Floating-point dtypes of outputs. */
export const FLOATS: readonly DType[] = ["f32", "f16"];

/** Integer dtypes of outputs. */
export const INTEGERS: readonly DType[] = ["i64", "i32"];
