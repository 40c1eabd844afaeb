/** @module Resize pair: the two resized source rows that the row at hand lies between, kept for the rows after it. */

import { allocate } from "../core/dtype.ts";
import type { Image } from "./image.ts";
import type { Nv12Rows } from "./nv12.ts";
import { resizeRow } from "./resize-rows.ts";

/** Two horizontally resized rows of a picture; each source row is resized at most once on the way down. */
export class ResizePair {
  /** i32 [width, 3], levels × 128: the upper row after {@linkcode load}. */
  near: Int32Array<ArrayBuffer>;
  /** Likewise, the lower row; what it held before where the weight is 0. */
  far: Int32Array<ArrayBuffer>;
  readonly #nv12: Nv12Rows | undefined;
  /** `undefined` where it holds none. */
  #nearRow: number | undefined;
  #farRow: number | undefined;
  /** Of the region's first pixel: bytes in the picture, and where it lies. */
  #start = 0;
  #x = 0;
  #y = 0;

  /**
   * @param width of the resized picture in pixels
   * @param nv12  makes the rows of NV12 pictures into RGB; `undefined` for the other formats
   */
  constructor(width: number, nv12: Nv12Rows | undefined) {
    this.#nv12 = nv12;
    this.near = allocate("i32", width * 3);
    this.far = allocate("i32", width * 3);
  }

  /**
   * Forget the rows: another picture follows.
   *
   * @param start offset of the region's first pixel in bytes
   * @param x     where it lies in the picture
   * @param y     likewise
   */
  begin(start: number, x: number, y: number): void {
    this.#nearRow = undefined;
    this.#farRow = undefined;
    this.#start = start;
    this.#x = x;
    this.#y = y;
  }

  /**
   * Have `near` hold one source row and, unless the weight is 0, `far` another.
   *
   * @param columns what `bilinearTaps` gave for the columns, in bytes
   * @param nearRow source row, counted from the region's first; going down each is resized once
   * @param farRow  source row, `nearRow` or the next
   * @param weight  of the far row, 0–2048
   */
  load(image: Image, columns: Int32Array, nearRow: number, farRow: number, weight: number): void {
    if (nearRow === this.#farRow) {
      const { near } = this;
      this.near = this.far;
      this.far = near;
      this.#farRow = this.#nearRow;
      this.#nearRow = nearRow;
    } else if (nearRow !== this.#nearRow) {
      this.#resize(image, nearRow, columns, this.near);
      this.#nearRow = nearRow;
    }
    if (weight === 0 || farRow === this.#farRow) return;
    this.#resize(image, farRow, columns, this.far);
    this.#farRow = farRow;
  }

  #resize(image: Image, row: number, columns: Int32Array, target: Int32Array): void {
    if (this.#nv12 === undefined) resizeRow(image.data, this.#start + row * image.pitchBytes, columns, target);
    else resizeRow(this.#nv12.load(image, this.#x, this.#y + row), 0, columns, target);
  }
}
