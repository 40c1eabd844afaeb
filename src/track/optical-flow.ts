/** @module OpticalFlow: corners of an image, and where each of them went in the next one, by Lucas and Kanade over a pyramid. */

import type { GreyPyramid, Level } from "./grey-pyramid.ts";

/** Corners that are followed, and the lowest strength of one as a part of the strongest. */
const MOST_CORNERS = 400;
const QUALITY = 0.01;
/** Pixels to each side of a corner that are compared. */
const HALF = 10;
const SIDE = 2 * HALF + 1;
const AREA = SIDE * SIDE;
/** Steps to a place, and the step that is none, in pixels. */
const MOST_STEPS = 30;
const SMALLEST_STEP = 0.01;
/** Windows with less structure than this say nothing. */
const LEAST_EIGENVALUE = 1e-4;
const LEAST_DETERMINANT = 2 ** -23;
/** What products of Scharr's derivatives are too large by; least values are given for products that are too small by as much. */
const SCALE = 1 / 1024;

/** Memory for images of one size. */
export class OpticalFlow {
  readonly #width: number;
  readonly #height: number;
  readonly #across: Int32Array;
  readonly #down: Int32Array;
  readonly #strengths: Float32Array;
  /** Of a row and those beside it: products of derivatives, with one more to each side. */
  readonly #sums: readonly [Float64Array, Float64Array, Float64Array];
  readonly #corners: Int32Array;
  readonly #patch = new Float64Array(AREA);
  readonly #patchAcross = new Float64Array(AREA);
  readonly #patchDown = new Float64Array(AREA);
  /** A window with one pixel more to each side, for its derivatives. */
  readonly #wide = new Float64Array((SIDE + 3) * (SIDE + 3));
  /** x and y in turns, of corners and of where they went. */
  readonly from: Float64Array = new Float64Array(2 * MOST_CORNERS);
  readonly to: Float64Array = new Float64Array(2 * MOST_CORNERS);
  /** How many corners there are, and pairs of both once they were followed. */
  count = 0;

  constructor({ width, height }: Level) {
    this.#width = width;
    this.#height = height;
    this.#across = new Int32Array(width * height);
    this.#down = new Int32Array(width * height);
    this.#strengths = new Float32Array(width * height);
    this.#sums = [new Float64Array(width + 2), new Float64Array(width + 2), new Float64Array(width + 2)];
    this.#corners = new Int32Array(width * height);
  }

  /** Find the corners of an image, the strongest first. */
  find({ pixels, pitch, origin }: Level): void {
    const width = this.#width;
    const height = this.#height;
    const across = this.#across;
    const down = this.#down;
    const strengths = this.#strengths;
    for (let y = 0; y < height; y++) {
      let at = origin + y * pitch;
      let on = y * width;
      for (let x = 0; x < width; x++, at++, on++) {
        const a = pixels[at - pitch - 1]!;
        const b = pixels[at - pitch + 1]!;
        const c = pixels[at + pitch - 1]!;
        const d = pixels[at + pitch + 1]!;
        across[on] = b - a + 2 * (pixels[at + 1]! - pixels[at - 1]!) + d - c;
        down[on] = c - a + 2 * (pixels[at + pitch]! - pixels[at - pitch]!) + d - b;
      }
    }
    let strongest = 0;
    const [sumsXx, sumsXy, sumsYy] = this.#sums;
    for (let y = 0; y < height; y++) {
      // Beyond the edge derivatives are mirrored.
      const above = (y === 0 ? 1 : y - 1) * width;
      const here = y * width;
      const below = (y === height - 1 ? height - 2 : y + 1) * width;
      for (let x = 0; x < width; x++) {
        const ax = across[above + x]!;
        const ay = down[above + x]!;
        const hx = across[here + x]!;
        const hy = down[here + x]!;
        const bx = across[below + x]!;
        const by = down[below + x]!;
        sumsXx[x + 1] = ax * ax + hx * hx + bx * bx;
        sumsXy[x + 1] = ax * ay + hx * hy + bx * by;
        sumsYy[x + 1] = ay * ay + hy * hy + by * by;
      }
      for (const sums of this.#sums) {
        sums[0] = sums[2]!;
        sums[width + 1] = sums[width - 1]!;
      }
      for (let x = 0; x < width; x++) {
        const xx = sumsXx[x]! + sumsXx[x + 1]! + sumsXx[x + 2]!;
        const xy = sumsXy[x]! + sumsXy[x + 1]! + sumsXy[x + 2]!;
        const yy = sumsYy[x]! + sumsYy[x + 1]! + sumsYy[x + 2]!;
        const half = (xx - yy) / 2;
        const strength = (xx + yy) / 2 - Math.sqrt(half * half + xy * xy);
        strengths[here + x] = strength;
        if (strength > strongest) strongest = strength;
      }
    }
    this.#choose(QUALITY * strongest);
  }

  /** Keep the strongest of those that none beside them is stronger than. */
  #choose(least: number): void {
    const width = this.#width;
    const strengths = this.#strengths;
    const corners = this.#corners;
    let count = 0;
    for (let y = 1; y < this.#height - 1; y++) {
      for (let x = 1; x < width - 1; x++) {
        const at = y * width + x;
        const strength = strengths[at]!;
        if (strength <= least) continue;
        if (
          strength >= strengths[at - 1]! &&
          strength >= strengths[at + 1]! &&
          strength >= strengths[at - width]! &&
          strength >= strengths[at + width]! &&
          strength >= strengths[at - width - 1]! &&
          strength >= strengths[at - width + 1]! &&
          strength >= strengths[at + width - 1]! &&
          strength >= strengths[at + width + 1]!
        )
          corners[count++] = at;
      }
    }
    corners.subarray(0, count).sort((a, b) => strengths[b]! - strengths[a]! || b - a);
    this.count = Math.min(count, MOST_CORNERS);
    for (let index = 0; index < this.count; index++) {
      this.from[2 * index] = corners[index]! % width;
      this.from[2 * index + 1] = Math.floor(corners[index]! / width);
    }
  }

  /** Follow the corners of an image into the next one; those that cannot be are left out. */
  follow({ levels: before }: GreyPyramid, { levels: after }: GreyPyramid): void {
    const { from, to } = this;
    let kept = 0;
    for (let index = 0; index < this.count; index++) {
      const x = from[2 * index]!;
      const y = from[2 * index + 1]!;
      const scale = 2 ** (before.length - 1);
      to[2 * kept] = x / scale;
      to[2 * kept + 1] = y / scale;
      let isFound = true;
      for (let level = before.length - 1; level >= 0; level--) {
        const size = 2 ** level;
        isFound = this.#step(before[level]!, after[level]!, x / size, y / size, kept);
        if (level === 0) break;
        to[2 * kept]! *= 2;
        to[2 * kept + 1]! *= 2;
      }
      if (!isFound) continue;
      from[2 * kept] = x;
      from[2 * kept + 1] = y;
      kept += 1;
    }
    this.count = kept;
  }

  /** Go on from where a corner was thought to be to where it is, on one level. @returns false where it cannot be told */
  #step(before: Level, after: Level, fromX: number, fromY: number, index: number): boolean {
    const { to } = this;
    const left = fromX - HALF;
    const top = fromY - HALF;
    this.#take(before, left, top);
    const across = this.#patchAcross;
    const down = this.#patchDown;
    const patch = this.#patch;
    let xx = 0;
    let xy = 0;
    let yy = 0;
    for (let at = 0; at < AREA; at++) {
      const dx = across[at]!;
      const dy = down[at]!;
      xx += dx * dx;
      xy += dx * dy;
      yy += dy * dy;
    }
    xx *= SCALE;
    xy *= SCALE;
    yy *= SCALE;
    const determinant = xx * yy - xy * xy;
    const eigenvalue = (xx + yy - Math.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / (2 * AREA);
    if (eigenvalue * SCALE < LEAST_EIGENVALUE || determinant * SCALE * SCALE < LEAST_DETERMINANT) return false;
    const { pixels, pitch, origin, width, height } = after;
    let x = to[2 * index]! - HALF;
    let y = to[2 * index + 1]! - HALF;
    let lastX = 0;
    let lastY = 0;
    for (let step = 0; step < MOST_STEPS; step++) {
      const wholeX = Math.floor(x);
      const wholeY = Math.floor(y);
      if (wholeX < -SIDE || wholeX >= width || wholeY < -SIDE || wholeY >= height) return false;
      const partX = x - wholeX;
      const partY = y - wholeY;
      let sumX = 0;
      let sumY = 0;
      for (let row = 0, at = 0; row < SIDE; row++) {
        let place = origin + (wholeY + row) * pitch + wholeX;
        let here = pixels[place]! + partY * (pixels[place + pitch]! - pixels[place]!);
        for (let column = 0; column < SIDE; column++, at++) {
          place += 1;
          const upper = pixels[place]!;
          const next = upper + partY * (pixels[place + pitch]! - upper);
          const off = here + partX * (next - here) - patch[at]!;
          sumX += off * across[at]!;
          sumY += off * down[at]!;
          here = next;
        }
      }
      // Derivatives are 32 times too large, and are squared on the other side.
      sumX /= 32;
      sumY /= 32;
      const deltaX = (xy * sumY - yy * sumX) / determinant;
      const deltaY = (xy * sumX - xx * sumY) / determinant;
      x += deltaX;
      y += deltaY;
      if (deltaX * deltaX + deltaY * deltaY <= SMALLEST_STEP * SMALLEST_STEP) break;
      // It goes to and fro.
      if (step > 0 && Math.abs(deltaX + lastX) < 0.01 && Math.abs(deltaY + lastY) < 0.01) {
        x -= deltaX / 2;
        y -= deltaY / 2;
        break;
      }
      lastX = deltaX;
      lastY = deltaY;
    }
    to[2 * index] = x + HALF;
    to[2 * index + 1] = y + HALF;
    return true;
  }

  /** Take the window around a corner, and its derivatives by Scharr, which beyond the edge are 0. */
  #take({ pixels, pitch, origin, width, height }: Level, left: number, top: number): void {
    const wholeX = Math.floor(left);
    const wholeY = Math.floor(top);
    const partX = left - wholeX;
    const partY = top - wholeY;
    const wide = this.#wide;
    const side = SIDE + 2;
    // Interpolating and deriving can be done in either order: both are sums.
    for (let row = 0; row < side; row++) {
      let place = origin + (wholeY + row - 1) * pitch + wholeX - 1;
      let here = pixels[place]! + partY * (pixels[place + pitch]! - pixels[place]!);
      for (let column = 0; column < side; column++) {
        place += 1;
        const upper = pixels[place]!;
        const next = upper + partY * (pixels[place + pitch]! - upper);
        wide[row * side + column] = here + partX * (next - here);
        here = next;
      }
    }
    const patch = this.#patch;
    const across = this.#patchAcross;
    const down = this.#patchDown;
    for (let row = 0, at = 0; row < SIDE; row++) {
      // Of three rows: what each column adds to the derivatives of those beside it, weighed and as a difference.
      let on = row * side;
      let weighed = 3 * (wide[on]! + wide[on + 2 * side]!) + 10 * wide[on + side]!;
      let fall = wide[on + 2 * side]! - wide[on]!;
      on += 1;
      let nextWeighed = 3 * (wide[on]! + wide[on + 2 * side]!) + 10 * wide[on + side]!;
      let nextFall = wide[on + 2 * side]! - wide[on]!;
      for (let column = 0; column < SIDE; column++, at++) {
        patch[at] = wide[on + side]!;
        on += 1;
        const upper = wide[on]!;
        const lower = wide[on + 2 * side]!;
        const lastWeighed = 3 * (upper + lower) + 10 * wide[on + side]!;
        const lastFall = lower - upper;
        across[at] = lastWeighed - weighed;
        down[at] = 3 * (fall + lastFall) + 10 * nextFall;
        weighed = nextWeighed;
        nextWeighed = lastWeighed;
        fall = nextFall;
        nextFall = lastFall;
      }
    }
    const isWhole = wholeX >= 0 && wholeY >= 0 && wholeX + SIDE <= width && wholeY + SIDE <= height;
    if (isWhole) return;
    for (let row = 0, at = 0; row < SIDE; row++) {
      for (let column = 0; column < SIDE; column++, at++) {
        const [x, y] = [wholeX + column, wholeY + row];
        if (x >= 0 && x < width && y >= 0 && y < height) continue;
        across[at] = 0;
        down[at] = 0;
      }
    }
  }
}
