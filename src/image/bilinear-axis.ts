/** @module BilinearAxis: bilinear interpolation of a grid of numbers along one axis. */

const { fround } = Math;

/** Bilinear interpolation along one axis, as PyTorch's with `align_corners=False`: which two cells each pixel lies between. */
export class BilinearAxis {
  /** For each pixel from `from` on: the first of its two cells. */
  first: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** The second one; at the end of the axis the first again. */
  second: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** Weight of the second, 0 to 1. */
  weight: Float32Array<ArrayBuffer> = new Float32Array(0);
  /** Pixels that are interpolated: `from` up to before `to`. */
  from = 0;
  to = 0;
  /** Cells that they need: `begin` up to before `end`. */
  begin = 0;
  end = 0;

  /**
   * @param origin pixel that the cells begin at
   * @param pixels number of pixels that all cells together are
   * @param start  the first cell that counts
   * @param cells  number of cells that count
   */
  set(from: number, to: number, origin: number, pixels: number, start: number, cells: number): void {
    const count = this.#begin(from, to);
    const { first, second, weight } = this;
    const scale = fround(cells / pixels);
    for (let at = 0; at < count; at++) {
      const place = Math.max(0, fround(fround(fround(from + at - origin + 0.5) * scale) - 0.5));
      const cell = Math.min(Math.floor(place), cells - 1);
      first[at] = start + cell;
      second[at] = start + (cell + 1 < cells ? cell + 1 : cell);
      weight[at] = place - cell;
    }
    this.begin = first[0]!;
    this.end = second[count - 1]! + 1;
  }

  /** As {@linkcode set}, but that each pixel is the cell that it begins in, as PyTorch's `nearest` has it. */
  setNearest(from: number, to: number, origin: number, pixels: number, start: number, cells: number): void {
    const count = this.#begin(from, to);
    const { first, second, weight } = this;
    const scale = fround(cells / pixels);
    for (let at = 0; at < count; at++) {
      const cell = start + Math.min(Math.max(0, Math.floor(fround((from + at - origin) * scale))), cells - 1);
      first[at] = cell;
      second[at] = cell;
      weight[at] = 0;
    }
    this.begin = first[0]!;
    this.end = second[count - 1]! + 1;
  }

  /** Make room, and note which pixels there are. @returns how many */
  #begin(from: number, to: number): number {
    const count = to - from;
    if (count > this.first.length) {
      this.first = new Int32Array(count);
      this.second = new Int32Array(count);
      this.weight = new Float32Array(count);
    }
    this.from = from;
    this.to = to;
    return count;
  }
}
