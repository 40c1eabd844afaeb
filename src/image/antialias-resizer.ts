/**
 * @module Antialias resizer: rows of a resized image as Pillow's BILINEAR, BICUBIC and LANCZOS have them, and OpenCV's INTER_LANCZOS4.
 * The kernels do Pillow's to the bit, and have no other.
 */

import { ArgumentError, message } from "../core/errors.ts";
import { allocate } from "../core/tensor.ts";
import type { Region } from "./geometry.ts";
import { bytesPerPixel, type Image, isPackedFormat, type PixelFormat } from "./image.ts";
import { type RowConverter, rowConverter } from "./nv12.ts";
import type { RowTarget } from "./resize-rows.ts";
import {
  type AntialiasTaps,
  antialiasTaps,
  FILTER_BITS,
  lanczos4Taps,
  lobedTaps,
  type RegionAxis,
  regionAxes,
} from "./resize-taps.ts";
import { ROW_PIXEL_BYTES } from "./samples.ts";

/** Which taps an axis has. */
export type Filter = "antialias" | "bicubic" | "lanczos" | "lanczos4";

/** The taps of a filter along an axis. */
export function tapsOf(axis: RegionAxis, filter: Filter): AntialiasTaps {
  if (filter === "antialias") return antialiasTaps(axis);
  return filter === "lanczos4" ? lanczos4Taps(axis) : lobedTaps(axis, filter);
}

/** A source row on its way: levels, or for OpenCV's filter sums of levels. */
type ResizedRow = Uint8ClampedArray | Int32Array;

/** Half a level, which sums begin with, so that they are rounded when their fraction is dropped. */
const HALF_LEVEL = 1 << (FILTER_BITS - 1);

/**
 * Resizes regions of one form, of images of one format, along the rows first, each source row once, then down the columns. Pillow's
 * levels are rounded in between; OpenCV's keep the 11 bits of the columns' weights, and have 22 in the end as well. Its row buffers are
 * overwritten by every image.
 */
export class AntialiasResizer {
  readonly #pixelBytes: number;
  readonly #nv12: RowConverter | undefined;
  readonly #columns: AntialiasTaps;
  readonly #rows: AntialiasTaps;
  /** Bits that the sums along a row drop: those of a weight where levels are rounded there, else 0. */
  readonly #droppedBits: number;
  /** The last source rows, resized: row r is u8 or i32 [width, 3] at r modulo their number, which is that of a row's taps. */
  readonly #ring: readonly ResizedRow[];
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
  constructor(region: Region, format: PixelFormat, filter: Filter = "antialias") {
    if (region.edge !== "pad") {
      throw new ArgumentError(
        message(`resize a region by the filter "${filter}"`, `its edge must be "pad", got "${region.edge}"`),
      );
    }
    const [across, down] = regionAxes(region);
    this.#pixelBytes = isPackedFormat(format) ? bytesPerPixel(format) : ROW_PIXEL_BYTES;
    this.#low = across.low;
    this.#nv12 = rowConverter(format, across.high - across.low);
    this.#columns = tapsOf(across, filter);
    this.#rows = tapsOf(down, filter);
    const width = across.to - across.from;
    this.#droppedBits = filter === "lanczos4" ? 0 : FILTER_BITS;
    const Row = filter === "lanczos4" ? Int32Array : Uint8ClampedArray;
    this.#ring = Array.from({ length: this.#rows.count }, () => new Row(width * 3));
    this.#sums = allocate("i32", width * 3);
  }

  /**
   * Forget the rows: another image follows.
   *
   * @param region  as it was made for, or the same elsewhere within its image
   * @param skipped channels of a pixel before the three that are looked at
   */
  begin(image: Image, { x, y }: Region, skipped = 0): void {
    this.#next = 0;
    this.#x = x;
    this.#y = y;
    this.#start = y * image.pitchBytes + x * this.#pixelBytes + skipped;
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
    const resized = this.#ring[row % this.#rows.count]!;
    const nv12 = this.#nv12;
    const pixelBytes = this.#pixelBytes;
    const low = this.#low;
    const pixels = nv12 === undefined ? image.data : nv12.load(image, this.#x + low, this.#y + row);
    const start = nv12 === undefined ? this.#start + row * image.pitchBytes : 0 - low * pixelBytes;
    filterRow(pixels, start, pixelBytes, this.#columns, this.#droppedBits, resized);
  }
}

/**
 * Resize one source row horizontally.
 *
 * @param source      u8 pixels
 * @param start       offset of the row in bytes
 * @param pixelBytes  from one pixel to the next
 * @param columns     what `antialiasTaps` gave for the columns
 * @param droppedBits of a sum, which is then rounded
 * @param resized     u8 or i32 [width, 3], written
 */
function filterRow(
  source: Uint8Array,
  start: number,
  pixelBytes: number,
  columns: AntialiasTaps,
  droppedBits: number,
  resized: ResizedRow,
): void {
  const { first, count, weights } = columns;
  const width = first.length;
  const half = (1 << droppedBits) >> 1;
  let tap = 0;
  for (let x = 0, k = 0; x < width; x++, k += 3) {
    let at = start + first[x]! * pixelBytes;
    let a = half;
    let b = half;
    let c = half;
    for (const end = tap + count; tap < end; tap++) {
      const weight = weights[tap]!;
      a = (a + Math.imul(weight, source[at]!)) | 0;
      b = (b + Math.imul(weight, source[at + 1]!)) | 0;
      c = (c + Math.imul(weight, source[at + 2]!)) | 0;
      at += pixelBytes;
    }
    resized[k] = a >> droppedBits;
    resized[k + 1] = b >> droppedBits;
    resized[k + 2] = c >> droppedBits;
  }
}

/** Add two weighted rows, which takes less time than one after the other. */
function addRows(
  upper: ResizedRow,
  lower: ResizedRow,
  upperWeight: number,
  lowerWeight: number,
  sums: Int32Array,
): void {
  const { length } = sums;
  for (let k = 0; k < length; k++) {
    sums[k] = (sums[k]! + Math.imul(upperWeight, upper[k]!) + Math.imul(lowerWeight, lower[k]!)) | 0;
  }
}

function addRow(row: ResizedRow, weight: number, sums: Int32Array): void {
  const { length } = sums;
  for (let k = 0; k < length; k++) sums[k] = (sums[k]! + Math.imul(weight, row[k]!)) | 0;
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
