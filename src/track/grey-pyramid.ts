/** @module GreyPyramid: a small grey copy of a frame, and smaller ones of it: what the motion of a camera is seen in. */

import { allocate } from "../core/tensor.ts";
import { chromaOffsetOf, chromaPitchOf, type Image, isPackedFormat } from "../image/image.ts";

/** Levels, the first of half the frame's size. */
const LEVELS = 4;
/** No window is wider, in pixels of a level: smaller levels are left out. */
const WINDOW = 21;
/** Pixels around each level, which windows reach into: mirrored ones. */
const PAD = 24;
/** Bytes behind the last level, which vectors may read. */
const SLACK = 32;

/** What makes colours of Y, U and V, in parts of 65536 of eight times a level. */
interface ColourScale {
  readonly black: number;
  readonly luma: number;
  readonly red: number;
  readonly blue: number;
  readonly greenOfU: number;
  readonly greenOfV: number;
}

/** Those of swscale by BT.601, which OpenCV reads every video with. */
const LIMITED: ColourScale = {
  black: 128,
  luma: 9539,
  red: 13_075,
  blue: 16_525,
  greenOfU: -3209,
  greenOfV: -6660,
};
const FULL: ColourScale = { black: 0, luma: 8192, red: 11_485, blue: 14_516, greenOfU: -2819, greenOfV: -5850 };

/** A level of each colour from 0 to 255. */
function within(level: number): number {
  return Math.max(0, Math.min(level, 255));
}

/** The brightness of a colour by BT.601. */
function brightness(red: number, green: number, blue: number): number {
  return (red * 4899 + green * 9617 + blue * 1868 + 8192) >> 14;
}

/** One size of the copy. */
export interface Level {
  readonly width: number;
  readonly height: number;
  /** Of a row, with what is around it. */
  readonly pitch: number;
  /** Of all levels; of this one from {@linkcode PAD} rows above the first one on. */
  readonly pixels: Uint8Array<ArrayBuffer>;
  /** Where the first pixel is. */
  readonly origin: number;
}

/** Where a place beyond the edge is mirrored to; the edge itself is not doubled. */
function mirrored(at: number, length: number): number {
  if (length === 1) return 0;
  let place = at;
  while (place < 0 || place >= length) place = place < 0 ? -place : 2 * length - 2 - place;
  return place;
}

/** Fill what is around a level. */
function surround({ width, height, pitch, pixels, origin }: Level): void {
  for (let y = 0; y < height; y++) {
    const row = origin + y * pitch;
    for (let x = 1; x <= PAD; x++) {
      pixels[row - x] = pixels[row + mirrored(-x, width)]!;
      pixels[row + width - 1 + x] = pixels[row + mirrored(width - 1 + x, width)]!;
    }
  }
  const first = origin - PAD;
  for (let y = 1; y <= PAD; y++) {
    const above = first + mirrored(-y, height) * pitch;
    const below = first + mirrored(height - 1 + y, height) * pitch;
    pixels.copyWithin(first - y * pitch, above, above + pitch);
    pixels.copyWithin(first + (height - 1 + y) * pitch, below, below + pitch);
  }
}

/** Levels of one frame; memory that is used again for the next but one. */
export class GreyPyramid {
  readonly levels: readonly Level[];
  /** Those of all levels. */
  readonly pixels: Uint8Array<ArrayBuffer>;
  /** `bt_grey_level` of each. */
  readonly forms: Int32Array<ArrayBuffer>;
  readonly #rows: Int32Array;
  readonly #grey: Uint8Array;
  readonly #width: number;

  /** @param width of frames, at least 2, as `height` */
  constructor(width: number, height: number) {
    this.#width = width;
    const sizes: (readonly [width: number, height: number, pitch: number, origin: number])[] = [];
    let [columns, rows, bytes] = [width >> 1, height >> 1, 0];
    for (let level = 0; level < LEVELS; level++) {
      if (level > 0 && (columns <= WINDOW || rows <= WINDOW)) break;
      const pitch = columns + 2 * PAD;
      sizes.push([columns, rows, pitch, bytes + PAD * pitch + PAD]);
      bytes += pitch * (rows + 2 * PAD);
      columns = (columns + 1) >> 1;
      rows = (rows + 1) >> 1;
    }
    const pixels = allocate("u8", bytes + SLACK);
    this.pixels = pixels;
    this.levels = sizes.map(([w, h, pitch, origin]) => ({ width: w, height: h, pitch, pixels, origin }));
    this.forms = allocate("i32", 4 * sizes.length);
    this.forms.set(sizes.flat());
    this.#rows = new Int32Array((width >> 1) + 4);
    this.#grey = new Uint8Array(2 * width);
  }

  /** Take the next frame: the reference of `bt_grey_load`. */
  load(image: Image): void {
    const { width, height, pitch, pixels, origin } = this.levels[0]!;
    const grey = this.#grey;
    const whole = this.#width;
    for (let y = 0; y < height; y++) {
      this.#readRow(image, 2 * y, 0);
      this.#readRow(image, 2 * y + 1, whole);
      const row = origin + y * pitch;
      for (let x = 0; x < width; x++) {
        const at = 2 * x;
        pixels[row + x] = (grey[at]! + grey[at + 1]! + grey[whole + at]! + grey[whole + at + 1]! + 2) >> 2;
      }
    }
    surround(this.levels[0]!);
    for (let level = 1; level < this.levels.length; level++) {
      this.#reduce(this.levels[level - 1]!, this.levels[level]!);
      surround(this.levels[level]!);
    }
  }

  /** The brightness of a row, from 0 to 255: of colours by BT.601. */
  #readRow(image: Image, y: number, to: number): void {
    const { data, pitchBytes, format } = image;
    const grey = this.#grey;
    const row = y * pitchBytes;
    if (format === "NV12") {
      this.#readNv12Row(image, y, to);
      return;
    }
    if (!isPackedFormat(format)) {
      for (let x = 0; x < this.#width; x++) grey[to + x] = data[row + x]!;
      return;
    }
    const step = format === "RGBA" ? 4 : 3;
    const [red, blue] = format === "BGR" ? [2, 0] : [0, 2];
    for (let x = 0, at = row; x < this.#width; x++, at += step) {
      grey[to + x] = brightness(data[at + red]!, data[at + 1]!, data[at + blue]!);
    }
  }

  /** Of the colours that a row has as RGB, to the bit: what corners are found depends on each level. */
  #readNv12Row(image: Image, y: number, to: number): void {
    const { data, pitchBytes, yuvRange } = image;
    const { black, luma, red, blue, greenOfU, greenOfV } = yuvRange === "full" ? FULL : LIMITED;
    const grey = this.#grey;
    const row = y * pitchBytes;
    const chroma = chromaOffsetOf(image) + (y >> 1) * chromaPitchOf(image);
    // Two pixels have one U and V; what is behind the last column of an odd width is read by nobody.
    for (let x = 0; x < this.#width; x += 2) {
      const u = data[chroma + x]! * 8 - 1024;
      const v = data[chroma + x + 1]! * 8 - 1024;
      const ofRed = (v * red) >> 16;
      const ofGreen = ((u * greenOfU) >> 16) + ((v * greenOfV) >> 16);
      const ofBlue = (u * blue) >> 16;
      for (let at = x; at < x + 2; at++) {
        const light = ((data[row + at]! * 8 - black) * luma) >> 16;
        grey[to + at] = brightness(within(light + ofRed), within(light + ofGreen), within(light + ofBlue));
      }
    }
  }

  /** Half the size, by weights of 1, 4, 6, 4, 1. */
  #reduce(from: Level, to: Level): void {
    const { pitch, pixels, origin } = from;
    const columns = this.#rows;
    for (let y = 0; y < to.height; y++) {
      const row = origin + 2 * y * pitch;
      for (let x = -2; x < from.width + 2; x++) {
        const at = row + x;
        columns[x + 2] =
          pixels[at - 2 * pitch]! +
          pixels[at + 2 * pitch]! +
          4 * (pixels[at - pitch]! + pixels[at + pitch]!) +
          6 * pixels[at]!;
      }
      const target = to.origin + y * to.pitch;
      for (let x = 0; x < to.width; x++) {
        const at = 2 * x;
        const sum = columns[at]! + columns[at + 4]! + 4 * (columns[at + 1]! + columns[at + 3]!) + 6 * columns[at + 2]!;
        to.pixels[target + x] = (sum + 128) >> 8;
      }
    }
  }
}
