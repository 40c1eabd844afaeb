/** @module CubicRows: rows of a picture enlarged by a whole factor, for what a model does not make: chroma and alpha. */

import { bytesPerPixel, type PackedImage } from "../../image/image.ts";
import { CUBIC_WEIGHT_BITS, cubicPhases, PHASE_LENGTH } from "./cubic-phases.ts";

/** Enlarged levels are in 1/64. */
export const LEVEL_BITS = 6;

/** Bits that are dropped once the rows are weighed, and what rounds them. */
const DROPPED_BITS: number = CUBIC_WEIGHT_BITS - LEVEL_BITS;

function clamp(value: number, last: number): number {
  return Math.max(0, Math.min(value, last));
}

/** Enlarges rows one after the other; its buffers are kept and overwritten. */
export class CubicRows {
  readonly #scale: number;
  readonly #phases: Int32Array<ArrayBuffer>;
  /** The four source rows of an enlarged one weighed into one: i32 [columns, channels] in 1/64. */
  #narrow = new Int32Array(0);
  #wide = new Int32Array(0);

  /** @param scale whole, at least 1 */
  constructor(scale: number) {
    this.#scale = scale;
    this.#phases = cubicPhases(scale);
  }

  /**
   * A part of an enlarged row. Pixels beyond the picture are its last ones.
   *
   * @param y     row of the enlarged picture
   * @param left  first column of it
   * @param right column behind the last
   * @returns i32 [right − left, bytes of a pixel] in 1/64 of a level, below 0 and above 255 where the curve overshoots;
   * valid until the next call
   */
  row(image: PackedImage, y: number, left: number, right: number): Int32Array {
    const scale = this.#scale;
    const pixel = bytesPerPixel(image.format);
    const first = Math.floor(left / scale) - 2;
    const columns = Math.floor((right - 1) / scale) + 3 - first;
    this.#weighRows(image, y, first, columns);
    if (this.#wide.length < (right - left) * pixel) this.#wide = new Int32Array((right - left) * pixel);
    const narrow = this.#narrow;
    const wide = this.#wide;
    const phases = this.#phases;
    const half = 1 << (CUBIC_WEIGHT_BITS - 1);
    // One phase after the other: its weights then stay in registers.
    for (let start = left; start < Math.min(left + scale, right); start++) {
      const base = Math.floor(start / scale);
      const phase = (start - base * scale) * PHASE_LENGTH;
      const w0 = phases[phase + 1]!;
      const w1 = phases[phase + 2]!;
      const w2 = phases[phase + 3]!;
      const w3 = phases[phase + 4]!;
      let tap = (base + phases[phase]! - first) * pixel;
      for (let x = start; x < right; x += scale, tap += pixel) {
        const target = (x - left) * pixel;
        for (let channel = 0; channel < pixel; channel++) {
          const at = tap + channel;
          const sum =
            narrow[at]! * w0 + narrow[at + pixel]! * w1 + narrow[at + 2 * pixel]! * w2 + narrow[at + 3 * pixel]! * w3;
          wide[target + channel] = (sum + half) >> CUBIC_WEIGHT_BITS;
        }
      }
    }
    return wide;
  }

  #weighRows(image: PackedImage, y: number, first: number, columns: number): void {
    const { data, pitchBytes, width, height, format } = image;
    const pixel = bytesPerPixel(format);
    if (this.#narrow.length < columns * pixel) this.#narrow = new Int32Array(columns * pixel);
    const narrow = this.#narrow;
    const phases = this.#phases;
    const base = Math.floor(y / this.#scale);
    const phase = (y - base * this.#scale) * PHASE_LENGTH;
    const top = base + phases[phase]!;
    const row0 = clamp(top, height - 1) * pitchBytes;
    const row1 = clamp(top + 1, height - 1) * pitchBytes;
    const row2 = clamp(top + 2, height - 1) * pitchBytes;
    const row3 = clamp(top + 3, height - 1) * pitchBytes;
    const w0 = phases[phase + 1]!;
    const w1 = phases[phase + 2]!;
    const w2 = phases[phase + 3]!;
    const w3 = phases[phase + 4]!;
    const half = 1 << (DROPPED_BITS - 1);
    let target = 0;
    for (let column = 0; column < columns; column++) {
      let at = clamp(first + column, width - 1) * pixel;
      for (let channel = 0; channel < pixel; channel++, at++) {
        const sum = data[row0 + at]! * w0 + data[row1 + at]! * w1 + data[row2 + at]! * w2 + data[row3 + at]! * w3;
        narrow[target++] = (sum + half) >> DROPPED_BITS;
      }
    }
  }
}
