/** @module Tensor: an array in host memory with its dtype and shape, and the declaration of one by a model. */

import { allocate, type DType, type DTypeMap } from "./dtype.ts";
import { ShapeError } from "./errors.ts";
import { formatShape, type Shape, volume } from "./shape.ts";
import { printable } from "./shown.ts";

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
