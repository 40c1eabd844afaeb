/** @module Samples: images of one sample a pixel, and of 16 bits: as rows of 8 bits, and resized without rounding to those. */

import { message, ShapeError } from "../core/errors.ts";
import { allocate } from "../core/tensor.ts";
import type { Region } from "./geometry.ts";
import { bytesPerPixel, type Image, type PixelFormat, type SampleFormat } from "./image.ts";
import { hasFourth, type InputArray, type Line, LUMA_WEIGHTS, type Preprocessing, roundedTo } from "./preprocessing.ts";
import { type AntialiasTaps, type RegionAxis, regionAxes, tileTaps } from "./resize-taps.ts";

/** Bytes of a pixel in what {@linkcode SampleRows} and `Nv12Rows` give. */
export const ROW_PIXEL_BYTES = 4;

/** The largest sample of 16 bits. */
export const LARGEST_SAMPLE = 65_535;

/** The level of a sample, with its fraction; cut to 0–255. */
function levelOf(sample: number, { levels }: Image): number {
  const [black, white] = levels ?? [0, LARGEST_SAMPLE];
  return Math.min(Math.max(((sample - black) * 255) / (white - black), 0), 255);
}

/** Rows of such images of one width in RGBA of 8 bits, opaque where they have no fourth channel. */
export class SampleRows {
  readonly #columns: Int32Array | undefined;
  readonly #row: Uint8ClampedArray;
  readonly #bytes: Uint8Array;

  /** @param columns the pixels that are wanted, or the width where all are */
  constructor(columns: Int32Array | number) {
    this.#columns = typeof columns === "number" ? undefined : columns;
    const length = typeof columns === "number" ? columns : columns.length;
    const buffer = new ArrayBuffer(length * ROW_PIXEL_BYTES);
    this.#row = new Uint8ClampedArray(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  /** One row: u8 [columns, 4], valid until the next call. @param left the pixel of the image that columns count from */
  load(image: Image, left: number, row: number): Uint8Array {
    const { data, pitchBytes } = image;
    const format = image.format as SampleFormat;
    const pixel = bytesPerPixel(format);
    const columns = this.#columns;
    const levels = this.#row;
    const start = row * pitchBytes + left * pixel;
    for (let to = 0, x = 0; to < levels.length; to += ROW_PIXEL_BYTES, x++) {
      const at = start + (columns === undefined ? x : columns[x]!) * pixel;
      if (format === "RGBA16") {
        for (let channel = 0; channel < 4; channel++) {
          levels[to + channel] = levelOf(data[at + channel * 2]! | (data[at + channel * 2 + 1]! << 8), image);
        }
        continue;
      }
      const level = format === "GREY" ? data[at]! : levelOf(data[at]! | (data[at + 1]! << 8), image);
      levels[to] = level;
      levels[to + 1] = level;
      levels[to + 2] = level;
      levels[to + 3] = 255;
    }
    return this.#bytes;
  }
}

/** Tight RGB rows of such an image: u8 [height, width, 3]. */
export function rgbOfSamples(image: Image): Uint8Array<ArrayBuffer> {
  const { width, height } = image;
  const rgb = new Uint8Array(new ArrayBuffer(width * height * 3));
  const rows = new SampleRows(width);
  for (let y = 0, to = 0; y < height; y++) {
    const row = rows.load(image, 0, y);
    for (let at = 0; at < row.length; at += ROW_PIXEL_BYTES, to += 3) {
      rgb[to] = row[at]!;
      rgb[to + 1] = row[at + 1]!;
      rgb[to + 2] = row[at + 2]!;
    }
  }
  return rgb;
}

/** @throws {ShapeError} If an input has four channels, and images of a format fewer */
export function assertFourthChannel(format: PixelFormat, colour: Preprocessing["colour"]): void {
  if (!hasFourth(colour) || format === "RGBA" || format === "RGBA16") return;
  const found = `its input has four channels, and the image is ${format}`;
  const hint =
    'give one of four: a PNG or TIFF with an alpha channel, or imageOf(pixels, { width, height, format: "RGBA" })';
  throw new ShapeError(message("pre-process an image", found, hint), {
    tensor: "image",
    expected: "RGBA or RGBA16",
    actual: format,
  });
}

/** Rows of a region may be counted from below 0, where its image goes on beyond its edges. */
export const NO_ROW: number = -(2 ** 30);

/** Taps along an axis. */
interface SampleTaps {
  /** Index of each tap of each pixel, and its weight. */
  readonly at: Int32Array;
  readonly weights: Int32Array | Float32Array;
  /** Taps a pixel. */
  readonly count: number;
  /** What the weights of a pixel come to. */
  readonly whole: number;
}

/** Bilinear, as OpenCV interpolates samples of 16 bits: weights are f32, and those of 8 bits rounded to 11 bits. */
function bilinear({ source, target, from, to, low, high }: RegionAxis): SampleTaps {
  const at = allocate("i32", (to - from) * 2);
  const weights = allocate("f32", (to - from) * 2);
  const scale = 1 / (target / source);
  for (let d = from, tap = 0; d < to; d++, tap += 2) {
    const position = Math.fround((d + 0.5) * scale - 0.5);
    const below = Math.floor(position);
    const weight = Math.fround(position - below);
    at[tap] = Math.min(Math.max(below, low), high - 1);
    at[tap + 1] = Math.min(Math.max(below + 1, low), high - 1);
    weights[tap] = 1 - weight;
    weights[tap + 1] = at[tap] === at[tap + 1] ? 0 : weight;
    if (weights[tap + 1] === 0) weights[tap] = 1;
  }
  return { at, weights, count: 2, whole: 1 };
}

/** Of a tile, whose pixels are the image's own. */
function picked(taps: Int32Array): SampleTaps {
  const at = Int32Array.from({ length: taps.length / 3 }, (_, pixel) => taps[pixel * 3]!);
  return { at, weights: new Float32Array(at.length).fill(1), count: 1, whole: 1 };
}

function filtered({ first, count, weights }: AntialiasTaps, whole: number): SampleTaps {
  const at = allocate("i32", weights.length);
  for (let pixel = 0; pixel < first.length; pixel++) {
    for (let tap = 0; tap < count; tap++) at[pixel * count + tap] = first[pixel]! + tap;
  }
  return { at, weights, count, whole };
}

function sampleAt(data: Uint8Array, at: number): number {
  return data[at]! | (data[at + 1]! << 8);
}

/** Y of BT.601 of three samples. */
function lumaAt(data: Uint8Array, at: number): number {
  const { red, green, blue } = LUMA_WEIGHTS;
  return (sampleAt(data, at) * red + sampleAt(data, at + 2) * green + sampleAt(data, at + 4) * blue) / 65536;
}

/** How a filter lies along an axis, and what its weights come to. */
export type FilterTaps = (axis: RegionAxis) => readonly [taps: AntialiasTaps, whole: number];

/**
 * Resizes one channel of regions of one form, of images of 16 bits, in f32 and without rounding to levels. Its rows are overwritten by
 * every image.
 *
 * 1. h = Σ w × sample / Σ w, along each source row, rounded once
 * 2. v = Σ w × h / Σ w, with the row's weights, likewise
 * 3. level = (v − black) × 255 / (white − black), cut to 0–255
 * 4. value = (level × scale − mean) / std, as `lumaLine` rounds it
 */
export class SampleResizer {
  readonly #format: SampleFormat;
  readonly #isLuma: boolean;
  readonly #columns: SampleTaps;
  readonly #rows: SampleTaps;
  readonly #width: number;
  /** The last source rows, resized, and which they are: row r is at r modulo their number. */
  readonly #ring: readonly Float32Array[];
  readonly #held: Int32Array;
  #x = 0;
  #y = 0;
  #channel = 0;

  /**
   * @param isLuma of a tensor of one channel: of four samples a pixel their luma is resized
   * @param taps   of an antialiased filter; bilinear where it is left out
   */
  constructor(region: Region, format: SampleFormat, isLuma: boolean, taps?: FilterTaps) {
    this.#format = format;
    this.#isLuma = isLuma && format === "RGBA16";
    const [across, down] = regionAxes(region);
    const { edge } = region;
    if (taps !== undefined) {
      this.#columns = filtered(...taps(across));
      this.#rows = filtered(...taps(down));
    } else if (edge === "pad") {
      this.#columns = bilinear(across);
      this.#rows = bilinear(down);
    } else {
      this.#columns = picked(tileTaps(region.x, region.width, region.sourceWidth, edge, 1));
      this.#rows = picked(tileTaps(region.y, region.height, region.sourceHeight, edge, 1));
    }
    this.#width = this.#columns.at.length / this.#columns.count;
    this.#ring = Array.from({ length: this.#rows.count }, () => allocate("f32", this.#width));
    this.#held = allocate("i32", this.#rows.count).fill(NO_ROW);
  }

  /** Forget the rows: another image follows, or another of its channels. */
  begin({ x, y }: Region, channel: number): void {
    this.#x = x;
    this.#y = y;
    this.#channel = channel;
    this.#held.fill(NO_ROW);
  }

  /**
   * Store the values of one row.
   *
   * @param y   row, never above the one of the last call
   * @param row f32 [width], written
   */
  store(image: Image, y: number, { slope, offset }: Line, row: Float32Array): void {
    const { at, weights, count, whole } = this.#rows;
    const [black, white] = image.levels ?? [0, LARGEST_SAMPLE];
    const perLevel = 255 / (white - black);
    const first = y * count;
    for (let tap = first; tap < first + count; tap++) if (weights[tap] !== 0) this.#load(image, at[tap]!);
    for (let x = 0; x < this.#width; x++) {
      let sum = 0;
      for (let tap = first; tap < first + count; tap++) {
        if (weights[tap] !== 0) sum += weights[tap]! * this.#resized(at[tap]!)[x]!;
      }
      const level = Math.min(Math.max((Math.fround(sum / whole) - black) * perLevel, 0), 255);
      row[x] = Math.fround(Math.fround(level * slope) + offset);
    }
  }

  /** Where the ring has a source row. */
  #place(row: number): number {
    const { length } = this.#ring;
    return ((row % length) + length) % length;
  }

  #resized(row: number): Float32Array {
    return this.#ring[this.#place(row)]!;
  }

  #load({ data, pitchBytes }: Image, row: number): void {
    const place = this.#place(row);
    if (this.#held[place] === row) return;
    this.#held[place] = row;
    const { at, weights, count, whole } = this.#columns;
    const resized = this.#ring[place]!;
    const pixel = bytesPerPixel(this.#format);
    const start = (this.#y + row) * pitchBytes + this.#x * pixel + this.#channel * 2;
    for (let x = 0, tap = 0; x < this.#width; x++) {
      let sum = 0;
      for (const end = tap + count; tap < end; tap++) {
        if (weights[tap] === 0) continue;
        const from = start + at[tap]! * pixel;
        sum += weights[tap]! * (this.#isLuma ? lumaAt(data, from) : sampleAt(data, from));
      }
      resized[x] = sum / whole;
    }
  }
}

/** Store a row of values in a tensor, rounded as its dtype says, `step` elements from one to the next. */
export function storeRow(
  row: Float32Array,
  width: number,
  dtype: Preprocessing["dtype"],
  data: InputArray,
  to: number,
  step: number,
): void {
  for (let x = 0, at = to; x < width; x++, at += step) data[at] = roundedTo(dtype, row[x]!);
}
