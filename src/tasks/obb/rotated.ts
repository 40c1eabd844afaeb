/** @module Rotated: oriented boxes: corners, envelopes, how much two overlap, and which of many are kept. */

import type { Region } from "../../image/geometry.ts";
import { type DetectionBlock, SURE_SCORE } from "../../model/rows.ts";
import { MAX_CANDIDATES, type NmsOptions, ScoreOrder } from "../detect/nms.ts";

const { fround } = Math;

/** Numbers of a box: centre x and y, width, height in pixels, angle in radians. */
const STRIDE = 5;

/**
 * The corners of an oriented box, in the order of Ultralytics: c + v1 + v2, c + v1 − v2, c − v1 − v2, c − v1 + v2, where v1 is
 * half the width along (cos, sin) of the angle and v2 half the height along (−sin, cos). y points down: the angle turns clockwise
 * on the screen.
 *
 * @param box [cx, cy, w, h, angle], from `from` on
 * @param to  where the eight numbers go; a new array if there is none
 * @param at  the first of them
 * @returns `to`
 *
 * @example
 * ```ts
 * import { rotatedCorners } from "bun-tensorrt";
 *
 * console.log(rotatedCorners([50, 50, 40, 10, Math.PI / 6])); // x and y of four corners
 * ```
 */
export function rotatedCorners<T extends Float32Array | Float64Array | number[] = number[]>(
  box: ArrayLike<number>,
  from = 0,
  to: T = [] as number[] as T,
  at = 0,
): T {
  const x = box[from]!;
  const y = box[from + 1]!;
  const cos = Math.cos(box[from + 4]!);
  const sin = Math.sin(box[from + 4]!);
  const x1 = (box[from + 2]! / 2) * cos;
  const y1 = (box[from + 2]! / 2) * sin;
  const x2 = (-box[from + 3]! / 2) * sin;
  const y2 = (box[from + 3]! / 2) * cos;
  to[at] = x + x1 + x2;
  to[at + 1] = y + y1 + y2;
  to[at + 2] = x + x1 - x2;
  to[at + 3] = y + y1 - y2;
  to[at + 4] = x - x1 - x2;
  to[at + 5] = y - y1 - y2;
  to[at + 6] = x - x1 + x2;
  to[at + 7] = y - y1 + y2;
  return to;
}

/**
 * The upright box around an oriented one.
 *
 * @param box [cx, cy, w, h, angle], from `from` on
 * @param to  where x1, y1, x2, y2 go; a new array if there is none
 * @param at  the first of them
 * @returns `to`
 */
export function rotatedEnvelope<T extends Float32Array | number[] = number[]>(
  box: ArrayLike<number>,
  from = 0,
  to: T = [] as number[] as T,
  at = 0,
): T {
  const cos = Math.abs(Math.cos(box[from + 4]!));
  const sin = Math.abs(Math.sin(box[from + 4]!));
  const x = (Math.abs(box[from + 2]!) * cos + Math.abs(box[from + 3]!) * sin) / 2;
  const y = (Math.abs(box[from + 2]!) * sin + Math.abs(box[from + 3]!) * cos) / 2;
  to[at] = box[from]! - x;
  to[at + 1] = box[from + 1]! - y;
  to[at + 2] = box[from]! + x;
  to[at + 3] = box[from + 1]! + y;
  return to;
}

/** The angle of a box that is turned by half a circle is the same box: those from here on, for π, are given. */
const LOWEST_ANGLE = -Math.PI / 4;
/** One box in source pixels. */
const mapped = new Float32Array(new ArrayBuffer(STRIDE * 4));

/** Map the kept rows of oriented boxes to source pixels, and write the upright boxes around them. Neither is clipped to the image. */
export function orientedToSource(block: DetectionBlock, region: Region): void {
  const [sides, angles] = block.extras as [Float32Array, Float32Array];
  const { count, boxes, scores } = block;
  const { x, y, padX, padY, scaleX, scaleY } = region;
  block.furthestAngle = 0;
  for (let row = 0, at = 0; row < count; row++, at += 4) {
    const sure = scores[row]! >= SURE_SCORE ? angles[row]! : 0;
    if (Math.abs(sure) > Math.max(2 * Math.PI, Math.abs(block.furthestAngle))) block.furthestAngle = sure;
    const turns = Math.floor((angles[row]! - LOWEST_ANGLE) / Math.PI);
    mapped[0] = sides[at] = (sides[at]! - padX) / scaleX + x;
    mapped[1] = sides[at + 1] = (sides[at + 1]! - padY) / scaleY + y;
    mapped[2] = sides[at + 2] = sides[at + 2]! / scaleX;
    mapped[3] = sides[at + 3] = sides[at + 3]! / scaleY;
    mapped[4] = angles[row] = angles[row]! - turns * Math.PI;
    rotatedEnvelope(mapped, 0, boxes, at);
  }
}

/** Keeps divisions and logarithms finite. */
const EPSILON = fround(1e-7);
/** The distance at which boxes count as apart. */
const FARTHEST = 100;

/** Covariance of boxes as normal distributions: [[a, c], [c, b]], and its determinant; f32 [capacity, 4]. */
function covariance(boxes: ArrayLike<number>, from: number, to: Float32Array, at: number): void {
  const width = fround(boxes[from + 2]!);
  const height = fround(boxes[from + 3]!);
  const angle = fround(boxes[from + 4]!);
  const along = fround(fround(width * width) / 12);
  const across = fround(fround(height * height) / 12);
  const cos = fround(Math.cos(angle));
  const sin = fround(Math.sin(angle));
  const cos2 = fround(cos * cos);
  const sin2 = fround(sin * sin);
  to[at] = fround(along * cos2) + fround(across * sin2);
  to[at + 1] = fround(along * sin2) + fround(across * cos2);
  to[at + 2] = fround(fround(along - across) * cos) * sin;
  to[at + 3] = Math.max(0, fround(to[at]! * to[at + 1]!) - fround(to[at + 2]! * to[at + 2]!));
}

/** Of a pair of boxes: what their covariances sum up to, and how far apart their centres are by it. */
function bhattacharyya(
  x: number,
  y: number,
  a: Float32Array,
  atA: number,
  b: Float32Array,
  atB: number,
  farthest: number,
): number {
  const sumA = fround(a[atA]! + b[atB]!);
  const sumB = fround(a[atA + 1]! + b[atB + 1]!);
  const sumC = fround(a[atA + 2]! + b[atB + 2]!);
  const determinant = fround(fround(sumA * sumB) - fround(sumC * sumC));
  const divisor = fround(determinant + EPSILON);
  const squares = fround(fround(sumA * fround(y * y)) + fround(sumB * fround(x * x)));
  const near = fround(fround(squares / divisor) * 0.25);
  const skew = fround(fround(fround(fround(sumC * -x) * y) / divisor) * 0.5);
  const apart = fround(near + skew);
  if (apart > farthest) return FARTHEST;
  const product = fround(Math.sqrt(fround(a[atA + 3]! * b[atB + 3]!)));
  const shape = fround(fround(determinant / fround(fround(4 * product) + EPSILON)) + EPSILON);
  return fround(apart + fround(fround(Math.log(shape)) * 0.5));
}

/** 1 − the Hellinger distance of that Bhattacharyya distance. */
function likeness(distance: number): number {
  const clamped = Math.min(Math.max(distance, EPSILON), FARTHEST);
  return fround(1 - fround(Math.sqrt(fround(fround(1 - fround(Math.exp(-clamped))) + EPSILON))));
}

/**
 * How alike two oriented boxes are as normal distributions, after "Gaussian Bounding Boxes and Probabilistic
 * Intersection-over-Union" (arXiv 2106.06072), in f32 as Ultralytics computes it. Of square boxes it does not see the angle;
 * two that are the same give about 0.9997.
 *
 * @param a [cx, cy, w, h, angle], from `atA` on
 * @param b likewise, from `atB` on
 * @returns 0 to 1
 *
 * @example
 * ```ts
 * import { probiou } from "bun-tensorrt";
 *
 * console.log(probiou([50, 50, 40, 10, Math.PI / 6], [52, 50, 40, 10, Math.PI / 5]));
 * ```
 */
export function probiou(a: ArrayLike<number>, b: ArrayLike<number>, atA = 0, atB = 0): number {
  const covariances = new Float32Array(8);
  covariance(a, atA, covariances, 0);
  covariance(b, atB, covariances, 4);
  const x = fround(fround(a[atA]!) - fround(b[atB]!));
  const y = fround(fround(a[atA + 1]!) - fround(b[atB + 1]!));
  return likeness(bhattacharyya(x, y, covariances, 0, covariances, 4, Number.POSITIVE_INFINITY));
}

/**
 * Which boxes are suppressed. `any`: those that are too like any better one, be that suppressed itself or not, as in
 * Ultralytics. `greedy`: those that are too like a better one that is kept.
 */
export type RotatedSuppression = "any" | "greedy";

/** Oriented boxes before NMS, as columns. */
export interface RotatedCandidates {
  readonly count: number;
  /** f32 [count, 5]: cx, cy, w, h in pixels, angle in radians. */
  readonly boxes: Float32Array;
  /** f32 [count]. */
  readonly scores: Float32Array;
  /** i32 [count]. */
  readonly classIds: Int32Array;
}

/** What boxes of different classes are moved apart by in Ultralytics, which rounds their centres to what f32 has there. */
const CLASS_OFFSET = 7680;
/** Far more than rounding takes from the term of the shapes, which is never below 0. */
const MARGIN = 1;

/**
 * Chooses which oriented boxes are kept, by {@linkcode probiou}. Owns the memory it needs, which only grows: keep one a slot.
 *
 * What is kept, exactly: steps 1 to 3 of `Selector` in tasks/detect/nms.ts; then each box that no better one of its class, or
 * of any if `classAgnostic`, suppresses; the first `maxDetections` of these.
 */
export class RotatedSelector {
  /** The rows that are kept, best first, after `select`. */
  kept: Int32Array<ArrayBuffer> = new Int32Array(0);

  readonly #order = new ScoreOrder();
  /** Centres as they are compared: f32 [capacity, 2]. */
  #centres: Float32Array<ArrayBuffer> = new Float32Array(0);
  /** f32 [capacity, 4]. */
  #covariances: Float32Array<ArrayBuffer> = new Float32Array(0);
  /** For each box in the order of scores: the one before of its class that it is compared with; -1 for none. */
  #previous: Int32Array<ArrayBuffer> = new Int32Array(0);
  readonly #last = new Map<number, number>();

  /** @returns how many are kept: so many numbers of `kept` are valid */
  select(candidates: RotatedCandidates, selection: NmsOptions, suppression: RotatedSuppression = "any"): number {
    const { maxDetections, classAgnostic } = selection;
    this.#order.fill(candidates, selection);
    const { rows } = this.#order;
    const count = Math.min(this.#order.count, MAX_CANDIDATES);
    this.#reserve(count, maxDetections);
    const previous = this.#previous;
    const iou = fround(selection.iou);
    // The distance from which on a pair is surely no more alike than that.
    const farthest = MARGIN - Math.log(Math.max(1 - (1 - iou) * (1 - iou), Number.MIN_VALUE));
    let kept = 0;
    for (let at = 0; at < count && kept < maxDetections; at++) {
      const row = rows[at]!;
      const classId = classAgnostic ? 0 : candidates.classIds[row]!;
      this.#prepare(candidates.boxes, row, at, classId);
      const last = this.#last.get(classId) ?? -1;
      const isSuppressed = this.#isSuppressed(at, last, iou, farthest);
      if (!isSuppressed) this.kept[kept++] = row;
      if (isSuppressed && suppression === "greedy") continue;
      previous[at] = last;
      this.#last.set(classId, at);
    }
    return kept;
  }

  #reserve(count: number, maxDetections: number): void {
    this.#last.clear();
    if (this.kept.length < maxDetections) this.kept = new Int32Array(maxDetections);
    if (this.#previous.length >= count) return;
    this.#previous = new Int32Array(count);
    this.#centres = new Float32Array(count * 2);
    this.#covariances = new Float32Array(count * 4);
  }

  #prepare(boxes: Float32Array, row: number, at: number, classId: number): void {
    const offset = classId * CLASS_OFFSET;
    this.#centres[at * 2] = boxes[row * STRIDE]! + offset;
    this.#centres[at * 2 + 1] = boxes[row * STRIDE + 1]! + offset;
    covariance(boxes, row * STRIDE, this.#covariances, at * 4);
  }

  #isSuppressed(at: number, last: number, iou: number, farthest: number): boolean {
    const centres = this.#centres;
    const covariances = this.#covariances;
    for (let better = last; better >= 0; better = this.#previous[better]!) {
      const x = fround(centres[better * 2]! - centres[at * 2]!);
      const y = fround(centres[better * 2 + 1]! - centres[at * 2 + 1]!);
      const distance = bhattacharyya(x, y, covariances, better * 4, covariances, at * 4, farthest);
      if (distance < farthest && likeness(distance) > iou) return true;
    }
    return false;
  }
}

/** Corners of a quadrilateral that four half-planes have cut: at most eight. */
const cut = [new Float64Array(new ArrayBuffer(128)), new Float64Array(new ArrayBuffer(128))] as const;
const sides = new Float64Array(new ArrayBuffer(64));

/** Write the corners relative to a point, so that far from the origin no digits are lost. */
function cornersAround(box: ArrayLike<number>, from: number, x: number, y: number, to: Float64Array): void {
  const cos = Math.cos(box[from + 4]!);
  const sin = Math.sin(box[from + 4]!);
  const width = Math.abs(box[from + 2]!) / 2;
  const height = Math.abs(box[from + 3]!) / 2;
  for (let corner = 0; corner < 4; corner++) {
    const along = corner < 2 ? width : -width;
    const across = corner === 0 || corner === 3 ? height : -height;
    to[corner * 2] = box[from]! - x + along * cos - across * sin;
    to[corner * 2 + 1] = box[from + 1]! - y + along * sin + across * cos;
  }
}

/**
 * Intersection over union of two oriented boxes, exactly: one is cut by the four sides of the other (Sutherland–Hodgman), in f64.
 *
 * @param a [cx, cy, w, h, angle], from `atA` on
 * @param b likewise, from `atB` on
 * @returns 0 to 1; 0 if one of them has no area
 *
 * @example
 * ```ts
 * import { rotatedIou } from "bun-tensorrt";
 *
 * console.log(rotatedIou([50, 50, 40, 10, Math.PI / 6], [52, 50, 40, 10, Math.PI / 5]));
 * ```
 */
export function rotatedIou(a: ArrayLike<number>, b: ArrayLike<number>, atA = 0, atB = 0): number {
  return rotatedOverlap(a, atA, b, atB, true);
}

/** Intersection of two oriented boxes over their union, or over the smaller of both. */
export function rotatedOverlap(
  a: ArrayLike<number>,
  atA: number,
  b: ArrayLike<number>,
  atB: number,
  isOverUnion: boolean,
): number {
  const areaA = Math.abs(a[atA + 2]! * a[atA + 3]!);
  const areaB = Math.abs(b[atB + 2]! * b[atB + 3]!);
  if (!(areaA > 0 && areaB > 0)) return 0;
  const shared = Math.min(sharedArea(a, b, atA, atB), areaA, areaB);
  return shared / (isOverUnion ? areaA + areaB - shared : Math.min(areaA, areaB));
}

/** Grow an oriented box, at its angle, until it holds another one. */
export function growRotated(box: Float64Array, other: ArrayLike<number>, at: number): void {
  const cos = Math.cos(box[4]!);
  const sin = Math.sin(box[4]!);
  let [right, bottom] = [Math.abs(box[2]!) / 2, Math.abs(box[3]!) / 2];
  let [left, top] = [-right, -bottom];
  cornersAround(other, at, box[0]!, box[1]!, sides);
  for (let corner = 0; corner < 8; corner += 2) {
    const along = sides[corner]! * cos + sides[corner + 1]! * sin;
    const across = sides[corner + 1]! * cos - sides[corner]! * sin;
    left = Math.min(left, along);
    right = Math.max(right, along);
    top = Math.min(top, across);
    bottom = Math.max(bottom, across);
  }
  const along = (left + right) / 2;
  const across = (top + bottom) / 2;
  box[0] = box[0]! + along * cos - across * sin;
  box[1] = box[1]! + along * sin + across * cos;
  box[2] = right - left;
  box[3] = bottom - top;
}

function sharedArea(a: ArrayLike<number>, b: ArrayLike<number>, atA: number, atB: number): number {
  cornersAround(a, atA, a[atA]!, a[atA + 1]!, sides);
  let points = cut[0];
  let next = cut[1];
  cornersAround(b, atB, a[atA]!, a[atA + 1]!, points);
  let count = 4;
  for (let side = 0; side < 8 && count > 0; side += 2) {
    const x = sides[side]!;
    const y = sides[side + 1]!;
    const alongX = sides[(side + 2) % 8]! - x;
    const alongY = sides[(side + 3) % 8]! - y;
    let kept = 0;
    let beforeX = points[count * 2 - 2]!;
    let beforeY = points[count * 2 - 1]!;
    let before = alongX * (beforeY - y) - alongY * (beforeX - x);
    for (let point = 0; point < count; point++) {
      const hereX = points[point * 2]!;
      const hereY = points[point * 2 + 1]!;
      // At most 0 on the inner side: corners go anticlockwise as seen on the screen.
      const here = alongX * (hereY - y) - alongY * (hereX - x);
      if (here <= 0 !== before <= 0) {
        const share = before / (before - here);
        next[kept * 2] = beforeX + (hereX - beforeX) * share;
        next[kept * 2 + 1] = beforeY + (hereY - beforeY) * share;
        kept += 1;
      }
      if (here <= 0) {
        next[kept * 2] = hereX;
        next[kept * 2 + 1] = hereY;
        kept += 1;
      }
      beforeX = hereX;
      beforeY = hereY;
      before = here;
    }
    const spare = points;
    points = next;
    next = spare;
    count = kept;
  }
  let doubled = 0;
  for (let point = 0; point < count; point++) {
    const after = ((point + 1) % count) * 2;
    doubled += points[after]! * points[point * 2 + 1]! - points[point * 2]! * points[after + 1]!;
  }
  return Math.max(0, doubled / 2);
}
