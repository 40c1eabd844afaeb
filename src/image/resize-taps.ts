/** @module Resize taps: which source pixels each resized pixel is made of, and with which weights, along one axis. */

import { type Edge, type Region, roundHalfEven, sourceIndex } from "./geometry.ts";

/** Bits of a weight: 2048 is the whole. OpenCV's 8-bit INTER_LINEAR has as many. */
export const WEIGHT_BITS = 11;

/** Which axis taps are for: the border is treated differently, as OpenCV does. */
type Axis = "columns" | "rows";

/** One axis of a region: what is resized to what, and which part of it is wanted. In pixels of the rectangle. */
export interface RegionAxis {
  /** Length of the rectangle, at least 1. */
  readonly source: number;
  /** Length of the resized rectangle, at least 1. */
  readonly target: number;
  /** Resized pixels that are wanted, up to before `to`. */
  readonly from: number;
  readonly to: number;
  /** Source pixels that there are, up to before `high`: those of the rectangle that lie in the image. */
  readonly low: number;
  readonly high: number;
}

/** The axes of a region. */
export function regionAxes(region: Region): readonly [columns: RegionAxis, rows: RegionAxis] {
  const { x, y, width, height, left, top, right, bottom, padX, padY, contentWidth, contentHeight } = region;
  return [
    axisOf(width, contentWidth, left - padX, right - padX, x, region.sourceWidth),
    axisOf(height, contentHeight, top - padY, bottom - padY, y, region.sourceHeight),
  ];
}

function axisOf(source: number, target: number, from: number, to: number, start: number, image: number): RegionAxis {
  return { source, target, from, to, low: Math.max(0, -start), high: Math.min(source, image - start) };
}

/**
 * The taps of one axis of a bilinear resize with half-pixel centres, exactly as OpenCV's 8-bit INTER_LINEAR has them.
 *
 * Pixel `d` of `target` lies at (d + 0.5) × scale − 0.5 in the source, computed in f64 and rounded to f32; scale is
 * 1 / (target / source). `near` is that rounded down, `far` the next pixel, and `weight` the fraction that remains, in
 * f32, × 2048, halves to even. Taps outside what there is of the source are moved to its border; columns then have the
 * weight 0, rows keep theirs, which changes how they round.
 *
 * @param axis  which rows or columns
 * @param step  what the indices are multiplied by: bytes of a pixel for columns, 1 for rows
 * @returns i32 [to − from, 3]: near × step, far × step, weight of far (0–2048; near has the rest)
 * @see https://docs.opencv.org/5.x/da/d54/group__imgproc__transform.html (INTER_LINEAR)
 */
export function bilinearTaps(
  { source, target, from, to, low, high }: RegionAxis,
  axis: Axis,
  step: number,
): Int32Array<ArrayBuffer> {
  const taps = new Int32Array(new ArrayBuffer((to - from) * 12));
  const last = high - 1;
  const scale = 1 / (target / source);
  for (let d = from, at = 0; d < to; d++, at += 3) {
    const position = Math.fround((d + 0.5) * scale - 0.5);
    const below = Math.floor(position);
    const weight = roundHalfEven(Math.fround(position - below) * (1 << WEIGHT_BITS));
    const isOutside = below < low || below >= last;
    taps[at] = Math.min(Math.max(below, low), last) * step;
    taps[at + 1] = Math.min(Math.max(below + 1, low), last) * step;
    taps[at + 2] = isOutside && axis === "columns" ? 0 : weight;
    if (isOutside && axis === "columns") taps[at + 1] = taps[at]!;
  }
  return taps;
}

/**
 * The taps of one axis of a tile whose image goes on beyond its edges, in the form of {@linkcode bilinearTaps}.
 *
 * @param start  first pixel of the tile
 * @param length of the tile in pixels
 * @param source length of the image in pixels
 * @param step   what the indices are multiplied by; they count from the tile's first pixel, and may be negative
 */
export function tileTaps(
  start: number,
  length: number,
  source: number,
  edge: Exclude<Edge, "pad">,
  step: number,
): Int32Array<ArrayBuffer> {
  const taps = new Int32Array(new ArrayBuffer(length * 12));
  for (let d = 0, at = 0; d < length; d++, at += 3) {
    taps[at] = (sourceIndex(start + d, source, edge) - start) * step;
    taps[at + 1] = taps[at]!;
  }
  return taps;
}

/** The taps of both axes of a region. @param step bytes of a pixel */
export function bilinearRegionTaps(
  region: Region,
  step: number,
): readonly [columns: Int32Array<ArrayBuffer>, rows: Int32Array<ArrayBuffer>] {
  const { edge, x, y, width, height, sourceWidth, sourceHeight } = region;
  if (edge !== "pad") return [tileTaps(x, width, sourceWidth, edge, step), tileTaps(y, height, sourceHeight, edge, 1)];
  const [across, down] = regionAxes(region);
  return [bilinearTaps(across, "columns", step), bilinearTaps(down, "rows", 1)];
}

/** The weight of a pixel that lies half-way between two others. */
export const HALF_WEIGHT: number = 1 << (WEIGHT_BITS - 1);

/**
 * True if every resized pixel lies half-way between two source pixels: even whole ratios, such as 1280 to 640.
 *
 * @param taps what {@linkcode bilinearTaps} returned
 */
export function isHalfSampling(taps: Int32Array): boolean {
  for (let at = 2; at < taps.length; at += 3) {
    if (taps[at] !== HALF_WEIGHT) return false;
  }
  return true;
}

/**
 * True if every resized pixel is a source pixel: equal lengths and odd whole ratios.
 *
 * @param taps what {@linkcode bilinearTaps} or {@linkcode tileTaps} returned
 */
export function isUnweighted(taps: Int32Array): boolean {
  for (let at = 2; at < taps.length; at += 3) {
    if (taps[at] !== 0) return false;
  }
  return true;
}

/**
 * How far the source pixels lie apart where every resized pixel lies on one, so that there is nothing to interpolate:
 * equal lengths and odd whole ratios, such as 1920 to 640. `undefined` where that is not so, or the distance varies.
 *
 * @param taps what {@linkcode bilinearTaps} returned
 * @returns in the unit of the taps; 0 where there is but one
 */
export function pointStride(taps: Int32Array): number | undefined {
  const stride = taps.length > 3 ? taps[3]! - taps[0]! : 0;
  for (let at = 0, near = taps[0]; at < taps.length; at += 3, near! += stride) {
    if (taps[at + 2] !== 0 || taps[at] !== near) return undefined;
  }
  return stride;
}

/** Rows of a plane in runs: `count` runs of `length` rows, whose starts lie `stride` rows apart, from row `first` on. */
export interface RowRuns {
  readonly first: number;
  readonly length: number;
  readonly stride: number;
  readonly count: number;
}

/** Which rows of an image a resize reads. */
export interface RowsRead {
  /** Of its pixels, or of Y. */
  readonly pixels: RowRuns;
  /** Of U, V, where the image is NV12; all of them where the rows that are read do not lie in even runs. */
  readonly chroma: RowRuns;
}

/** Copying rows apart from each other pays where at most this share of them is read. */
const WORTH_SHARE = 0.75;

/** Rows, ascending and each once, as runs of one length and distance; `undefined` where they are not, or are nearly all of them. */
function runsOf(rows: readonly number[], height: number): RowRuns | undefined {
  const first = rows[0]!;
  let length = 1;
  while (rows[length] === first + length) length++;
  const count = rows.length / length;
  const stride = count > 1 ? rows[length]! - first : length;
  if (rows.length > height * WORTH_SHARE) return undefined;
  for (const [at, row] of rows.entries()) {
    if (row !== first + Math.floor(at / length) * stride + (at % length)) return undefined;
  }
  return Number.isInteger(count) ? { first, length, stride, count } : undefined;
}

/**
 * Which rows of an image a bilinear resize of a region reads, as {@linkcode bilinearTaps} has it: 1920x1080 at 640x360 every third
 * one, 3840x2160 two of six. `undefined` where that is most of them, or they do not lie in even runs, as at most ratios that are no
 * whole numbers.
 *
 * Of samples of 16 bits as many are read, though their weights are not rounded: where rows lie in even runs none has a weight that
 * 11 bits would round to 0.
 *
 * @param region in pixels of the image that is resized; its edge is `pad`
 */
export function rowsRead(region: Region): RowsRead | undefined {
  const [, axis] = regionAxes(region);
  const height = region.sourceHeight;
  // Whoever reads the other rows of a tile is not asked, and an input without any of the image reads none.
  if (region.edge !== "pad" || axis.to <= axis.from) return undefined;
  const taps = bilinearTaps(axis, "rows", 1);
  const read = new Set<number>();
  for (let at = 0; at < taps.length; at += 3) {
    read.add(region.y + taps[at]!);
    if (taps[at + 2] !== 0) read.add(region.y + taps[at + 1]!);
  }
  const rows = [...read].sort((a, b) => a - b);
  const pixels = runsOf(rows, height);
  if (pixels === undefined) return undefined;
  const chromaHeight = (height + 1) >> 1;
  const chroma = runsOf([...new Set(rows.map((row) => row >> 1))], chromaHeight);
  return { pixels, chroma: chroma ?? { first: 0, length: chromaHeight, stride: chromaHeight, count: 1 } };
}

/** Bits of a weight of {@linkcode antialiasTaps}: 4,194,304 is the whole. Pillow's resize of 8-bit images has as many. */
export const FILTER_BITS = 22;

/** The taps of one axis of a resize by a filter: the same number for every resized pixel, some of weight 0. */
export interface AntialiasTaps {
  /** i32 [to − from]: the first source pixel; never less than that of the resized pixel before. */
  readonly first: Int32Array<ArrayBuffer>;
  /** Taps of a resized pixel, at neighbouring source pixels; none lies outside the source. */
  readonly count: number;
  /** i32 [to − from, count]: a weight for each tap; those of a resized pixel come to the whole, give or take half a tap each. */
  readonly weights: Int32Array<ArrayBuffer>;
}

/**
 * The taps of one axis of a bilinear resize with antialias, as Pillow's BILINEAR has them: a triangle filter that reaches
 * one source pixel to each side where the axis grows, and further by the ratio where it shrinks: every pixel counts.
 *
 * Resized pixel `d` has its centre at (d + 0.5) × source / target, source pixel `x` at x + 0.5. A weight is 1 less the
 * distance of the two over the filter's reach, over the sum of a resized pixel's weights, × 2 ** 22, rounded. Times
 * 2 × target × reach, all of this is in whole numbers, and exact, on the GPU as well.
 *
 * Only what there is of the source counts.
 *
 * @see https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters (BILINEAR)
 */
export function antialiasTaps({ source, target, from, to, low, high }: RegionAxis): AntialiasTaps {
  const reach = 2 * Math.max(source, target);
  const share = (x: number, centre: number): number => Math.max(reach - Math.abs((2 * x + 1) * target - centre), 0);
  const length = to - from;
  const first = new Int32Array(new ArrayBuffer(length * 4));
  let count = 1;
  for (let at = 0; at < length; at++) {
    const centre = (2 * (from + at) + 1) * source;
    // The open interval that the filter covers holds the pixels from `first` to below `end`, in source pixels.
    first[at] = Math.max(Math.floor((centre - reach + target) / (2 * target)), low);
    const end = Math.min(Math.ceil((centre + reach - target) / (2 * target)), high);
    count = Math.max(count, end - first[at]!);
  }
  const weights = new Int32Array(new ArrayBuffer(length * count * 4));
  for (let at = 0; at < length; at++) {
    const centre = (2 * (from + at) + 1) * source;
    first[at] = Math.min(first[at]!, high - count);
    let sum = 0;
    for (let tap = 0; tap < count; tap++) sum += share(first[at]! + tap, centre);
    for (let tap = 0; tap < count; tap++) {
      const numerator = share(first[at]! + tap, centre) * 2 * (1 << FILTER_BITS) + sum;
      weights[at * count + tap] = (numerator - (numerator % (2 * sum))) / (2 * sum);
    }
  }
  return { first, count, weights };
}

/** Pillow's BICUBIC: the cubic of Keys with a = -0.5. @param distance from the pixel's centre, in source pixels */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** A filter with lobes below 0: how many source pixels it reaches to each side where the axis grows, and its curve. */
interface LobedFilter {
  readonly reach: number;
  readonly weight: (distance: number) => number;
}

const LOBED: Readonly<Record<"bicubic" | "lanczos", LobedFilter>> = {
  bicubic: { reach: 2, weight: cubic },
  lanczos: { reach: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/**
 * The taps of one axis of a resize with antialias, as Pillow's BICUBIC and LANCZOS have them: a filter that reaches two or three
 * source pixels to each side where the axis grows, and further by the ratio where it shrinks. In the order of Pillow's own
 * steps, in f64, so that the weights are the same to the bit.
 *
 * @see https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters (BICUBIC, LANCZOS)
 */
export function lobedTaps(
  { source, target, from, to, low, high }: RegionAxis,
  filter: "bicubic" | "lanczos",
): AntialiasTaps {
  const { reach: own, weight: weightAt } = LOBED[filter];
  const ratio = source / target;
  const stretch = Math.max(ratio, 1);
  const reach = own * stretch;
  const length = to - from;
  const first = new Int32Array(new ArrayBuffer(length * 4));
  const ends = new Int32Array(length);
  let count = 1;
  for (let at = 0; at < length; at++) {
    const centre = (from + at + 0.5) * ratio;
    first[at] = Math.max(Math.trunc(centre - reach + 0.5), low);
    ends[at] = Math.min(Math.trunc(centre + reach + 0.5), high);
    count = Math.max(count, ends[at]! - first[at]!);
  }
  const weights = new Int32Array(new ArrayBuffer(length * count * 4));
  const shares = new Float64Array(count);
  for (let at = 0; at < length; at++) {
    const centre = (from + at + 0.5) * ratio;
    const [begin, end] = [first[at]!, ends[at]!];
    first[at] = Math.min(begin, high - count);
    let sum = 0;
    for (let x = begin; x < end; x++) {
      shares[x - begin] = weightAt((x - centre + 0.5) * (1 / stretch));
      sum += shares[x - begin]!;
    }
    for (let x = begin; x < end; x++) {
      const weight = (shares[x - begin]! / sum) * (1 << FILTER_BITS);
      weights[at * count + x - first[at]!] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  }
  return { first, count, weights };
}

const SIN45 = Math.SQRT1_2;

/** Sine and cosine of a multiple of π / 4 for each of Lanczos4's taps: its angle is the first tap's, turned by as much. */
const LANCZOS4_TURNS: readonly (readonly [sine: number, cosine: number])[] = [
  [1, 0],
  [-SIN45, -SIN45],
  [0, 1],
  [SIN45, -SIN45],
  [-1, 0],
  [SIN45, SIN45],
  [0, -1],
  [-SIN45, SIN45],
];

/** Write the weights of Lanczos4's eight taps, in f32 as OpenCV works them out. @param x 0–1 behind the fourth tap */
function lanczos4Weights(x: number, weights: Float32Array): void {
  const furthest = Math.fround(x + 3);
  const angle = -furthest * Math.PI * 0.25;
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  let sum = 0;
  for (const [tap, [sine, cosine]] of LANCZOS4_TURNS.entries()) {
    const distance = Math.fround(furthest - tap);
    const turn = -distance * Math.PI * 0.25;
    // A tap that lies on the pixel outweighs the others, so that nothing is interpolated.
    weights[tap] = Math.abs(distance) < 1e-6 ? 1e30 : (sine * sin + cosine * cos) / (turn * turn);
    sum = Math.fround(sum + weights[tap]!);
  }
  const share = Math.fround(1 / sum);
  for (let tap = 0; tap < weights.length; tap++) weights[tap] = weights[tap]! * share;
}

/**
 * The taps of one axis of a resize as OpenCV's INTER_LANCZOS4 has them: eight source pixels, without antialias. Weights have
 * {@linkcode WEIGHT_BITS} bits and may come to slightly more or less than the whole. Pixels beyond the border are that at the
 * border again, which has their weights as well.
 *
 * @see https://docs.opencv.org/5.x/da/d54/group__imgproc__transform.html (INTER_LANCZOS4)
 */
export function lanczos4Taps({ source, target, from, to, low, high }: RegionAxis): AntialiasTaps {
  const length = to - from;
  const count = Math.min(LANCZOS4_TURNS.length, high - low);
  const first = new Int32Array(new ArrayBuffer(length * 4));
  const weights = new Int32Array(new ArrayBuffer(length * count * 4));
  const shares = new Float32Array(LANCZOS4_TURNS.length);
  const scale = 1 / (target / source);
  for (let at = 0; at < length; at++) {
    const position = Math.fround((from + at + 0.5) * scale - 0.5);
    const below = Math.floor(position);
    lanczos4Weights(Math.fround(position - below), shares);
    first[at] = Math.min(Math.max(below - 3, low), high - count);
    for (let tap = 0; tap < shares.length; tap++) {
      const pixel = Math.min(Math.max(below - 3 + tap, low), high - 1);
      weights[at * count + pixel - first[at]!]! += roundHalfEven(shares[tap]! * (1 << WEIGHT_BITS));
    }
  }
  return { first, count, weights };
}
