/** @module Anchors: how many cells the grids of a detection head have. */

/** Strides of the heads in use, finest first: the usual three, with P6, with P2, and the two of the tiny models. */
const STRIDE_SETS: readonly (readonly number[])[] = [
  [8, 16, 32],
  [8, 16, 32, 64],
  [4, 8, 16, 32],
  [16, 32],
];

/** The usual strides, for a model whose size is dynamic. */
export const USUAL_STRIDES: readonly number[] = [8, 16, 32];

/** Cells of all grids: each side is divided by the stride and rounded up, as convolutions with padding do. */
export function cellCount(width: number, height: number, strides: readonly number[]): number {
  let count = 0;
  for (const stride of strides) count += Math.ceil(width / stride) * Math.ceil(height / stride);
  return count;
}

/**
 * The strides whose grids have a number of cells.
 *
 * @param perCell anchors a cell: 1, or 3 in anchor-based models
 */
export function stridesOf(
  rows: number,
  [width, height]: readonly [number, number],
  perCell: number,
): readonly number[] | undefined {
  return STRIDE_SETS.find((strides) => cellCount(width, height, strides) * perCell === rows);
}
