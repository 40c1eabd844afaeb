/** @module Bilinear resizer: rows of a resized picture as OpenCV's INTER_LINEAR has them, each by the shortest way. */

import type { Region } from "./geometry.ts";
import { bytesPerPixel, type Image, type PixelFormat } from "./image.ts";
import { NV12_ROW_PIXEL_BYTES, Nv12Rows } from "./nv12.ts";
import { ResizePair } from "./resize-pair.ts";
import { type RowTarget, storeBlend, storeMeans, storePoints, touchRow } from "./resize-rows.ts";
import { bilinearTaps, HALF_WEIGHT, isHalfSampling, pointStride, regionAxes, tileTaps } from "./resize-taps.ts";

/** Resizes regions of one form, of pictures of one format; its row buffers are overwritten by every picture. */
export class BilinearResizer {
  readonly #pixelBytes: number;
  /** Bytes of a source row that may be read, counted from the region's first pixel. */
  readonly #rowBegin: number;
  readonly #rowBytes: number;
  /** NV12 alone: makes RGB rows, of the pixels that the columns look at. */
  readonly #nv12: Nv12Rows | undefined;
  /** i32 [width, 3], in bytes; see {@linkcode bilinearTaps}. */
  readonly #columns: Int32Array<ArrayBuffer>;
  /** i32 [height, 3], in rows. */
  readonly #rows: Int32Array<ArrayBuffer>;
  /** Bytes from column to column where they need no interpolation; see {@linkcode pointStride}. */
  readonly #stride: number | undefined;
  /** True if the columns are means of two neighbours. */
  readonly #isHalf: boolean;
  readonly #pair: ResizePair;
  readonly #width: number;
  /** Where the region's first pixel lies in the picture, and in bytes. */
  #x = 0;
  #y = 0;
  #start = 0;

  constructor(region: Region, format: PixelFormat) {
    const isNv12 = format === "NV12";
    const pixelBytes = isNv12 ? NV12_ROW_PIXEL_BYTES : bytesPerPixel(format);
    const [across, down] = regionAxes(region);
    this.#pixelBytes = pixelBytes;
    this.#rowBegin = across.low * pixelBytes;
    this.#rowBytes = (across.high - across.low) * pixelBytes;
    const step = isNv12 ? 1 : pixelBytes;
    const { edge } = region;
    if (edge === "pad") {
      this.#columns = bilinearTaps(across, "columns", step);
      this.#rows = bilinearTaps(down, "rows", 1);
    } else {
      this.#columns = tileTaps(region.x, region.width, region.sourceWidth, edge, step);
      this.#rows = tileTaps(region.y, region.height, region.sourceHeight, edge, 1);
    }
    this.#nv12 = isNv12 ? new Nv12Rows(compact(this.#columns)) : undefined;
    this.#stride = pointStride(this.#columns);
    this.#isHalf = isHalfSampling(this.#columns);
    this.#width = this.#columns.length / 3;
    this.#pair = new ResizePair(this.#width, this.#nv12);
  }

  /** Forget the rows: another picture follows. @param region as it was made for, or the same elsewhere within its picture */
  begin(image: Image, { x, y }: Region): void {
    this.#x = x;
    this.#y = y;
    this.#start = y * image.pitchBytes + x * this.#pixelBytes;
    this.#pair.begin(this.#start, x, y);
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
      const pixels = nv12 === undefined ? image.data : nv12.load(image, this.#x, this.#y + nearRow);
      const rowStart = nv12 === undefined ? this.#start + nearRow * image.pitchBytes : 0;
      if (nv12 === undefined) target.touched ^= touchRow(pixels, rowStart + this.#rowBegin, this.#rowBytes);
      storePoints(pixels, rowStart + columns[0]!, stride, this.#width, target);
    } else if (this.#isHalf && weight === HALF_WEIGHT && nv12 === undefined) {
      const { data: pixels, pitchBytes } = image;
      const start = this.#start;
      storeMeans(pixels, start + nearRow * pitchBytes, start + farRow * pitchBytes, columns, target);
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
 * @param columns i32 [width, 3] of pixels; afterwards in bytes of such a row
 * @returns those pixels, from left to right
 */
function compact(columns: Int32Array): Int32Array {
  const wanted = new Set<number>();
  for (let k = 0; k < columns.length; k += 3) {
    if (columns[k + 2] === 0) columns[k + 1] = columns[k]!;
    wanted.add(columns[k]!);
    wanted.add(columns[k + 1]!);
  }
  const pixels = Int32Array.from(wanted).sort();
  const places = new Map([...pixels].map((pixel, place) => [pixel, place * NV12_ROW_PIXEL_BYTES]));
  for (let k = 0; k < columns.length; k += 3) {
    columns[k] = places.get(columns[k]!)!;
    columns[k + 1] = places.get(columns[k + 1]!)!;
  }
  return pixels;
}
