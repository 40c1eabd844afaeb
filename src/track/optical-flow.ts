/** @module OpticalFlow: corners of an image, and where each of them went in the next one, by Lucas and Kanade over a pyramid. */

import type { Image } from "../image/image.ts";
import type { GreyPyramid, Level } from "./grey-pyramid.ts";

/** Corners of a frame that are followed: with 300, 101 of 1,221 boxes of the reference have other ids. */
export const MOST_CORNERS = 400;
const QUALITY = 0.01;
/** Pixels to each side of a corner that are compared. */
const HALF = 10;
const SIDE = 2 * HALF + 1;
const AREA = SIDE * SIDE;
/** Derivatives are taken of one more to the right and below, to be interpolated. */
const WIDE = SIDE + 1;
/** Steps to a place, and the step that is none, in pixels. */
const MOST_STEPS = 30;
const SMALLEST_STEP = 0.01;
/** What each of the four pixels around a place counts is rounded to a part of this, as by OpenCV: so all sums are exact. */
const PARTS = 16_384;
/** Windows with less structure than this say nothing. */
const LEAST_EIGENVALUE = 1e-4;
const LEAST_DETERMINANT = 2 ** -23;
/** What products of Scharr's derivatives are too large by. */
const SCALE = 2 ** -20;

/** True for where a window may begin. */
function isInside(place: number, length: number): boolean {
  return place >= -SIDE && place < length;
}

/** Finds corners and follows them: in TypeScript, or in the shim, to the bit. */
export interface Flow {
  /** x and y in turns, of corners and of where they went. */
  readonly from: Float64Array;
  readonly to: Float64Array;
  /** How many corners there are, and pairs of both once they were followed. */
  readonly count: number;
  /** Make the grey copy of a frame. */
  load(pyramid: GreyPyramid, image: Image): void;
  /** Find the corners of an image, the strongest first. */
  find(pyramid: GreyPyramid): void;
  /** Follow the corners of an image into the next one; those that cannot be are left out. */
  follow(before: GreyPyramid, after: GreyPyramid): void;
}

/** The reference, with memory for images of one size. */
export class OpticalFlow implements Flow {
  readonly #width: number;
  readonly #height: number;
  readonly #across: Int32Array;
  readonly #down: Int32Array;
  readonly #strengths: Float32Array;
  /** Of a row and those beside it: products of derivatives, with one more to each side. */
  readonly #sums: readonly [Float64Array, Float64Array, Float64Array];
  readonly #corners: Int32Array;
  /** What a window shows, in parts of 32 of a level, and derivatives. */
  readonly #patch = new Int32Array(AREA);
  readonly #patchAcross = new Int32Array(AREA);
  readonly #patchDown = new Int32Array(AREA);
  /** Derivatives at pixels. */
  readonly #wideAcross = new Int32Array(WIDE * WIDE);
  readonly #wideDown = new Int32Array(WIDE * WIDE);
  /** What each of the four pixels around a place counts. */
  readonly #weights = new Int32Array(4);
  readonly from: Float64Array = new Float64Array(2 * MOST_CORNERS);
  readonly to: Float64Array = new Float64Array(2 * MOST_CORNERS);
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

  load(pyramid: GreyPyramid, image: Image): void {
    pyramid.load(image);
  }

  find({ levels }: GreyPyramid): void {
    const { pixels, pitch, origin } = levels[0]!;
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
        const strength = Math.fround((xx + yy) / 2 - Math.sqrt(half * half + xy * xy));
        strengths[here + x] = strength;
        if (strength > strongest) strongest = strength;
      }
    }
    this.#choose(Math.fround(QUALITY * strongest));
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
    this.#take(before, fromX - HALF, fromY - HALF);
    const across = this.#patchAcross;
    const down = this.#patchDown;
    const patch = this.#patch;
    const weights = this.#weights;
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
    const eigenvalue = (xx + yy - Math.sqrt((xx - yy) * (xx - yy) + 4 * xy * xy)) / (2 * AREA);
    if (!(eigenvalue >= LEAST_EIGENVALUE && determinant >= LEAST_DETERMINANT)) return false;
    const { pixels, pitch, origin, width, height } = after;
    let x = to[2 * index]! - HALF;
    let y = to[2 * index + 1]! - HALF;
    let lastX = 0;
    let lastY = 0;
    for (let step = 0; step < MOST_STEPS; step++) {
      if (!isInside(x, width) || !isInside(y, height)) return false;
      const wholeX = Math.floor(x);
      const wholeY = Math.floor(y);
      this.#weigh(x - wholeX, y - wholeY);
      const upperLeft = weights[0]!;
      const upperRight = weights[1]!;
      const lowerLeft = weights[2]!;
      const lowerRight = weights[3]!;
      let sumX = 0;
      let sumY = 0;
      for (let row = 0, at = 0; row < SIDE; row++) {
        let place = origin + (wholeY + row) * pitch + wholeX;
        // Of a row, in 32 bits.
        let rowX = 0;
        let rowY = 0;
        for (let column = 0; column < SIDE; column++, at++, place++) {
          const upper = Math.imul(pixels[place]!, upperLeft) + Math.imul(pixels[place + 1]!, upperRight);
          const lower =
            Math.imul(pixels[place + pitch]!, lowerLeft) + Math.imul(pixels[place + pitch + 1]!, lowerRight);
          const off = ((upper + lower + 256) >> 9) - patch[at]!;
          rowX = (rowX + Math.imul(off, across[at]!)) | 0;
          rowY = (rowY + Math.imul(off, down[at]!)) | 0;
        }
        sumX += rowX;
        sumY += rowY;
      }
      sumX *= SCALE;
      sumY *= SCALE;
      const deltaX = (xy * sumY - yy * sumX) / determinant;
      const deltaY = (xy * sumX - xx * sumY) / determinant;
      x += deltaX;
      y += deltaY;
      if (deltaX * deltaX + deltaY * deltaY <= SMALLEST_STEP * SMALLEST_STEP) break;
      // It goes to and fro.
      if (step > 0 && Math.abs(deltaX + lastX) < SMALLEST_STEP && Math.abs(deltaY + lastY) < SMALLEST_STEP) {
        x -= deltaX / 2;
        y -= deltaY / 2;
        break;
      }
      lastX = deltaX;
      lastY = deltaY;
    }
    to[2 * index] = x + HALF;
    to[2 * index + 1] = y + HALF;
    return isInside(x + 0.5, width) && isInside(y + 0.5, height);
  }

  /** What each of the four pixels around a place counts. */
  #weigh(right: number, lower: number): void {
    const weights = this.#weights;
    weights[0] = (1 - right) * (1 - lower) * PARTS + 0.5;
    weights[1] = right * (1 - lower) * PARTS + 0.5;
    weights[2] = (1 - right) * lower * PARTS + 0.5;
    weights[3] = PARTS - weights[0]! - weights[1]! - weights[2]!;
  }

  /** Take the window around a corner, and its derivatives by Scharr. */
  #take(level: Level, left: number, top: number): void {
    const { pixels, pitch, origin } = level;
    const wholeX = Math.floor(left);
    const wholeY = Math.floor(top);
    this.#derive(level, wholeX, wholeY);
    this.#weigh(left - wholeX, top - wholeY);
    const weights = this.#weights;
    const upperLeft = weights[0]!;
    const upperRight = weights[1]!;
    const lowerLeft = weights[2]!;
    const lowerRight = weights[3]!;
    const wideAcross = this.#wideAcross;
    const wideDown = this.#wideDown;
    const patch = this.#patch;
    const across = this.#patchAcross;
    const down = this.#patchDown;
    for (let row = 0, at = 0; row < SIDE; row++) {
      let place = origin + (wholeY + row) * pitch + wholeX;
      let wide = row * WIDE;
      for (let column = 0; column < SIDE; column++, at++, place++, wide++) {
        const upper = Math.imul(pixels[place]!, upperLeft) + Math.imul(pixels[place + 1]!, upperRight);
        const lower = Math.imul(pixels[place + pitch]!, lowerLeft) + Math.imul(pixels[place + pitch + 1]!, lowerRight);
        patch[at] = (upper + lower + 256) >> 9;
        const under = wide + WIDE;
        const upperX = Math.imul(wideAcross[wide]!, upperLeft) + Math.imul(wideAcross[wide + 1]!, upperRight);
        const lowerX = Math.imul(wideAcross[under]!, lowerLeft) + Math.imul(wideAcross[under + 1]!, lowerRight);
        across[at] = (upperX + lowerX + PARTS / 2) >> 14;
        const upperY = Math.imul(wideDown[wide]!, upperLeft) + Math.imul(wideDown[wide + 1]!, upperRight);
        const lowerY = Math.imul(wideDown[under]!, lowerLeft) + Math.imul(wideDown[under + 1]!, lowerRight);
        down[at] = (upperY + lowerY + PARTS / 2) >> 14;
      }
    }
  }

  /** Derivatives at the pixels of a window, and at those of one more row and column; beyond the edge they are 0. */
  #derive({ pixels, pitch, origin, width, height }: Level, left: number, top: number): void {
    const across = this.#wideAcross;
    const down = this.#wideDown;
    for (let row = 0, at = 0; row < WIDE; row++) {
      const y = top + row;
      let place = origin + y * pitch + left;
      for (let column = 0; column < WIDE; column++, at++, place++) {
        const x = left + column;
        if (x < 0 || x >= width || y < 0 || y >= height) {
          across[at] = 0;
          down[at] = 0;
          continue;
        }
        const above = place - pitch;
        const below = place + pitch;
        const falling = pixels[below + 1]! - pixels[above - 1]!;
        const rising = pixels[above + 1]! - pixels[below - 1]!;
        across[at] = 3 * (falling + rising) + 10 * (pixels[place + 1]! - pixels[place - 1]!);
        down[at] = 3 * (falling - rising) + 10 * (pixels[below]! - pixels[above]!);
      }
    }
  }
}
