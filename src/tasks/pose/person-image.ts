/**
 * @module PersonImage: what a top-down model sees of a person, a rectangle of the image that all people of it share, and
 * where the points lie in what it says of that: two rows of bins, or a heat map.
 */

import { ArgumentError, message } from "../../core/errors.ts";
import type { Rectangle, Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { PixelSize } from "../../runtime/task.ts";
import type { Box } from "../boxes.ts";

/** An image with a person in it. */
export type PersonImage = Image & {
  /** What the model sees, in pixels of the image; it may reach beyond them. */
  readonly rectangle: Rectangle;
};

/** How boxes become what a model sees. */
export interface CropRule {
  /** Of the model's input. */
  readonly size: Size;
  /** Sides of what is seen in those of the box. */
  readonly padding: number;
  /**
   * True: the middles of the input's first and last pixel are the edges of what is seen (unbiased data processing); false: the
   * edges of these pixels are.
   */
  readonly isUnbiased: boolean;
}

/** Where what is seen begins along an axis, and its length, in whole pixels. */
function along(centre: number, length: number, input: number, isUnbiased: boolean): readonly [number, number] {
  // An index of the input stands for a length of `step` in the image, and index 0 for its start.
  const step = length / (isUnbiased ? input - 1 : input);
  const start = centre - length / 2 - step / 2 + 0.5;
  return [Math.round(start), Math.max(1, Math.round(step * input))];
}

/** The rectangle of an image that a model sees of a box: around its middle, in the ratio of the input. */
function seenOf([x1, y1, x2, y2]: Box, { size: [width, height], padding, isUnbiased }: CropRule): Rectangle {
  const ratio = width / height;
  const across = Math.max(x2 - x1, (y2 - y1) * ratio) * padding;
  const [x, wide] = along((x1 + x2) / 2, across, width, isUnbiased);
  const [y, high] = along((y1 + y2) / 2, across / ratio, height, isUnbiased);
  return { x, y, width: wide, height: high };
}

/** Longest side of a box in pixels: more than any image has, and exact in what follows. */
const MOST_SIDE = 2 ** 20;

function isBoundless([x1, y1, x2, y2]: Box): boolean {
  return x2 - x1 > MOST_SIDE || y2 - y1 > MOST_SIDE;
}

/** True if a box has some of an image, and an end. */
export function isWithin(box: Box, { width, height }: PixelSize): boolean {
  const [x1, y1, x2, y2] = box;
  return x1 < x2 && y1 < y2 && x1 < width && y1 < height && x2 > 0 && y2 > 0 && !isBoundless(box);
}

/**
 * What a model sees of each of some people.
 *
 * @param people boxes in pixels of the image; they may reach beyond it
 * @throws {ArgumentError} If one is no box, or has nothing of the image
 */
export function personImages(image: Image, people: readonly { readonly box: Box }[], rule: CropRule): PersonImage[] {
  return people.map(({ box }) => {
    const refuse = (found: string): never => {
      throw new ArgumentError(message("estimate a pose", `the box [${box}] ${found}`, "leave it out"));
    };
    if (!(box?.length === 4 && box.every(Number.isFinite) && box[0] < box[2] && box[1] < box[3])) refuse("has no area");
    if (isBoundless(box)) refuse(`is larger than ${MOST_SIDE} pixels`);
    if (!isWithin(box, image)) refuse(`lies outside the image of ${image.width}x${image.height} pixels`);
    const { x, y, width, height } = seenOf(box, rule);
    // What is seen of a box of less than a pixel at the edge of the image may be rounded to what lies beside it.
    const left = Math.min(Math.max(x, 1 - width), image.width - 1);
    const top = Math.min(Math.max(y, 1 - height), image.height - 1);
    return seenIn(image, { x: left, y: top, width, height });
  });
}

/** An image with what is seen of it. Where its pixels lie on a GPU, those on the host are a copy, which is not made here. */
function seenIn(image: Image, rectangle: Rectangle): PersonImage {
  const { resident } = image;
  // Those of a frame of a video are no property of its own.
  if (resident === undefined) return { ...image, data: image.data, rectangle };
  const { width, height, pitchBytes, format, chromaOffset, chromaPitchBytes, yuvStandard, yuvRange } = image;
  const form = { width, height, pitchBytes, format, chromaOffset, chromaPitchBytes, yuvStandard, yuvRange };
  return {
    ...form,
    rectangle,
    resident,
    get data() {
      return image.data;
    },
  };
}

/** True for the image of a person. */
export function isPersonImage(image: Image): image is PersonImage {
  return "rectangle" in image;
}

/** A point in pixels of the model's input, as an index: 0 is the middle of the first pixel. */
export interface FoundPoint {
  x: number;
  y: number;
  score: number;
}

/** The first of the largest of some values. */
function largest(values: ArrayLike<number>, from: number, length: number): number {
  let best = from;
  for (let at = from + 1; at < from + length; at++) if (values[at]! > values[best]!) best = at;
  return best - from;
}

/** What a score is of the largest value of each row: mmpose takes the smaller, rtmlib the mean. */
export type SimccScore = "min" | "mean";

/**
 * A point by SimCC: the place of the largest value in a row of bins for each axis.
 *
 * @param x    f32, the bins of one point from `at.x` on, `bins.x` of them
 * @param y    likewise
 * @param size of the model's input in pixels
 * @param to   what is found is written into
 */
export function readSimcc(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  at: { readonly x: number; readonly y: number },
  bins: { readonly x: number; readonly y: number },
  size: readonly [width: number, height: number],
  rule: SimccScore,
  to: FoundPoint,
): void {
  const column = largest(x, at.x, bins.x);
  const row = largest(y, at.y, bins.y);
  const across = x[at.x + column]!;
  const down = y[at.y + row]!;
  to.x = (column * size[0]) / bins.x;
  to.y = (row * size[1]) / bins.y;
  to.score = rule === "min" ? Math.min(across, down) : (across + down) / 2;
}

/** How a point is found between the pixels of its heat map: a quarter towards the larger neighbour, or by DARK. */
export type Refinement = "quarter" | "dark";

/** The map of one point: [height, width] from `at` on. */
interface Heatmap {
  readonly values: ArrayLike<number>;
  at: number;
  readonly width: number;
  readonly height: number;
}

/** Of the Gaussian that DARK smooths a map with, as transformers has it: a deviation of 0.8, 11 pixels wide. */
const SIGMA = 0.8;
const RADIUS = 5;
const KERNEL: Float64Array = (() => {
  const weights = Float64Array.from({ length: 2 * RADIUS + 1 }, (_, at) =>
    Math.exp(-((at - RADIUS) ** 2) / 2 / SIGMA ** 2),
  );
  const sum = weights.reduce((total, weight) => total + weight);
  return weights.map((weight) => weight / sum);
})();

/** Beyond an edge a map is its own mirror image, the edge's pixel twice. */
function mirrored(at: number, length: number): number {
  const period = 2 * length;
  const phase = ((at % period) + period) % period;
  return phase < length ? phase : period - 1 - phase;
}

/** The logarithm of the smoothed map at a pixel; beyond the edge that of the nearest one. */
function smoothed({ values, at, width, height }: Heatmap, column: number, row: number): number {
  const x = Math.min(Math.max(column, 0), width - 1);
  const y = Math.min(Math.max(row, 0), height - 1);
  let sum = 0;
  for (let down = -RADIUS; down <= RADIUS; down++) {
    const line = at + mirrored(y + down, height) * width;
    let part = 0;
    for (let across = -RADIUS; across <= RADIUS; across++) {
      part += KERNEL[across + RADIUS]! * values[line + mirrored(x + across, width)]!;
    }
    sum += KERNEL[down + RADIUS]! * part;
  }
  return Math.log(Math.min(Math.max(sum, 0.001), 50));
}

/** How far the top of the parabola through the neighbours lies from a pixel, along each axis. */
function darkOffset(map: Heatmap, column: number, row: number): readonly [x: number, y: number] {
  const value = (across: number, down: number): number => smoothed(map, column + across, row + down);
  const middle = value(0, 0);
  const [left, right, above, below] = [value(-1, 0), value(1, 0), value(0, -1), value(0, 1)];
  const dx = (right - left) / 2;
  const dy = (below - above) / 2;
  // The determinant is kept from 0 where the map is flat.
  const epsilon = 2 ** -23;
  const dxx = right - 2 * middle + left + epsilon;
  const dyy = below - 2 * middle + above + epsilon;
  const dxy = (value(1, 1) - right - below + 2 * middle - left - above + value(-1, -1)) / 2;
  const determinant = dxx * dyy - dxy * dxy;
  if (determinant === 0) return [0, 0];
  return [(dxy * dy - dyy * dx) / determinant, (dxy * dx - dxx * dy) / determinant];
}

/**
 * A point by its heat map: the place of the largest value, moved by what lies around it.
 *
 * @param size       of the model's input in pixels
 * @param isUnbiased true: the middles of the first and last pixels of map and input are the same; false: their edges are
 * @param to         what is found is written into
 */
export function readHeatmap(
  map: Heatmap,
  size: readonly [width: number, height: number],
  { refinement, isUnbiased }: { readonly refinement: Refinement; readonly isUnbiased: boolean },
  to: FoundPoint,
): void {
  const { values, at, width, height } = map;
  const best = largest(values, at, width * height);
  const column = best % width;
  const row = (best - column) / width;
  let x = column;
  let y = row;
  if (refinement === "dark") {
    const [across, down] = darkOffset(map, column, row);
    x += across;
    y += down;
  } else if (column > 0 && column < width - 1 && row > 0 && row < height - 1) {
    x += Math.sign(values[at + best + 1]! - values[at + best - 1]!) / 4;
    y += Math.sign(values[at + best + width]! - values[at + best - width]!) / 4;
  }
  to.x = isUnbiased ? (x * (size[0] - 1)) / (width - 1) : (x * size[0]) / width;
  to.y = isUnbiased ? (y * (size[1] - 1)) / (height - 1) : (y * size[1]) / height;
  to.score = values[at + best]!;
}
