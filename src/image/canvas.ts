/** @module Canvas: what rectangles and letters are painted on: the pixels of a picture, in place. */

import type { Colour } from "./class-colour.ts";
import type { GlyphMask } from "./glyph-mask.ts";
import { bytesPerPixel, type Image, isPacked, type PackedImage } from "./image.ts";
import { Nv12Canvas } from "./nv12-canvas.ts";

/** A picture that is painted on. What lies outside of it is left out. */
export interface Canvas {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Fill whole pixels from [x1, y1) to [x2, y2). */
  fillRect(x1: number, y1: number, x2: number, y2: number, colour: Colour): void;
  /** Lay ink on the pixels below a mask whose upper left corner is at `x`, `y`. */
  stamp(mask: GlyphMask, x: number, y: number, ink: Colour): void;
}

/** Pixels of three or four bytes. */
class PackedCanvas implements Canvas {
  readonly width: number;
  readonly height: number;
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

/** A canvas over the pixels of a picture. */
export function canvasOf(image: Image): Canvas {
  return isPacked(image) ? new PackedCanvas(image) : new Nv12Canvas(image);
}
