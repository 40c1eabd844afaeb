/** @module TileGrid: the tiles an image is cut into, and which part of each is kept. */

import { message, ShapeError } from "../../core/errors.ts";
import type { Edge, Size } from "../../image/geometry.ts";

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
