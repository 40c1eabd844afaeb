/** @module SliceGrid: the slices of an image that a detector sees one by one. */

import type { Rectangle, Size } from "../../image/geometry.ts";

/** How an image is cut into slices. */
export interface SliceRules {
  /** Of a slice in pixels; an image that is smaller is one slice. */
  readonly size: Size;
  /** Share of a slice that neighbours have in common, 0 to below 1. */
  readonly overlap: number;
  /** Whether the whole image is seen as well, where it is more than one slice. */
  readonly whole: boolean;
}

/** Where the slices of an axis begin: the last one is moved back, so that it ends with the image. */
function starts(length: number, side: number, overlap: number): number[] {
  const shared = Math.trunc(overlap * side);
  const found = [0];
  for (let start = 0; start + side < length; ) {
    start += side - shared;
    found.push(Math.max(0, Math.min(start, length - side)));
  }
  return found;
}

/** What a detector sees of an image: its slices row by row, as SAHI cuts them, then the whole of it. */
export function slicesOf([width, height]: Size, { size, overlap, whole }: SliceRules): Rectangle[] {
  const [across, down] = size;
  const columns = starts(width, across, overlap);
  const slices = starts(height, down, overlap).flatMap((y) =>
    columns.map((x) => ({ x, y, width: Math.min(across, width), height: Math.min(down, height) })),
  );
  if (whole && slices.length > 1) slices.push({ x: 0, y: 0, width, height });
  return slices;
}
