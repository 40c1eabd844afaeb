/** @module Nv12: images of video decoders, Y and interleaved U, V by 2 × 2, to RGB. The kernels do the same to the bit. */

import {
  bytesPerPixel,
  chromaOffsetOf,
  chromaPitchOf,
  type Image,
  imageOf,
  isPacked,
  isPackedFormat,
  type PackedImage,
  type PixelFormat,
  type YuvCoefficients,
  yuvCoefficients,
  yuvRangeOf,
  yuvStandardOf,
} from "./image.ts";
import { ROW_PIXEL_BYTES, rgbOfSamples, SampleRows } from "./samples.ts";

const NO_COLUMNS: Int32Array = new Int32Array(0);

/** 0 for what is below it, 255 for what is above. */
function clamp(level: number): number {
  return Math.min(Math.max(level, 0), 255);
}

/**
 * Convert some pixels of a row: see {@linkcode YuvCoefficients}. U, V are not interpolated.
 *
 * A pixel is stored as one word: with a store for each channel it took a third longer.
 *
 * @param luma    offset of the row of Y in `data`
 * @param chroma  offset of the row of U, V
 * @param columns which pixels
 * @param words   i32 [columns], written: red in the lowest byte, then green, blue and 0
 */
function convertColumns(
  data: Uint8Array,
  luma: number,
  chroma: number,
  columns: Int32Array,
  coefficients: YuvCoefficients,
  words: Int32Array,
): void {
  const { offset, y, vRed, uGreen, vGreen, uBlue } = coefficients;
  const end = columns.length;
  for (let k = 0; k < end; k++) {
    const x = columns[k]!;
    const pair = chroma + (x & ~1);
    const u = data[pair]! - 128;
    const v = data[pair + 1]! - 128;
    const base = (Math.imul(Math.max(data[luma + x]! - offset, 0), y) + 32_768) | 0;
    const red = (base + Math.imul(vRed, v)) >> 16;
    const green = (base + ((Math.imul(uGreen, u) + Math.imul(vGreen, v)) | 0)) >> 16;
    const blue = (base + Math.imul(uBlue, u)) >> 16;
    // Few pixels of a real image are out of range.
    if (((red | green | blue) & ~255) === 0) words[k] = red | (green << 8) | (blue << 16);
    else words[k] = clamp(red) | (clamp(green) << 8) | (clamp(blue) << 16);
  }
}

/** Convert all pixels of a row, two for each U, V: of photographs in half the time. */
function convertRow(
  data: Uint8Array,
  luma: number,
  chroma: number,
  coefficients: YuvCoefficients,
  words: Int32Array,
): void {
  const { offset, y, vRed, uGreen, vGreen, uBlue } = coefficients;
  const width = words.length;
  for (let x = 0; x < width; x += 2) {
    const u = data[chroma + x]! - 128;
    const v = data[chroma + x + 1]! - 128;
    const reds = (Math.imul(vRed, v) + 32_768) | 0;
    const greens = (Math.imul(uGreen, u) + Math.imul(vGreen, v) + 32_768) | 0;
    const blues = (Math.imul(uBlue, u) + 32_768) | 0;
    const level = Math.imul(Math.max(data[luma + x]! - offset, 0), y);
    const red = (level + reds) >> 16;
    const green = (level + greens) >> 16;
    const blue = (level + blues) >> 16;
    if (((red | green | blue) & ~255) === 0) words[x] = red | (green << 8) | (blue << 16);
    else words[x] = clamp(red) | (clamp(green) << 8) | (clamp(blue) << 16);
    if (x + 1 === width) return;
    const nextLevel = Math.imul(Math.max(data[luma + x + 1]! - offset, 0), y);
    const nextRed = (nextLevel + reds) >> 16;
    const nextGreen = (nextLevel + greens) >> 16;
    const nextBlue = (nextLevel + blues) >> 16;
    if (((nextRed | nextGreen | nextBlue) & ~255) === 0) words[x + 1] = nextRed | (nextGreen << 8) | (nextBlue << 16);
    else words[x + 1] = clamp(nextRed) | (clamp(nextGreen) << 8) | (clamp(nextBlue) << 16);
  }
}

/** Rows of NV12 images of one width in RGB: whole, or of some columns alone, those that a resize looks at. */
export class Nv12Rows {
  readonly #columns: Int32Array | undefined;
  readonly #words: Int32Array;
  readonly #row: Uint8Array;
  #odd: Int32Array = NO_COLUMNS;

  /** @param columns the pixels that are wanted, or the width where all are */
  constructor(columns: Int32Array | number) {
    this.#columns = typeof columns === "number" ? undefined : columns;
    const length = typeof columns === "number" ? columns : columns.length;
    const buffer = new ArrayBuffer(length * ROW_PIXEL_BYTES);
    this.#words = new Int32Array(buffer);
    this.#row = new Uint8Array(buffer);
  }

  /**
   * One row: u8 [columns, 4], red, green, blue and 0, valid until the next call.
   *
   * @param left the pixel of the image that columns count from
   */
  load(image: Image, left: number, row: number): Uint8Array {
    const coefficients = yuvCoefficients(yuvStandardOf(image), yuvRangeOf(image));
    const luma = row * image.pitchBytes;
    const chroma = chromaOffsetOf(image) + (row >> 1) * chromaPitchOf(image);
    const columns = this.#columns;
    const { data } = image;
    const isOdd = (left & 1) === 1;
    // Pixels are counted from the first of a pair.
    const start = isOdd ? left - 1 : left;
    if (isOdd) convertColumns(data, luma + start, chroma + start, this.#oddColumns(), coefficients, this.#words);
    else if (columns === undefined) convertRow(data, luma + start, chroma + start, coefficients, this.#words);
    else convertColumns(data, luma + start, chroma + start, columns, coefficients, this.#words);
    return this.#row;
  }

  /** The columns counted from the pixel before. */
  #oddColumns(): Int32Array {
    const columns = this.#columns;
    if (this.#odd.length === 0) this.#odd = this.#words.map((_, at) => (columns === undefined ? at : columns[at]!) + 1);
    return this.#odd;
  }
}

/** Every pixel of an NV12 image: u8 [height, width, 3]. */
function rgbOfNv12(image: Image): Uint8Array<ArrayBuffer> {
  const { width, height } = image;
  const rgb = new Uint8Array(new ArrayBuffer(width * height * 3));
  const rows = new Nv12Rows(width);
  let at = 0;
  for (let y = 0; y < height; y++) {
    const row = rows.load(image, 0, y);
    for (let x = 0; x < row.length; x += ROW_PIXEL_BYTES) {
      rgb[at] = row[x]!;
      rgb[at + 1] = row[x + 1]!;
      rgb[at + 2] = row[x + 2]!;
      at += 3;
    }
  }
  return rgb;
}

/** Fill `to` with rows of so many bytes, which lie `pitchBytes` apart in `from`. */
function copyRows(from: Uint8Array, pitchBytes: number, to: Uint8Array, rowBytes: number): void {
  for (let start = 0, at = 0; at < to.length; start += pitchBytes, at += rowBytes) {
    to.set(from.subarray(start, start + rowBytes), at);
  }
}

/** Resize a plane whose samples come in groups of `step`: bilinearly, the middles of the first and last sample half a sample from the edges. */
function resizePlane(
  from: Uint8Array,
  [width, height]: readonly [number, number],
  to: Uint8Array,
  [newWidth, newHeight]: readonly [number, number],
  step: number,
): void {
  for (let y = 0; y < newHeight; y++) {
    const row = Math.min(Math.max(((y + 0.5) * height) / newHeight - 0.5, 0), height - 1);
    const upper = Math.floor(row);
    const down = Math.min(upper + 1, height - 1) * width * step;
    for (let x = 0; x < newWidth; x++) {
      const column = Math.min(Math.max(((x + 0.5) * width) / newWidth - 0.5, 0), width - 1);
      const left = Math.floor(column);
      const right = Math.min(left + 1, width - 1) * step;
      for (let part = 0; part < step; part++) {
        const near = from[upper * width * step + left * step + part]!;
        const above = near + (from[upper * width * step + right + part]! - near) * (column - left);
        const first = from[down + left * step + part]!;
        const below = first + (from[down + right + part]! - first) * (column - left);
        to[(y * newWidth + x) * step + part] = Math.round(above + (below - above) * (row - upper));
      }
    }
  }
}

/** The planes of an NV12 image in another size, bilinearly, both without gaps. */
export function resizedNv12(
  data: Uint8Array,
  [width, height]: readonly [width: number, height: number],
  [newWidth, newHeight]: readonly [width: number, height: number],
): Uint8Array {
  const pairs = [(width + 1) >> 1, (height + 1) >> 1] as const;
  const newPairs = [(newWidth + 1) >> 1, (newHeight + 1) >> 1] as const;
  const luma = newWidth * newHeight;
  const resized = new Uint8Array(luma + newPairs[0] * newPairs[1] * 2);
  resizePlane(data, [width, height], resized, [newWidth, newHeight], 1);
  resizePlane(data.subarray(width * height), pairs, resized.subarray(luma), newPairs, 2);
  return resized;
}

/** The planes of an NV12 image without gaps: its own memory where they have none, else a copy. */
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
  copyRows(data, pitchBytes, tight.subarray(0, lumaBytes), width);
  copyRows(data.subarray(chromaOffset), chromaPitchBytes, tight.subarray(lumaBytes), chromaRowBytes);
  return tight;
}

/**
 * Have columns point into rows that hold only the pixels they look at.
 *
 * @param columns i32 [width, 3] of pixels; afterwards in bytes of such a row
 * @returns those pixels, from left to right
 */
export function compact(columns: Int32Array): Int32Array {
  const wanted = new Set<number>();
  for (let k = 0; k < columns.length; k += 3) {
    if (columns[k + 2] === 0) columns[k + 1] = columns[k]!;
    wanted.add(columns[k]!);
    wanted.add(columns[k + 1]!);
  }
  const pixels = Int32Array.from(wanted).sort();
  const places = new Map([...pixels].map((pixel, place) => [pixel, place * ROW_PIXEL_BYTES]));
  for (let k = 0; k < columns.length; k += 3) {
    columns[k] = places.get(columns[k]!)!;
    columns[k + 1] = places.get(columns[k + 1]!)!;
  }
  return pixels;
}

/** Makes rows of 8 bits, red, green, blue and one more, of images whose pixels are others. */
export type RowConverter = Pick<Nv12Rows, "load">;

/** What makes rows of images of a format; `undefined` where they are such rows. @param columns as `Nv12Rows` takes them */
export function rowConverter(format: PixelFormat, columns: Int32Array | number): RowConverter | undefined {
  if (format === "NV12") return new Nv12Rows(columns);
  return isPackedFormat(format) ? undefined : new SampleRows(columns);
}

/** The image itself, or RGB in memory of its own where its pixels are no bytes of colours: for code that goes from pixel to pixel. */
export function packedImage(image: Image): PackedImage {
  if (isPacked(image)) return image;
  const { width, height, format } = image;
  const data = format === "NV12" ? rgbOfNv12(image) : rgbOfSamples(image);
  return { width, height, pitchBytes: width * 3, format: "RGB", data };
}

/**
 * Tight RGB rows of an image; alpha is dropped.
 *
 * @returns u8 [height, width, 3]: the image's own memory where it has that form already, else a copy
 */
export function tightRgb(image: Image): Uint8Array {
  const { width, height, pitchBytes, format, data } = packedImage(image);
  const rowBytes = width * 3;
  if (format === "RGB" && pitchBytes === rowBytes) return data.subarray(0, rowBytes * height);
  const rgb = new Uint8Array(rowBytes * height);
  const pixel = bytesPerPixel(format);
  const red = format === "BGR" ? 2 : 0;
  const blue = 2 - red;
  let target = 0;
  for (let y = 0; y < height; y++) {
    let source = y * pitchBytes;
    for (let x = 0; x < width; x++) {
      rgb[target] = data[source + red]!;
      rgb[target + 1] = data[source + 1]!;
      rgb[target + 2] = data[source + blue]!;
      target += 3;
      source += pixel;
    }
  }
  return rgb;
}

/** A copy of an image in RGB, with tight rows. @throws {ShapeError} If its size, pitch and data do not fit together */
export function rgbCopy(image: Image): PackedImage {
  const complete = imageOf(image.data, image);
  const pixels = tightRgb(complete);
  const isOwn = pixels.buffer !== complete.data.buffer;
  const { width, height } = complete;
  return imageOf(isOwn ? pixels : new Uint8Array(pixels), { width, height, format: "RGB" });
}

/**
 * Tight rows of an RGBA image.
 *
 * @returns u8 [height, width, 4]: the image's own memory where its rows are tight, else a copy
 */
export function tightRgba(image: Image): Uint8Array {
  const { width, height, pitchBytes, data } = image;
  const rowBytes = width * 4;
  if (pitchBytes === rowBytes) return data.subarray(0, rowBytes * height);
  const rgba = new Uint8Array(rowBytes * height);
  copyRows(data, pitchBytes, rgba, rowBytes);
  return rgba;
}
