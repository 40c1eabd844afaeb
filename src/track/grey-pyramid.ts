/** @module GreyPyramid: a small grey copy of a frame, and smaller ones of it: what the motion of a camera is seen in. */

import { type Image, isPackedFormat } from "../image/image.ts";

/** Levels, the first of half the frame's size. */
const LEVELS = 4;
/** No window is wider, in pixels of a level: smaller levels are left out. */
const WINDOW = 21;
/** Pixels around each level, which windows reach into: mirrored ones. */
export const PAD = 24;

/** Brightness of video, from 16 to 235, as that of photographs. */
const FULL_RANGE: Uint8ClampedArray = Uint8ClampedArray.from({ length: 256 }, (_, y) => ((y - 16) * 255) / 219);

/** One size of the copy. */
export interface Level {
  readonly width: number;
  readonly height: number;
  /** Of a row, with what is around it. */
  readonly pitch: number;
  /** 0–255, from {@linkcode PAD} rows above the first one on. */
  readonly pixels: Float32Array;
  /** Where the first pixel is. */
  readonly origin: number;
}

function levelOf(width: number, height: number): Level {
  const pitch = width + 2 * PAD;
  const pixels = new Float32Array(pitch * (height + 2 * PAD));
  return { width, height, pitch, pixels, origin: PAD * pitch + PAD };
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
  readonly #rows: Float32Array;
  readonly #grey: Uint8Array;
  readonly #width: number;

  /** @param width of frames, at least 2, as `height` */
  constructor(width: number, height: number) {
    this.#width = width;
    const levels: Level[] = [];
    let [columns, rows] = [width >> 1, height >> 1];
    for (let level = 0; level < LEVELS; level++) {
      if (level > 0 && (columns <= WINDOW || rows <= WINDOW)) break;
      levels.push(levelOf(columns, rows));
      columns = (columns + 1) >> 1;
      rows = (rows + 1) >> 1;
    }
    this.levels = levels;
    this.#rows = new Float32Array((levels[0]!.width + 4) * 5);
    this.#grey = new Uint8Array(2 * width);
  }

  /** Take the next frame. */
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
  #readRow({ data, pitchBytes, format, yuvRange }: Image, y: number, to: number): void {
    const grey = this.#grey;
    const row = y * pitchBytes;
    if (format === "NV12" && yuvRange !== "full") {
      for (let x = 0; x < this.#width; x++) grey[to + x] = FULL_RANGE[data[row + x]!]!;
      return;
    }
    if (!isPackedFormat(format)) {
      for (let x = 0; x < this.#width; x++) grey[to + x] = data[row + x]!;
      return;
    }
    const step = format === "RGBA" ? 4 : 3;
    const [red, blue] = format === "BGR" ? [2, 0] : [0, 2];
    for (let x = 0, at = row; x < this.#width; x++, at += step) {
      grey[to + x] = (data[at + red]! * 4899 + data[at + 1]! * 9617 + data[at + blue]! * 1868 + 8192) >> 14;
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
        to.pixels[target + x] = Math.floor((sum + 128) / 256);
      }
    }
  }
}
