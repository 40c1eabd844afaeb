/** @module MaskRows: a grid of numbers is interpolated row by row, and the signs of what comes out are the bits of a mask. */

import type { BilinearAxis } from "../../image/bilinear-axis.ts";
import { wordsOf } from "./mask.ts";

const { fround } = Math;

/** A row of interpolated values, and which of them are above 0. */
class Row {
  values: Float32Array<ArrayBuffer> = new Float32Array(0);
  signs: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  /** The row of the grid that it was made of. */
  source = -1;

  /** Forget what it was made of; make room for so many values. */
  begin(count: number): void {
    this.source = -1;
    if (this.values.length >= count) return;
    this.values = new Float32Array(count);
    this.signs = new Uint32Array(wordsOf(count));
  }

  /**
   * Interpolate a row along x.
   *
   * @param cells  [*, pitch], from the row `top` and the axis's first cell on
   * @param source row of it to read
   */
  fill(cells: Float32Array, pitch: number, top: number, source: number, axis: BilinearAxis): void {
    this.source = source;
    const { values } = this;
    const { first, second, weight, begin } = axis;
    const row = (source - top) * pitch - begin;
    const count = axis.to - axis.from;
    for (let at = 0; at < count; at++) {
      const share = weight[at]!;
      const left = fround(cells[row + first[at]!]! * fround(1 - share));
      values[at] = left + fround(cells[row + second[at]!]! * share);
    }
  }

  /** Note which values are above 0. */
  sign(count: number): void {
    const { values, signs } = this;
    for (let from = 0, word = 0; from < count; from += 32, word++) {
      const to = Math.min(32, count - from);
      let bits = 0;
      for (let bit = 0; bit < to; bit++) if (values[from + bit]! > 0) bits |= 1 << bit;
      signs[word] = bits;
    }
  }
}

/** Interpolates grids. Owns the two rows that it needs, which only grow. */
export class MaskRows {
  #upper = new Row();
  #lower = new Row();

  /**
   * Interpolate a grid.
   *
   * @param cells what the axes need of the one that is there, row by row
   * @param grid  takes the pixels
   */
  enlarge(cells: Float32Array, columns: BilinearAxis, rows: BilinearAxis, grid: Float32Array): void {
    const pitch = columns.to - columns.from;
    const count = rows.to - rows.from;
    this.#begin(pitch);
    for (let row = 0, to = 0; row < count; row++, to += pitch) {
      this.#moveTo(cells, columns, rows, row, false);
      const share = rows.weight[row]!;
      const upper = this.#upper.values;
      const lower = this.#lower.values;
      const rest = fround(1 - share);
      for (let at = 0; at < pitch; at++) grid[to + at] = fround(upper[at]! * rest) + fround(lower[at]! * share);
    }
  }

  /**
   * Find which interpolated values are above 0. Between two rows of one sign every pixel has it; others are interpolated.
   *
   * @param cells as of {@linkcode enlarge}
   * @param bits  takes a bit a pixel, each row in whole words
   */
  fill(cells: Float32Array, columns: BilinearAxis, rows: BilinearAxis, bits: Uint32Array): void {
    const width = columns.to - columns.from;
    const words = wordsOf(width);
    const count = rows.to - rows.from;
    this.#begin(width);
    for (let row = 0, to = 0; row < count; row++, to += words) {
      this.#moveTo(cells, columns, rows, row, true);
      const share = rows.weight[row]!;
      const rest = fround(1 - share);
      const upper = this.#upper;
      const lower = this.#lower;
      for (let word = 0; word < words; word++) {
        const above = upper.signs[word]!;
        const below = lower.signs[word]!;
        let both = above & below;
        for (let open = above ^ below; open !== 0; open &= open - 1) {
          const bit = open & -open;
          const at = word * 32 + 31 - Math.clz32(bit);
          if (fround(upper.values[at]! * rest) + fround(lower.values[at]! * share) > 0) both |= bit;
        }
        bits[to + word] = both;
      }
    }
  }

  #begin(count: number): void {
    this.#upper.begin(count);
    this.#lower.begin(count);
  }

  /** Have the two rows of cells, interpolated along x, that a row lies between. */
  #moveTo(cells: Float32Array, columns: BilinearAxis, rows: BilinearAxis, row: number, isSigned: boolean): void {
    const first = rows.first[row]!;
    const second = rows.second[row]!;
    if (this.#upper.source === first && this.#lower.source === second) return;
    const pitch = columns.end - columns.begin;
    const count = columns.to - columns.from;
    if (this.#lower.source === first) {
      const upper = this.#upper;
      this.#upper = this.#lower;
      this.#lower = upper;
    }
    if (this.#upper.source !== first) {
      this.#upper.fill(cells, pitch, rows.begin, first, columns);
      if (isSigned) this.#upper.sign(count);
    }
    if (this.#lower.source !== second) {
      this.#lower.fill(cells, pitch, rows.begin, second, columns);
      if (isSigned) this.#lower.sign(count);
    }
  }
}
