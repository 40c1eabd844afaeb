/** @module Resize rows: the inner loops of pre-processing, one row at a time, from u8 pixels to values of the tensor. */

import { allocate } from "../core/tensor.ts";
import type { Region } from "./geometry.ts";
import { bytesPerPixel, type Image, isPackedFormat, type PixelFormat } from "./image.ts";
import { compact, type RowConverter, rowConverter } from "./nv12.ts";
import { type Line, LUMA_WEIGHTS } from "./preprocessing.ts";
import {
  bilinearRegionTaps,
  HALF_WEIGHT,
  isHalfSampling,
  isUnweighted,
  pointStride,
  regionAxes,
  WEIGHT_BITS,
} from "./resize-taps.ts";
import { NO_ROW, ROW_PIXEL_BYTES } from "./samples.ts";

/** A resized row drops this many of its fractional bits, so that its product with a weight has 16 to drop again. */
const DROPPED_BITS = 4;

const WHOLE = 1 << WEIGHT_BITS;

/** Of every processor Bun runs on; where one has 128, every second read is in vain. */
const CACHE_LINE_BYTES = 64;

/**
 * Read one byte of each cache line of a source row. An image is larger than the caches that it has just been decoded
 * through, and {@linkcode storePoints}, which stores as it goes, would wait for memory line by line: a loop that only reads
 * has many lines on their way, and up to a third of the time is saved. The other loops have more to do for each byte.
 *
 * @param start offset of the row in bytes
 * @returns a value made of what was read: the caller stores it, as the compiler leaves out reads whose result nobody uses
 */
export function touchRow(source: Uint8Array, start: number, byteLength: number): number {
  let seen = 0;
  for (let at = start, end = start + byteLength; at < end; at += CACHE_LINE_BYTES) seen ^= source[at]!;
  return seen;
}

/**
 * Where a row of values goes and how levels become values. One is kept and refilled for every row.
 *
 * The output is f32 alone, so that the loops below stay compiled for one kind of array: with three they ran at half the
 * speed. `Preprocessor` turns rows into the other dtypes.
 */
export interface RowTarget {
  output: Float32Array;
  /** Element of `output` that takes the first pixel of the first, second and third source channel. */
  first: number;
  second: number;
  third: number;
  /** Elements from one pixel to the next: 1 in planes, 3 where channels alternate. */
  step: number;
  /** What `touchRow` returned; nobody reads it. */
  touched: number;
  /** f32 [3, 256]: the value of each level, by source channel. One array: three cost the loops their registers. */
  table: Float32Array;
}

/**
 * Resize one source row horizontally.
 *
 * @param source  u8 pixels
 * @param start   offset of the row in bytes
 * @param columns what `bilinearTaps` gave for the columns, in bytes
 * @param row     i32 [width, 3], written: levels × 128
 */
export function resizeRow(source: Uint8Array, start: number, columns: Int32Array, row: Int32Array): void {
  const end = columns.length;
  for (let k = 0; k < end; k += 3) {
    const near = start + columns[k]!;
    const far = start + columns[k + 1]!;
    const weight = columns[k + 2]!;
    const a = source[near]!;
    const b = source[near + 1]!;
    const c = source[near + 2]!;
    row[k] = ((a << WEIGHT_BITS) + Math.imul(weight, source[far]! - a)) >> DROPPED_BITS;
    row[k + 1] = ((b << WEIGHT_BITS) + Math.imul(weight, source[far + 1]! - b)) >> DROPPED_BITS;
    row[k + 2] = ((c << WEIGHT_BITS) + Math.imul(weight, source[far + 2]! - c)) >> DROPPED_BITS;
  }
}

/**
 * Blend two resized rows and store their values.
 *
 * @param near   i32 [width, 3], from {@linkcode resizeRow}
 * @param far    likewise, of the next source row
 * @param weight of `far`, 0–2048
 * @param target where the values go
 */
export function storeBlend(near: Int32Array, far: Int32Array, weight: number, target: RowTarget): void {
  const { output, step, table } = target;
  let { first, second, third } = target;
  const rest = WHOLE - weight;
  const end = near.length;
  for (let k = 0; k < end; k += 3) {
    const a = (Math.imul(rest, near[k]!) >> 16) + (Math.imul(weight, far[k]!) >> 16);
    const b = (Math.imul(rest, near[k + 1]!) >> 16) + (Math.imul(weight, far[k + 1]!) >> 16);
    const c = (Math.imul(rest, near[k + 2]!) >> 16) + (Math.imul(weight, far[k + 2]!) >> 16);
    output[first] = table[(a + 2) >> 2]!;
    output[second] = table[256 + ((b + 2) >> 2)]!;
    output[third] = table[512 + ((c + 2) >> 2)]!;
    first += step;
    second += step;
    third += step;
  }
}

/**
 * Store the values of source pixels that lie equally far apart: what the two functions above come to where all weights
 * are 0, in a third of the time.
 *
 * @param source u8 pixels
 * @param start  offset of the first pixel in bytes
 * @param stride bytes from one pixel to the next
 * @param width  number of pixels
 * @param target where the values go
 */
export function storePoints(source: Uint8Array, start: number, stride: number, width: number, target: RowTarget): void {
  const { output, step, first, table } = target;
  // Their distances stay the same: three counters took a quarter longer.
  const toSecond = target.second - first;
  const toThird = target.third - first;
  let x = step === 1 ? storeFours(source, start, stride, width, target) : 0;
  let to = first + x * step;
  let at = start + x * stride;
  for (; x < width; x++) {
    output[to] = table[source[at]!]!;
    output[to + toSecond] = table[256 + source[at + 1]!]!;
    output[to + toThird] = table[512 + source[at + 2]!]!;
    to += step;
    at += stride;
  }
}

/**
 * The most of {@linkcode storePoints} in planes, four pixels at a time: with constants for the next elements the loop
 * counts one number up instead of four, which is a tenth of its time.
 *
 * @returns number of pixels stored: all but up to three
 */
function storeFours(source: Uint8Array, start: number, stride: number, width: number, target: RowTarget): number {
  const { output, first, second, third, table } = target;
  const whole = width - (width % 4);
  for (let x = 0, at = start; x < whole; x += 4) {
    output[first + x] = table[source[at]!]!;
    output[second + x] = table[256 + source[at + 1]!]!;
    output[third + x] = table[512 + source[at + 2]!]!;
    at += stride;
    output[first + x + 1] = table[source[at]!]!;
    output[second + x + 1] = table[256 + source[at + 1]!]!;
    output[third + x + 1] = table[512 + source[at + 2]!]!;
    at += stride;
    output[first + x + 2] = table[source[at]!]!;
    output[second + x + 2] = table[256 + source[at + 1]!]!;
    output[third + x + 2] = table[512 + source[at + 2]!]!;
    at += stride;
    output[first + x + 3] = table[source[at]!]!;
    output[second + x + 3] = table[256 + source[at + 1]!]!;
    output[third + x + 3] = table[512 + source[at + 2]!]!;
    at += stride;
  }
  return whole;
}

/**
 * Store the values of the means of four source pixels: what {@linkcode resizeRow} and {@linkcode storeBlend} come to, to
 * the bit, where all weights are half, in three fifths of the time.
 *
 * @param source  u8 pixels
 * @param near    offset of the upper row in bytes
 * @param far     offset of the lower row in bytes
 * @param columns what `bilinearTaps` gave for the columns, in bytes
 * @param target  where the values go
 */
export function storeMeans(
  source: Uint8Array,
  near: number,
  far: number,
  columns: Int32Array,
  target: RowTarget,
): void {
  const { output, step, table } = target;
  let { first, second, third } = target;
  const end = columns.length;
  for (let k = 0; k < end; k += 3) {
    const left = columns[k]!;
    const right = columns[k + 1]!;
    const a = near + left;
    const b = near + right;
    const c = far + left;
    const d = far + right;
    output[first] = table[(source[a]! + source[b]! + source[c]! + source[d]! + 2) >> 2]!;
    output[second] = table[256 + ((source[a + 1]! + source[b + 1]! + source[c + 1]! + source[d + 1]! + 2) >> 2)]!;
    output[third] = table[512 + ((source[a + 2]! + source[b + 2]! + source[c + 2]! + source[d + 2]! + 2) >> 2)]!;
    first += step;
    second += step;
    third += step;
  }
}

/** What takes luma: f32, or u8 by a view that rounds and cuts what it stores. */
export type LumaOutput = Float32Array | Uint8ClampedArray;

const { red: RED, green: GREEN, blue: BLUE } = LUMA_WEIGHTS;

/**
 * Store the luma of source pixels as they are, in a third of the time that their levels take on their way through a row.
 *
 * @param source  u8 pixels
 * @param start   offset of the row in bytes
 * @param columns what `bilinearTaps` gave for the columns, in bytes, all of weight 0
 * @param stride  bytes from column to column, where it is one
 * @param red     offset of red in a pixel: 2 where blue is first
 * @param output  takes the values from its element `to` on
 */
function storeLumaPoints(
  source: Uint8Array,
  start: number,
  columns: Int32Array,
  stride: number | undefined,
  red: number,
  { slope, offset }: Line,
  output: LumaOutput,
  to: number,
): void {
  const first = red === 0 ? RED : BLUE;
  const third = RED + BLUE - first;
  const end = to + columns.length / 3;
  if (stride === undefined) {
    for (let x = to, k = 0; x < end; x++, k += 3) {
      const at = start + columns[k]!;
      const luma =
        (Math.imul(source[at]!, first) + Math.imul(source[at + 1]!, GREEN) + Math.imul(source[at + 2]!, third)) | 0;
      output[x] = Math.fround(Math.fround(luma * slope) + offset);
    }
    return;
  }
  // Without the columns the loop takes a sixth less.
  for (let x = to, at = start + columns[0]!; x < end; x++, at += stride) {
    const luma =
      (Math.imul(source[at]!, first) + Math.imul(source[at + 1]!, GREEN) + Math.imul(source[at + 2]!, third)) | 0;
    output[x] = Math.fround(Math.fround(luma * slope) + offset);
  }
}

/** Resizes regions of one form, of images of one format; its row buffers are overwritten by every image. */
export class BilinearResizer {
  readonly #pixelBytes: number;
  /** Bytes of a source row that may be read, counted from the region's first pixel. */
  readonly #rowBegin: number;
  readonly #rowBytes: number;
  /** Of NV12 and samples: makes RGB rows, of the pixels that the columns look at. */
  readonly #nv12: RowConverter | undefined;
  /** i32 [width, 3], in bytes; see {@linkcode bilinearTaps}. */
  readonly #columns: Int32Array<ArrayBuffer>;
  /** i32 [height, 3], in rows. */
  readonly #rows: Int32Array<ArrayBuffer>;
  /** Bytes from column to column where they need no interpolation; see {@linkcode pointStride}. */
  readonly #stride: number | undefined;
  /** True if the columns are means of two neighbours. */
  readonly #isHalf: boolean;
  /** True if every pixel is one of the source, as in tiles: there is nothing to interpolate. */
  readonly isPicked: boolean;
  readonly #width: number;
  /** Two resized rows, i32 [width, 3], levels × 128, and which source rows they are: each is resized once on the way down. */
  #near: Int32Array<ArrayBuffer>;
  #far: Int32Array<ArrayBuffer>;
  #nearRow = NO_ROW;
  #farRow = NO_ROW;
  /** Where the region's first pixel lies in the image, and in bytes. */
  #x = 0;
  #y = 0;
  #start = 0;

  constructor(region: Region, format: PixelFormat) {
    const isPackedBytes = isPackedFormat(format);
    const pixelBytes = isPackedBytes ? bytesPerPixel(format) : ROW_PIXEL_BYTES;
    const [across] = regionAxes(region);
    this.#pixelBytes = pixelBytes;
    this.#rowBegin = across.low * pixelBytes;
    this.#rowBytes = (across.high - across.low) * pixelBytes;
    [this.#columns, this.#rows] = bilinearRegionTaps(region, isPackedBytes ? pixelBytes : 1);
    this.#nv12 = isPackedBytes ? undefined : rowConverter(format, compact(this.#columns));
    this.#stride = pointStride(this.#columns);
    this.#isHalf = isHalfSampling(this.#columns);
    this.isPicked = isUnweighted(this.#columns) && isUnweighted(this.#rows);
    this.#width = this.#columns.length / 3;
    this.#near = allocate("i32", this.#columns.length);
    this.#far = allocate("i32", this.#columns.length);
  }

  /**
   * Forget the rows: another image follows.
   *
   * @param region  as it was made for, or the same elsewhere within its image
   * @param skipped channels of a pixel before the three that are looked at
   */
  begin(image: Image, { x, y }: Region, skipped = 0): void {
    this.#x = x;
    this.#y = y;
    this.#start = y * image.pitchBytes + x * this.#pixelBytes + skipped;
    this.#nearRow = NO_ROW;
    this.#farRow = NO_ROW;
  }

  /**
   * Store one row of the resized image.
   *
   * @param y      row, never above the one of the last call
   * @param target where the values go
   */
  store(image: Image, y: number, target: RowTarget): void {
    const columns = this.#columns;
    const rows = this.#rows;
    const stride = this.#stride;
    const nv12 = this.#nv12;
    const nearRow = rows[y * 3]!;
    const farRow = rows[y * 3 + 1]!;
    const weight = rows[y * 3 + 2]!;
    if (stride !== undefined && weight === 0) {
      const pixels = nv12 === undefined ? image.data : nv12.load(image, this.#x, this.#y + nearRow);
      const rowStart = nv12 === undefined ? this.#start + nearRow * image.pitchBytes : 0;
      if (nv12 === undefined) target.touched ^= touchRow(pixels, rowStart + this.#rowBegin, this.#rowBytes);
      storePoints(pixels, rowStart + columns[0]!, stride, this.#width, target);
    } else if (this.#isHalf && weight === HALF_WEIGHT && nv12 === undefined) {
      const { data: pixels, pitchBytes } = image;
      const start = this.#start;
      storeMeans(pixels, start + nearRow * pitchBytes, start + farRow * pitchBytes, columns, target);
    } else {
      this.#load(image, nearRow, farRow, weight);
      storeBlend(this.#near, weight === 0 ? this.#near : this.#far, weight, target);
    }
  }

  /**
   * Store the luma of one row, of a resizer that `isPicked`.
   *
   * @param output takes the values from its element `to` on
   */
  storeLuma(image: Image, y: number, line: Line, output: LumaOutput, to: number): void {
    const row = this.#rows[y * 3]!;
    const nv12 = this.#nv12;
    const pixels = nv12 === undefined ? image.data : nv12.load(image, this.#x, this.#y + row);
    const start = nv12 === undefined ? this.#start + row * image.pitchBytes : 0;
    const red = image.format === "BGR" ? 2 : 0;
    storeLumaPoints(pixels, start, this.#columns, this.#stride, red, line, output, to);
  }

  /** Have `#near` hold one source row and, unless the weight is 0, `#far` another. */
  #load(image: Image, nearRow: number, farRow: number, weight: number): void {
    if (nearRow === this.#farRow) {
      const near = this.#near;
      this.#near = this.#far;
      this.#far = near;
      this.#farRow = this.#nearRow;
    } else if (nearRow !== this.#nearRow) this.#resize(image, nearRow, this.#near);
    this.#nearRow = nearRow;
    if (weight === 0 || farRow === this.#farRow) return;
    this.#resize(image, farRow, this.#far);
    this.#farRow = farRow;
  }

  #resize(image: Image, row: number, target: Int32Array): void {
    const nv12 = this.#nv12;
    if (nv12 === undefined) resizeRow(image.data, this.#start + row * image.pitchBytes, this.#columns, target);
    else resizeRow(nv12.load(image, this.#x, this.#y + row), 0, this.#columns, target);
  }
}
