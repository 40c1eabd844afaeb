/** @module SliceGrid: the slices of an image that a detector sees one by one, and the rules by which they become one again. */

import { message, OptionError } from "../../core/errors.ts";
import type { Rectangle, Size } from "../../image/geometry.ts";

/** How an image is cut into slices. */
export interface SliceRules {
  /** Of a slice in pixels; an image that is smaller is one slice. */
  readonly size: Size;
  /** Share of a slice that neighbours have in common, 0 to below 1. */
  readonly overlap: number;
  /** Whether the whole image is seen as well, where it is more than one slice. */
  readonly whole: boolean;
  /** An image of more slices is refused. Default: none is. */
  readonly maxSlices?: number | undefined;
}

/**
 * How rows that overlap become one. `nms`: the best is kept. `greedy-nmm`: it grows over those that overlap it. `nmm`: likewise,
 * and over those that overlap these.
 */
export type SliceMerge = "nms" | "nmm" | "greedy-nmm";

/** What overlap is measured by: intersection over union, or over the smaller of both. */
export type SliceMetric = "iou" | "ios";

/** What becomes of boxes that end at an inner edge of their slice. `drop`: those that another view has whole are left out first. */
export type SliceEdges = "keep" | "drop";

/** How what was found in several views of one image becomes one list. */
export interface MergeRules {
  readonly merge: SliceMerge;
  readonly metric: SliceMetric;
  /** Rows that overlap by at least as much are one, 0–1. */
  readonly threshold: number;
  readonly edges: SliceEdges;
}

/** How images are cut, and what is found in them merged. */
export interface SlicePlan extends Omit<SliceRules, "size">, MergeRules {
  /** Of a slice in pixels; `undefined` for that of the model's input. */
  readonly size: Size | undefined;
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

/** Slices of a run where nobody says. */
export const USUAL_SLICES = 8;

/** How many slices an axis has. */
function countOf(length: number, side: number, overlap: number): number {
  return length <= side ? 1 : 1 + Math.ceil((length - side) / (side - Math.trunc(overlap * side)));
}

/**
 * What a detector sees of an image: its slices row by row, as SAHI cuts them, then the whole of it.
 *
 * @throws {OptionError} If there are more than allowed
 */
export function slicesOf([width, height]: Size, { size, overlap, whole, maxSlices }: SliceRules): Rectangle[] {
  const [across, down] = size;
  const count = countOf(width, across, overlap) * countOf(height, down, overlap);
  if (maxSlices !== undefined && count > maxSlices) {
    const found = `an image of ${width}x${height} has ${count} slices of ${across}x${down}, and ${maxSlices} are allowed`;
    throw new OptionError(message("detect in slices", found, "choose larger slices, or less overlap"), "slices");
  }
  const columns = starts(width, across, overlap);
  const slices = starts(height, down, overlap).flatMap((y) =>
    columns.map((x) => ({ x, y, width: Math.min(across, width), height: Math.min(down, height) })),
  );
  if (whole && slices.length > 1) slices.push({ x: 0, y: 0, width, height });
  return slices;
}
