/** @module Canvas: what rectangles and letters are painted on: the pixels of an image, in place. */

import { ArgumentError, message } from "../core/errors.ts";
import type { Colour } from "./class-colour.ts";
import type { Plane } from "./conceal.ts";
import type { GlyphMask } from "./glyphs.ts";
import {
  bytesPerPixel,
  chromaOffsetOf,
  chromaPitchOf,
  type Image,
  isPacked,
  type PackedImage,
  yuvRangeOf,
  yuvStandardOf,
} from "./image.ts";
import { isOfSamples } from "./samples.ts";
import { yuvOf } from "./yuv.ts";

/** An image that is painted on. What lies outside of it is left out. */
export interface Canvas {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Its colours, and not its alpha. */
  readonly planes: readonly Plane[];
  /** Fill whole pixels from [x1, y1) to [x2, y2). */
  fillRect(x1: number, y1: number, x2: number, y2: number, colour: Colour): void;
  /** Lay ink on the pixels below a mask whose upper left corner is at `x`, `y`. */
  stamp(mask: GlyphMask, x: number, y: number, ink: Colour): void;
}

/** Pixels of three or four bytes. */
class PackedCanvas implements Canvas {
  readonly width: number;
  readonly height: number;
  readonly planes: readonly Plane[];
  readonly #data: Uint8Array;
  readonly #pitchBytes: number;
  readonly #pixelBytes: number;
  readonly #isBgr: boolean;

  constructor({ data, width, height, pitchBytes, format }: PackedImage) {
    this.width = width;
    this.height = height;
    this.#data = data;
    this.#pitchBytes = pitchBytes;
    this.#pixelBytes = bytesPerPixel(format);
    this.#isBgr = format === "BGR";
    this.planes = [0, 1, 2].map((offset) => ({ data, offset, pitchBytes, step: this.#pixelBytes, pixels: 1 }));
  }

  fillRect(x1: number, y1: number, x2: number, y2: number, { red, green, blue }: Colour): void {
    const data = this.#data;
    const pixelBytes = this.#pixelBytes;
    const [first, third] = this.#isBgr ? [blue, red] : [red, blue];
    const left = Math.max(0, x1);
    const right = Math.min(this.width, x2);
    const bottom = Math.min(this.height, y2);
    for (let y = Math.max(0, y1); y < bottom; y++) {
      let at = y * this.#pitchBytes + left * pixelBytes;
      for (let x = left; x < right; x++) {
        data[at] = first;
        data[at + 1] = green;
        data[at + 2] = third;
        at += pixelBytes;
      }
    }
  }

  stamp(mask: GlyphMask, x: number, y: number, ink: Colour): void {
    const data = this.#data;
    const [first, third] = this.#isBgr ? [ink.blue, ink.red] : [ink.red, ink.blue];
    for (let row = Math.max(0, -y); row < mask.height && y + row < this.height; row++) {
      const line = (y + row) * this.#pitchBytes;
      for (let column = Math.max(0, -x); column < mask.width && x + column < this.width; column++) {
        const cover = mask.coverage[row * mask.width + column]!;
        if (cover === 0) continue;
        const at = line + (x + column) * this.#pixelBytes;
        data[at] = data[at]! + ((first - data[at]!) * cover) / 255;
        data[at + 1] = data[at + 1]! + ((ink.green - data[at + 1]!) * cover) / 255;
        data[at + 2] = data[at + 2]! + ((third - data[at + 2]!) * cover) / 255;
      }
    }
  }
}

/** Pixels of one byte, and a pair of U, V for 2 × 2 of them: a colour's edge may be a pixel further out than its light. */
class Nv12Canvas implements Canvas {
  readonly width: number;
  readonly height: number;
  readonly planes: readonly Plane[];
  readonly #image: Image;
  readonly #chromaOffset: number;
  readonly #chromaPitch: number;

  constructor(image: Image) {
    this.width = image.width;
    this.height = image.height;
    this.#image = image;
    this.#chromaOffset = chromaOffsetOf(image);
    this.#chromaPitch = chromaPitchOf(image);
    const { data, pitchBytes } = image;
    const chroma = { data, pitchBytes: this.#chromaPitch, step: 2, pixels: 2 } as const;
    this.planes = [
      { data, offset: 0, pitchBytes, step: 1, pixels: 1 },
      { ...chroma, offset: this.#chromaOffset },
      { ...chroma, offset: this.#chromaOffset + 1 },
    ];
  }

  fillRect(x1: number, y1: number, x2: number, y2: number, colour: Colour): void {
    const { data, pitchBytes } = this.#image;
    const [luma, u, v] = this.#yuv(colour);
    const left = Math.max(0, x1);
    const right = Math.min(this.width, x2);
    const top = Math.max(0, y1);
    const bottom = Math.min(this.height, y2);
    if (left >= right || top >= bottom) return;
    for (let y = top; y < bottom; y++) data.fill(luma, y * pitchBytes + left, y * pitchBytes + right);
    for (let row = top >> 1; row < (bottom + 1) >> 1; row++) {
      const line = this.#chromaOffset + row * this.#chromaPitch;
      const end = line + right + (right & 1);
      for (let at = line + (left & ~1); at < end; at += 2) {
        data[at] = u;
        data[at + 1] = v;
      }
    }
  }

  stamp(mask: GlyphMask, x: number, y: number, ink: Colour): void {
    const { data, pitchBytes } = this.#image;
    const [luma, u, v] = this.#yuv(ink);
    const { coverage } = mask;
    const left = Math.max(0, x);
    const right = Math.min(this.width, x + mask.width);
    const bottom = Math.min(this.height, y + mask.height);
    for (let row = Math.max(0, y); row < bottom; row++) {
      const line = row * pitchBytes;
      const covered = (row - y) * mask.width - x;
      for (let column = left; column < right; column++) {
        const cover = coverage[covered + column]!;
        if (cover !== 0) data[line + column] = data[line + column]! + ((luma - data[line + column]!) * cover) / 255;
      }
    }
    if (left >= right) return;
    // Each of the up to four pixels of a pair of U, V has its part in them.
    for (let row = Math.max(0, y) & ~1; row < bottom; row += 2) {
      const chroma = this.#chromaOffset + (row >> 1) * this.#chromaPitch;
      const rows = Math.min(2, this.height - row);
      for (let column = left & ~1; column < right; column += 2) {
        const columns = Math.min(2, this.width - column);
        let cover = 0;
        for (let line = Math.max(row, y); line < row + rows && line < bottom; line++) {
          const covered = (line - y) * mask.width - x;
          for (let at = Math.max(column, left); at < column + columns && at < right; at++) {
            cover += coverage[covered + at]!;
          }
        }
        if (cover === 0) continue;
        const part = cover / (255 * rows * columns);
        const pair = chroma + column;
        data[pair] = Math.round(data[pair]! + (u - data[pair]!) * part);
        data[pair + 1] = Math.round(data[pair + 1]! + (v - data[pair + 1]!) * part);
      }
    }
  }

  #yuv(colour: Colour): [y: number, u: number, v: number] {
    return yuvOf(colour, yuvStandardOf(this.#image), yuvRangeOf(this.#image));
  }
}

/** A canvas over the pixels of an image. @throws {ArgumentError} If they have no colours */
export function canvasOf(image: Image): Canvas {
  if (isOfSamples(image.format)) {
    const hint = "draw on a copy of it in RGB, from `decodeImage(image)`";
    throw new ArgumentError(message("draw on the image", `its pixels have no colours, they are ${image.format}`, hint));
  }
  return isPacked(image) ? new PackedCanvas(image) : new Nv12Canvas(image);
}

/** A place on a canvas, in pixels. */
interface Point {
  readonly x: number;
  readonly y: number;
}

/** Draw a straight line between two points, with square ends. @param line its width in pixels */
export function strokeLine(canvas: Canvas, from: Point, to: Point, line: number, colour: Colour): void {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const steps = Math.ceil(Math.max(Math.abs(dx), Math.abs(dy)));
  // Points far outside would take for ever, and NaN and infinity lead nowhere.
  if (!(steps <= 1e5)) return;
  for (let step = 0; step <= steps; step++) {
    const part = steps === 0 ? 0 : step / steps;
    const left = Math.round(from.x + dx * part - line / 2);
    const top = Math.round(from.y + dy * part - line / 2);
    canvas.fillRect(left, top, left + line, top + line, colour);
  }
}
