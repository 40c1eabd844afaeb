/**
 * @module ImageGrid: how an image is cut into parts that overlap: the tiles of models of pixels, with what is kept of each, and
 * the slices that a detector sees one by one, with the rules by which what it finds becomes one result.
 */

import { message, OptionError, ShapeError } from "../core/errors.ts";
import type { Edge, Rectangle, Size } from "../image/geometry.ts";

/** What lies beyond the image's edges: its last pixel again, or the image mirrored at that pixel. */
export type Padding = Exclude<Edge, "pad">;

/**
 * One tile, in source pixels. Its first pixel is (x, y); the model's size of pixels from there is run. Of what comes out,
 * the part from (left, top) to before (right, bottom) is kept.
 */
export interface Tile {
  readonly x: number;
  readonly y: number;
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** An image's tiles: all of one size, row by row; every pixel of the image is kept of exactly one. */
export interface TileGrid {
  /** In pixels: what the model is given. Larger than the image where the model is. */
  readonly size: Size;
  readonly tiles: readonly Tile[];
}

/** What tiles a model takes. */
export interface TileRules {
  /** Sides that the model fixes; `undefined` where it takes any. */
  readonly fixedWidth: number | undefined;
  readonly fixedHeight: number | undefined;
  /** Where it takes any: an image larger than `largest` is cut, one smaller than `smallest` is padded. */
  readonly smallest: Size;
  readonly largest: Size;
  /** Sides and places of tiles are multiples of it, so that every tile lies on the same grid of the model's strides. */
  readonly multiple: number;
  /** Least number of pixels that neighbours share; `undefined` for an eighth of the tile, in whole multiples of 8. */
  readonly overlap: number | undefined;
}

/** The part of one axis that a tile covers and keeps. */
interface Span {
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

function roundDown(value: number, multiple: number): number {
  return Math.floor(value / multiple) * multiple;
}

function tileLength(length: number, axis: 0 | 1, rules: TileRules): number {
  const fixed = axis === 0 ? rules.fixedWidth : rules.fixedHeight;
  if (fixed !== undefined) return fixed;
  const { multiple, smallest, largest } = rules;
  const most = Math.max(roundDown(largest[axis], multiple), multiple);
  return Math.min(roundUp(Math.max(length, smallest[axis]), multiple), most);
}

function refuse(option: string, expected: string, pixels: number, hint: string): never {
  const found = `\`${option}\` must be ${expected}, got ${pixels}`;
  const details = { tensor: option, expected, actual: `${pixels} pixels` };
  throw new ShapeError(message("cut the image into tiles", found, hint), details);
}

/**
 * Cut one axis. Neighbours share at least `overlap` pixels, spread evenly, and are cut in the middle of what they share.
 *
 * @param length of the image
 * @param tile   length of a tile
 * @throws {ShapeError} If the overlap leaves nothing of a tile
 */
function spans(length: number, tile: number, overlap: number, multiple: number): Span[] {
  if (length <= tile) return [{ start: 0, from: 0, to: length }];
  if (multiple > tile)
    refuse("multiple", `at most ${tile}, the length of a tile`, multiple, "lower `multiple`, or raise `tile`");
  const step = roundDown(tile - overlap, multiple);
  if (step < 1) {
    const expected = `at most ${tile - multiple} pixels for tiles of ${tile}`;
    refuse("overlap", expected, overlap, "lower `overlap`, or raise `tile`");
  }
  const lastStart = roundUp(length - tile, multiple);
  const count = Math.ceil(lastStart / step) + 1;
  const starts = Array.from({ length: count }, (_, at) => roundDown((at * lastStart) / (count - 1), multiple));
  const cuts = starts.slice(1).map((start, at) => Math.floor((starts[at]! + tile + start) / 2));
  return starts.map((start, at) => ({ start, from: cuts[at - 1] ?? 0, to: cuts[at] ?? length }));
}

/** Overlap of tiles of a length, where nobody says: enough for the receptive field of most models on either side of a cut. */
function defaultOverlap(tile: number, multiple: number): number {
  return Math.min(roundUp(tile / 8, 8), roundDown(tile / 2, multiple));
}

/** Make sure that any image can be cut. @throws {ShapeError} If the overlap leaves nothing of a tile */
export function checkTiles(rules: TileRules): void {
  const beyond = (axis: 0 | 1): number => tileLength(Number.POSITIVE_INFINITY, axis, rules) + 1;
  tileGrid(beyond(0), beyond(1), rules);
}

/**
 * Cut an image into tiles.
 *
 * Two neighbours share `overlap` pixels and are cut in the middle, so each pixel comes out of the tile that sees most
 * around it, is written once, and does not depend on the order of the tiles. With an overlap of twice the model's receptive
 * radius the result is that of one large run; a ramp of the same width would mix in pixels nearer to a tile's edge, where
 * the model sees padding.
 *
 * @throws {ShapeError} If the overlap leaves nothing of a tile
 */
export function tileGrid(width: number, height: number, rules: TileRules): TileGrid {
  const tileWidth = tileLength(width, 0, rules);
  const tileHeight = tileLength(height, 1, rules);
  const { multiple } = rules;
  const columns = spans(width, tileWidth, rules.overlap ?? defaultOverlap(tileWidth, multiple), multiple);
  const rows = spans(height, tileHeight, rules.overlap ?? defaultOverlap(tileHeight, multiple), multiple);
  const tiles = rows.flatMap((row) =>
    columns.map((column) => ({
      x: column.start,
      y: row.start,
      left: column.from,
      top: row.from,
      right: column.to,
      bottom: row.to,
    })),
  );
  return { size: [tileWidth, tileHeight], tiles };
}

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
