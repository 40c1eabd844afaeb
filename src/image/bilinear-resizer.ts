/** @module Bilinear resizer: rows of a resized picture as OpenCV's INTER_LINEAR has them, each by the shortest way. */

import type { Placement } from "./geometry.ts";
import { bytesPerPixel, type Image, type PixelFormat } from "./image.ts";
import { NV12_ROW_PIXEL_BYTES, Nv12Rows } from "./nv12.ts";
import { ResizePair } from "./resize-pair.ts";
import { type RowTarget, storeBlend, storeMeans, storePoints, touchRow } from "./resize-rows.ts";
import { bilinearTaps, HALF_WEIGHT, isHalfSampling, pointStride } from "./resize-taps.ts";

/** Resizes pictures of one size and format; its row buffers are overwritten by every picture. */
export class BilinearResizer {
  /** Bytes of a source row that hold pixels. */
  readonly #rowBytes: number;
  /** NV12 alone: makes RGB rows, of the pixels that the columns look at. */
  readonly #nv12: Nv12Rows | undefined;
  /** i32 [contentWidth, 3], in bytes; see {@linkcode bilinearTaps}. */
  readonly #columns: Int32Array<ArrayBuffer>;
  /** i32 [contentHeight, 3], in rows. */
  readonly #rows: Int32Array<ArrayBuffer>;
  /** Bytes from column to column where they need no interpolation; see {@linkcode pointStride}. */
  readonly #stride: number | undefined;
  /** True if the columns are means of two neighbours. */
  readonly #isHalf: boolean;
  readonly #pair: ResizePair;
  readonly #width: number;

  constructor({ sourceWidth, sourceHeight, contentWidth, contentHeight }: Placement, format: PixelFormat) {
    const isNv12 = format === "NV12";
    const pixelBytes = isNv12 ? NV12_ROW_PIXEL_BYTES : bytesPerPixel(format);
    this.#rowBytes = sourceWidth * pixelBytes;
    this.#columns = bilinearTaps(sourceWidth, contentWidth, "columns", isNv12 ? 1 : pixelBytes);
    this.#nv12 = isNv12 ? new Nv12Rows(compact(this.#columns, sourceWidth)) : undefined;
    this.#rows = bilinearTaps(sourceHeight, contentHeight, "rows", 1);
    this.#stride = pointStride(this.#columns);
    this.#isHalf = isHalfSampling(this.#columns);
    this.#pair = new ResizePair(contentWidth, this.#nv12);
    this.#width = contentWidth;
  }

  /** Forget the rows: another picture follows. */
  clear(): void {
    this.#pair.clear();
  }

  /**
   * Store one row of the resized picture.
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
      const pixels = nv12 === undefined ? image.data : nv12.load(image, nearRow);
      const rowStart = nv12 === undefined ? nearRow * image.pitchBytes : 0;
      if (nv12 === undefined) target.touched ^= touchRow(pixels, rowStart, this.#rowBytes);
      storePoints(pixels, rowStart + columns[0]!, stride, this.#width, target);
    } else if (this.#isHalf && weight === HALF_WEIGHT && nv12 === undefined) {
      const { data: pixels, pitchBytes } = image;
      storeMeans(pixels, nearRow * pitchBytes, farRow * pitchBytes, columns, target);
    } else {
      const pair = this.#pair;
      pair.load(image, columns, nearRow, farRow, weight);
      storeBlend(pair.near, weight === 0 ? pair.near : pair.far, weight, target);
    }
  }
}

/**
 * Have columns point into rows that hold only the pixels they look at.
 *
 * @param columns i32 [contentWidth, 3] of pixels; afterwards in bytes of such a row
 * @returns those pixels, from left to right
 */
function compact(columns: Int32Array, sourceWidth: number): Int32Array {
  const isWanted = new Uint8Array(sourceWidth);
  for (let k = 0; k < columns.length; k += 3) {
    if (columns[k + 2] === 0) columns[k + 1] = columns[k]!;
    isWanted[columns[k]!] = 1;
    isWanted[columns[k + 1]!] = 1;
  }
  const pixels: number[] = [];
  const places = new Int32Array(sourceWidth);
  for (let x = 0; x < sourceWidth; x++) if (isWanted[x] === 1) places[x] = pixels.push(x) - 1;
  for (let k = 0; k < columns.length; k += 3) {
    columns[k] = places[columns[k]!]! * NV12_ROW_PIXEL_BYTES;
    columns[k + 1] = places[columns[k + 1]!]! * NV12_ROW_PIXEL_BYTES;
  }
  return Int32Array.from(pixels);
}
