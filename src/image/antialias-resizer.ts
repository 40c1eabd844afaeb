/** @module Antialias resizer: rows of a resized image as Pillow's BILINEAR, BICUBIC and LANCZOS have them. The kernel does the first to the bit. */

import { ArgumentError, message } from "../core/errors.ts";
import { allocate } from "../core/tensor.ts";
import type { Region } from "./geometry.ts";
import { bytesPerPixel, type Image, type PixelFormat } from "./image.ts";
import { NV12_ROW_PIXEL_BYTES, Nv12Rows } from "./nv12.ts";
import type { RowTarget } from "./resize-rows.ts";
import {
  type AntialiasTaps,
  antialiasTaps,
  FILTER_BITS,
  lobedTaps,
  type RegionAxis,
  regionAxes,
} from "./resize-taps.ts";

/** Half a level, which sums begin with, so that they are rounded when their fraction is dropped. */
const HALF_LEVEL = 1 << (FILTER_BITS - 1);

/**
 * Resizes regions of one form, of images of one format, along the rows first, each source row once, then down the columns; levels are
 * rounded in between. Its row buffers are overwritten by every image.
 */
export class AntialiasResizer {
  readonly #pixelBytes: number;
  readonly #nv12: Nv12Rows | undefined;
  readonly #columns: AntialiasTaps;
  readonly #rows: AntialiasTaps;
  /** The last source rows, resized: row r is u8 [width, 3] at r modulo their number, which is that of a row's taps. */
  readonly #ring: readonly Uint8ClampedArray[];
  /** i32 [width, 3]: what the taps so far come to. */
  readonly #sums: Int32Array<ArrayBuffer>;
  /** The region's first column that the image has. */
  readonly #low: number;
  /** Source row that the ring takes next. */
  #next = 0;
  /** Where the region's first pixel lies in the image, and in bytes. */
  #x = 0;
  #y = 0;
  #start = 0;

  /** @throws {ArgumentError} If pixels beyond the image's edges are asked for */
  constructor(region: Region, format: PixelFormat, filter: "antialias" | "bicubic" | "lanczos" = "antialias") {
    if (region.edge !== "pad") {
      throw new ArgumentError(
        message("resize a region with antialias", `its edge must be "pad", got "${region.edge}"`),
      );
    }
    const isNv12 = format === "NV12";
    const [across, down] = regionAxes(region);
    this.#pixelBytes = isNv12 ? NV12_ROW_PIXEL_BYTES : bytesPerPixel(format);
    this.#low = across.low;
    this.#nv12 = isNv12 ? new Nv12Rows(across.high - across.low) : undefined;
    const taps = (axis: RegionAxis): AntialiasTaps =>
      filter === "antialias" ? antialiasTaps(axis) : lobedTaps(axis, filter);
    this.#columns = taps(across);
    this.#rows = taps(down);
    const width = across.to - across.from;
    this.#ring = Array.from({ length: this.#rows.count }, () => new Uint8ClampedArray(width * 3));
    this.#sums = allocate("i32", width * 3);
  }

  /** Forget the rows: another image follows. @param region as it was made for, or the same elsewhere within its image */
  begin(image: Image, { x, y }: Region): void {
    this.#next = 0;
    this.#x = x;
    this.#y = y;
    this.#start = y * image.pitchBytes + x * this.#pixelBytes;
  }

  /**
   * Store one row of the resized image.
   *
   * @param y      row, never above the one of the last call
   * @param target where the values go
   */
  store(image: Image, y: number, target: RowTarget): void {
    const { first, count, weights } = this.#rows;
    const ring = this.#ring;
    const sums = this.#sums;
    const top = first[y]!;
    for (let row = Math.max(this.#next, top); row < top + count; row++) this.#load(image, row);
    this.#next = top + count;

    sums.fill(HALF_LEVEL);
    const start = y * count;
    let tap = 0;
    for (; tap + 1 < count; tap += 2) {
      const upper = ring[(top + tap) % count]!;
      const lower = ring[(top + tap + 1) % count]!;
      addRows(upper, lower, weights[start + tap]!, weights[start + tap + 1]!, sums);
    }
    if (tap < count) addRow(ring[(top + tap) % count]!, weights[start + tap]!, sums);
    storeSums(sums, target);
  }

  #load(image: Image, row: number): void {
    const levels = this.#ring[row % this.#rows.count]!;
    const nv12 = this.#nv12;
    const pixelBytes = this.#pixelBytes;
    if (nv12 === undefined) {
      filterRow(image.data, this.#start + row * image.pitchBytes, pixelBytes, this.#columns, levels);
      return;
    }
    const low = this.#low;
    filterRow(nv12.load(image, this.#x + low, this.#y + row), 0 - low * pixelBytes, pixelBytes, this.#columns, levels);
  }
}

/**
 * Resize one source row horizontally.
 *
 * @param source     u8 pixels
 * @param start      offset of the row in bytes
 * @param pixelBytes from one pixel to the next
 * @param columns    what `antialiasTaps` gave for the columns
 * @param levels     u8 [width, 3], written
 */
function filterRow(
  source: Uint8Array,
  start: number,
  pixelBytes: number,
  columns: AntialiasTaps,
  levels: Uint8ClampedArray,
): void {
  const { first, count, weights } = columns;
  const width = first.length;
  let tap = 0;
  for (let x = 0, k = 0; x < width; x++, k += 3) {
    let at = start + first[x]! * pixelBytes;
    let a = HALF_LEVEL;
    let b = HALF_LEVEL;
    let c = HALF_LEVEL;
    for (const end = tap + count; tap < end; tap++) {
      const weight = weights[tap]!;
      a = (a + Math.imul(weight, source[at]!)) | 0;
      b = (b + Math.imul(weight, source[at + 1]!)) | 0;
      c = (c + Math.imul(weight, source[at + 2]!)) | 0;
      at += pixelBytes;
    }
    levels[k] = a >> FILTER_BITS;
    levels[k + 1] = b >> FILTER_BITS;
    levels[k + 2] = c >> FILTER_BITS;
  }
}

/** Add two weighted rows, which takes less time than one after the other. */
function addRows(
  upper: Uint8ClampedArray,
  lower: Uint8ClampedArray,
  upperWeight: number,
  lowerWeight: number,
  sums: Int32Array,
): void {
  const { length } = sums;
  for (let k = 0; k < length; k++) {
    sums[k] = (sums[k]! + Math.imul(upperWeight, upper[k]!) + Math.imul(lowerWeight, lower[k]!)) | 0;
  }
}

/** Add a weighted row. */
function addRow(levels: Uint8ClampedArray, weight: number, sums: Int32Array): void {
  const { length } = sums;
  for (let k = 0; k < length; k++) sums[k] = (sums[k]! + Math.imul(weight, levels[k]!)) | 0;
}

/** The level that a sum comes to, cut as Pillow does: weights are rounded one by one, and some of bicubic's and Lanczos's are below 0. */
function levelOf(sum: number): number {
  return Math.max(0, Math.min(sum >> FILTER_BITS, 255));
}

/** Store the values of the levels that sums come to. */
function storeSums(sums: Int32Array, target: RowTarget): void {
  const { output, step, table } = target;
  let { first, second, third } = target;
  const { length } = sums;
  for (let k = 0; k < length; k += 3) {
    output[first] = table[levelOf(sums[k]!)]!;
    output[second] = table[256 + levelOf(sums[k + 1]!)]!;
    output[third] = table[512 + levelOf(sums[k + 2]!)]!;
    first += step;
    second += step;
    third += step;
  }
}
