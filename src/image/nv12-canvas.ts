/** @module Nv12Canvas: painting on the planes of an NV12 picture. */

import type { Canvas } from "./canvas.ts";
import type { Colour } from "./class-colour.ts";
import type { GlyphMask } from "./glyph-mask.ts";
import { chromaOffsetOf, chromaPitchOf, type Image, yuvRangeOf, yuvStandardOf } from "./image.ts";
import { yuvOf } from "./yuv.ts";

/** Pixels of one byte, and a pair of U, V for 2 × 2 of them: a colour's edge may be a pixel further out than its light. */
export class Nv12Canvas implements Canvas {
  readonly width: number;
  readonly height: number;
  readonly #image: Image;
  readonly #chromaOffset: number;
  readonly #chromaPitch: number;

  constructor(image: Image) {
    this.width = image.width;
    this.height = image.height;
    this.#image = image;
    this.#chromaOffset = chromaOffsetOf(image);
    this.#chromaPitch = chromaPitchOf(image);
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
    for (let row = Math.max(0, -y); row < mask.height && y + row < this.height; row++) {
      const line = (y + row) * pitchBytes;
      const chroma = this.#chromaOffset + ((y + row) >> 1) * this.#chromaPitch;
      for (let column = Math.max(0, -x); column < mask.width && x + column < this.width; column++) {
        const cover = mask.coverage[row * mask.width + column]!;
        if (cover === 0) continue;
        const at = line + x + column;
        data[at] = data[at]! + ((luma - data[at]!) * cover) / 255;
        // Each of the four pixels has a quarter of the say.
        const pair = chroma + ((x + column) & ~1);
        data[pair] = data[pair]! + ((u - data[pair]!) * cover) / 1020;
        data[pair + 1] = data[pair + 1]! + ((v - data[pair + 1]!) * cover) / 1020;
      }
    }
  }

  #yuv(colour: Colour): [y: number, u: number, v: number] {
    return yuvOf(colour, yuvStandardOf(this.#image), yuvRangeOf(this.#image));
  }
}
