/** @module Shape: dimensions of a tensor, where -1 stands for a dynamic one. */

import { ArgumentError } from "./errors.ts";
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
