/** @module MapAxis: maps of classes and of depth at the size of the part of an image that a model saw, as PyTorch's `interpolate` does it. */

import type { Region } from "../../image/geometry.ts";

/** How the pixels between those of a map are made; `corners`: bilinear between the centres of its outermost pixels. */
export type MapFilter = "bilinear" | "bicubic" | "corners";

/** One axis of a map: which of its pixels each pixel of the image is made of. */
interface MapTaps {
  /** Taps of a pixel. */
  readonly count: 2 | 4;
  /** i32 [length, count]: places on the axis of the map. */
  readonly index: Int32Array<ArrayBuffer>;
  /** f32 [length, count]: those of a pixel come to 1. */
  readonly weight: Float32Array<ArrayBuffer>;
}

/** One axis of a map, and the part of it that shows the image. In pixels of the map. */
interface MapAxis {
  readonly start: number;
  readonly length: number;
  /** First and last pixel that shows some of it. */
  readonly low: number;
  readonly high: number;
  /** Pixels that the part becomes. */
  readonly target: number;
}

/** The axes of a map of a region's input, which may have fewer pixels than the input. */
export function mapAxes(region: Region, width: number, height: number): readonly [columns: MapAxis, rows: MapAxis] {
  const { contentWidth, contentHeight, padX, padY, inputWidth, inputHeight } = region;
  return [
    mapAxis(width / inputWidth, padX, contentWidth, width, region.width),
    mapAxis(height / inputHeight, padY, contentHeight, height, region.height),
  ];
}

function mapAxis(scale: number, pad: number, content: number, side: number, target: number): MapAxis {
  const start = pad * scale;
  const length = content * scale;
  const high = Math.min(side, Math.ceil(start + length)) - 1;
  return { start, length, low: Math.min(Math.floor(start), high), high, target };
}

/** The pixel of the map for each pixel of the image, as `mode="nearest"` has it. @returns i32 [target] */
export function nearestTaps({ start, length, low, high, target }: MapAxis): Int32Array<ArrayBuffer> {
  const ratio = Math.fround(length / target);
  return Int32Array.from({ length: target }, (_, d) =>
    Math.min(Math.max(Math.floor(start + Math.fround(d * ratio)), low), high),
  );
}

/** PyTorch's bicubic: the cubic of Keys with a = -0.75. */
const SHARPNESS = -0.75;

function cubicWeight(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return ((SHARPNESS + 2) * x - (SHARPNESS + 3)) * x * x + 1;
  return ((SHARPNESS * x - 5 * SHARPNESS) * x + 8 * SHARPNESS) * x - 4 * SHARPNESS;
}

/**
 * The taps of an axis, without antialias.
 *
 * @param from first pixel that is wanted
 * @param to   pixel behind the last
 */
export function mapTaps(
  { start, length, low, high, target }: MapAxis,
  filter: MapFilter,
  from = 0,
  to: number = target,
): MapTaps {
  const count = filter === "bicubic" ? 4 : 2;
  const index = new Int32Array(new ArrayBuffer((to - from) * count * 4));
  const weight = new Float32Array(new ArrayBuffer((to - from) * count * 4));
  const ratio = filter === "corners" ? (target > 1 ? (length - 1) / (target - 1) : 0) : length / target;
  for (let d = from, at = 0; d < to; d++) {
    const free = filter === "corners" ? start + d * ratio : start + (d + 0.5) * ratio - 0.5;
    const position = filter === "bicubic" ? free : Math.max(free, low);
    const near = Math.floor(position);
    const part = position - near;
    for (let tap = 0; tap < count; tap++, at++) {
      const offset = count === 4 ? tap - 1 : tap;
      index[at] = Math.min(Math.max(near + offset, low), high);
      weight[at] = count === 4 ? cubicWeight(part - offset) : tap === 0 ? 1 - part : part;
    }
  }
  return { count, index, weight };
}

/** Values of a map of floats. */
export type MapValues = Float32Array | Float16Array;

/** A row of a plane between its rows. @param target f32, written from `to` on */
function blendRow(
  values: MapValues,
  plane: number,
  width: number,
  { count, index, weight }: MapTaps,
  row: number,
  target: Float32Array,
  to: number,
): void {
  for (let tap = 0; tap < count; tap++) {
    const from = plane + index[row * count + tap]! * width;
    const share = weight[row * count + tap]!;
    if (tap === 0) for (let x = 0; x < width; x++) target[to + x] = values[from + x]! * share;
    else for (let x = 0; x < width; x++) target[to + x]! += values[from + x]! * share;
  }
}

/** A map that is resized, in rows. Its buffers are used again. */
export class MapResizer {
  #row = new Float32Array(0);
  #best = new Int32Array(0);
  #most = new Float32Array(0);
  #rival = new Int32Array(0);

  /**
   * Resize a map of one value a pixel.
   *
   * @param values [height, width], from `plane` on
   * @param target f32 [rows, columns] as the taps have them, written
   */
  resize(values: MapValues, plane: number, width: number, columns: MapTaps, rows: MapTaps, target: Float32Array): void {
    if (this.#row.length < width) this.#row = new Float32Array(width);
    const line = this.#row;
    const { count, index, weight } = columns;
    const length = index.length / count;
    for (let row = 0, to = 0; row * length < target.length; row++) {
      blendRow(values, plane, width, rows, row, line, 0);
      for (let x = 0, at = 0; x < length; x++, to++) {
        let sum = 0;
        for (const end = at + count; at < end; at++) sum += line[index[at]!]! * weight[at]!;
        target[to] = sum;
      }
    }
  }

  /**
   * The best class of each pixel of a row, its logits being interpolated: of equal ones the first; of a single one 1 where its
   * logit is above 0, else 0. Between two pixels of the map that have the same best class there is no other.
   *
   * @param values  logits [classes, height, width], from `start` on
   * @param columns of two taps, as `rows`
   * @param target  [columns], written
   */
  bestOfRow(
    values: MapValues,
    start: number,
    [classes, height, width]: readonly [classes: number, height: number, width: number],
    columns: MapTaps,
    rows: MapTaps,
    row: number,
    target: Uint8Array | Uint16Array,
  ): void {
    if (this.#row.length < classes * width) this.#row = new Float32Array(classes * width);
    if (this.#best.length < width) this.#best = new Int32Array(width);
    const line = this.#row;
    const best = this.#best.fill(0);
    if (this.#most.length < width) this.#most = new Float32Array(width);
    const most = this.#most.fill(Number.NEGATIVE_INFINITY);
    for (let id = 0; id < classes; id++) {
      const own = id * width;
      blendRow(values, start + id * height * width, width, rows, row, line, own);
      for (let x = 0; x < width; x++) {
        const value = line[own + x]!;
        if (!(value > most[x]!)) continue;
        most[x] = value;
        best[x] = id;
      }
    }
    const { index, weight } = columns;
    if (classes === 1) {
      for (let x = 0, at = 0; x < target.length; x++, at += 2) {
        target[x] = line[index[at]!]! * weight[at]! + line[index[at + 1]!]! * weight[at + 1]! > 0 ? 1 : 0;
      }
      return;
    }
    let [left, right, count] = [-1, -1, 0];
    for (let x = 0; x < target.length; x++) {
      const near = index[x * 2]!;
      const far = index[x * 2 + 1]!;
      let found = best[near]!;
      if (found !== best[far]!) {
        if (near !== left || far !== right) count = this.#rivals(classes, width, near, far);
        left = near;
        right = far;
        const [a, b] = [weight[x * 2]!, weight[x * 2 + 1]!];
        let highest = Number.NEGATIVE_INFINITY;
        for (let at = 0; at < count; at++) {
          const id = this.#rival[at]!;
          const value = Math.fround(line[id * width + near]! * a + line[id * width + far]! * b);
          if (value > highest) {
            highest = value;
            found = id;
          }
        }
      }
      target[x] = found;
    }
  }

  /** The classes that may be the best between two pixels of the row: those that another is above at both are not. @returns how many */
  #rivals(classes: number, width: number, near: number, far: number): number {
    const line = this.#row;
    if (this.#rival.length < classes) this.#rival = new Int32Array(classes);
    let least = Number.NEGATIVE_INFINITY;
    for (let at = 0; at < classes * width; at += width) {
      least = Math.max(least, Math.min(line[at + near]!, line[at + far]!));
    }
    let count = 0;
    for (let id = 0, at = 0; id < classes; id++, at += width) {
      if (Math.max(line[at + near]!, line[at + far]!) >= least) this.#rival[count++] = id;
    }
    return count;
  }
}
