/** @module Nv12: pictures of video decoders, Y and interleaved U, V by 2 × 2, to RGB. The kernels do the same to the bit. */

import { chromaOffsetOf, chromaPitchOf, type Image, yuvRangeOf, yuvStandardOf } from "./image.ts";
import { type YuvCoefficients, yuvCoefficients } from "./yuv.ts";

/**
 * Convert some pixels of a row: see {@linkcode YuvCoefficients}. U, V are not interpolated.
 *
 * @param luma    offset of the row of Y in `data`
 * @param chroma  offset of the row of U, V
 * @param columns which pixels
 * @param rgb     u8 [columns, 3], written; clamped, so that what is out of range needs no test
 */
function convertColumns(
  data: Uint8Array,
  luma: number,
  chroma: number,
  columns: Int32Array,
  coefficients: YuvCoefficients,
  rgb: Uint8ClampedArray,
): void {
  const { offset, y, vRed, uGreen, vGreen, uBlue } = coefficients;
  let at = 0;
  for (let k = 0; k < columns.length; k++) {
    const x = columns[k]!;
    const pair = chroma + (x & ~1);
    const u = data[pair]! - 128;
    const v = data[pair + 1]! - 128;
    const level = data[luma + x]! - offset;
    const base = (level > 0 ? Math.imul(level, y) : 0) + 32_768;
    rgb[at] = (base + Math.imul(vRed, v)) >> 16;
    rgb[at + 1] = (base + Math.imul(uGreen, u) + Math.imul(vGreen, v)) >> 16;
    rgb[at + 2] = (base + Math.imul(uBlue, u)) >> 16;
    at += 3;
  }
}

/** Rows of NV12 pictures of one width as RGB, of some columns alone: those that a resize looks at. */
export class Nv12Rows {
  readonly #columns: Int32Array;
  readonly #clamped: Uint8ClampedArray;
  readonly #row: Uint8Array;

  /** @param columns the pixels that are wanted */
  constructor(columns: Int32Array) {
    this.#columns = columns;
    const buffer = new ArrayBuffer(columns.length * 3);
    this.#clamped = new Uint8ClampedArray(buffer);
    this.#row = new Uint8Array(buffer);
  }

  /** One row: u8 [columns, 3], valid until the next call. */
  load(image: Image, row: number): Uint8Array {
    const coefficients = yuvCoefficients(yuvStandardOf(image), yuvRangeOf(image));
    const luma = row * image.pitchBytes;
    const chroma = chromaOffsetOf(image) + (row >> 1) * chromaPitchOf(image);
    convertColumns(image.data, luma, chroma, this.#columns, coefficients, this.#clamped);
    return this.#row;
  }
}

/** Every pixel of an NV12 picture: u8 [height, width, 3]. */
export function rgbOfNv12(image: Image): Uint8Array<ArrayBuffer> {
  const { width, height } = image;
  const rgb = new Uint8Array(new ArrayBuffer(width * height * 3));
  const rows = new Nv12Rows(Int32Array.from({ length: width }, (_, x) => x));
  for (let row = 0; row < height; row++) rgb.set(rows.load(image, row), row * width * 3);
  return rgb;
}

/** The planes of an NV12 picture without gaps: its own memory where they have none, else a copy. */
export function tightNv12(image: Image): Uint8Array {
  const { width, height, pitchBytes, data } = image;
  const chromaOffset = chromaOffsetOf(image);
  const chromaPitchBytes = chromaPitchOf(image);
  const chromaRowBytes = width + (width & 1);
  const chromaRows = (height + 1) >> 1;
  const lumaBytes = width * height;
  const byteLength = lumaBytes + chromaRowBytes * chromaRows;
  const isTight = pitchBytes === width && chromaOffset === lumaBytes && chromaPitchBytes === chromaRowBytes;
  if (isTight) return data.subarray(0, byteLength);
  const tight = new Uint8Array(byteLength);
  for (let row = 0; row < height; row++) {
    tight.set(data.subarray(row * pitchBytes, row * pitchBytes + width), row * width);
  }
  for (let row = 0; row < chromaRows; row++) {
    const start = chromaOffset + row * chromaPitchBytes;
    tight.set(data.subarray(start, start + chromaRowBytes), lumaBytes + row * chromaRowBytes);
  }
  return tight;
}
