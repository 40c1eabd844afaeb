/** @module Conceal: what is seen in a rectangle of an image is blurred or pixelated in place, as in faces that nobody may know. */

/** Samples of one kind: red ones, or those of U; in the rows of an image, evenly apart. */
export interface Plane {
  readonly data: Uint8Array;
  /** Of the first sample. */
  readonly offset: number;
  /** Between two rows, and between two samples of a row, in bytes. */
  readonly pitchBytes: number;
  readonly step: number;
  /** How many pixels a sample serves in each direction. */
  readonly pixels: 1 | 2;
}

/** Whole pixels from [x1, y1) to [x2, y2), within the image. */
interface Area {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** How what lies below an area is hidden: by squares of one colour, or by the mean of what lies around each pixel. */
export type Concealment = "blur" | "pixelate";

/** Squares, or pixels to each side of a mean, in the shorter side of what is hidden: too few for anybody to tell a face. */
const SQUARES = 8;
const RADII = 6;
/** Means of means: what is left of a mean alone are its edges. */
const PASSES = 2;

/** Rows and columns that a mean is made of; it only grows. */
let line = new Uint8Array(0);

/** @param side of a square in samples; those at the right and at the foot may be smaller */
function pixelate({ data, offset, pitchBytes, step }: Plane, { x1, y1, x2, y2 }: Area, side: number): void {
  for (let top = y1; top < y2; top += side) {
    const foot = Math.min(top + side, y2);
    for (let left = x1; left < x2; left += side) {
      const right = Math.min(left + side, x2);
      let sum = 0;
      for (let y = top; y < foot; y++) {
        const row = offset + y * pitchBytes;
        for (let x = left; x < right; x++) sum += data[row + x * step]!;
      }
      const count = (foot - top) * (right - left);
      const mean = Math.floor((sum + (count >> 1)) / count);
      for (let y = top; y < foot; y++) {
        const row = offset + y * pitchBytes;
        for (let x = left; x < right; x++) data[row + x * step] = mean;
      }
    }
  }
}

/** The mean of the samples around each of a row or a column, as far as they are in it. */
function average(data: Uint8Array, from: number, step: number, length: number, radius: number): void {
  for (let at = 0; at < length; at++) line[at] = data[from + at * step]!;
  let sum = 0;
  let count = Math.min(radius, length);
  for (let at = 0; at < count; at++) sum += line[at]!;
  for (let at = 0; at < length; at++) {
    if (at + radius < length) {
      sum += line[at + radius]!;
      count += 1;
    }
    if (at > radius) {
      sum -= line[at - radius - 1]!;
      count -= 1;
    }
    data[from + at * step] = Math.floor((sum + (count >> 1)) / count);
  }
}

function blur({ data, offset, pitchBytes, step }: Plane, { x1, y1, x2, y2 }: Area, radius: number): void {
  const [width, height] = [x2 - x1, y2 - y1];
  if (line.length < Math.max(width, height)) line = new Uint8Array(Math.max(1024, width, height));
  const first = offset + y1 * pitchBytes + x1 * step;
  for (let pass = 0; pass < PASSES; pass++) {
    for (let row = 0; row < height; row++) average(data, first + row * pitchBytes, step, width, radius);
    for (let column = 0; column < width; column++) average(data, first + column * step, pitchBytes, height, radius);
  }
}

/**
 * Hide what lies below an area. A sample that serves pixels inside and outside is hidden, too.
 *
 * @param extent the shorter side of what is hidden in pixels, the part beyond the image included
 */
export function conceal(planes: readonly Plane[], area: Area, extent: number, by: Concealment): void {
  for (const plane of planes) {
    const { pixels } = plane;
    const samples = {
      x1: Math.floor(area.x1 / pixels),
      y1: Math.floor(area.y1 / pixels),
      x2: Math.ceil(area.x2 / pixels),
      y2: Math.ceil(area.y2 / pixels),
    };
    if (by === "pixelate") pixelate(plane, samples, Math.max(2, Math.ceil(extent / (SQUARES * pixels))));
    else blur(plane, samples, Math.max(1, Math.ceil(extent / (RADII * pixels))));
  }
}
