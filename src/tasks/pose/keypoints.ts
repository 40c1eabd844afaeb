/** @module Keypoints: the points of an object, their names, and the lines between them. */

import type { KeypointForm } from "../../heads/head.ts";
import type { Region } from "../../image/geometry.ts";
import { type DetectionBlock, moveRow } from "../../model/rows.ts";

/** A point of an object, in source pixels. */
export interface Keypoint {
  readonly x: number;
  readonly y: number;
  /** How sure the model is that it can be seen, 0–1; 1 where the model does not tell. */
  readonly score: number;
  /** `left_shoulder`; `point 3` where the model has no name for it. */
  readonly name: string;
}

/** The points of a person, in COCO's order. */
export const COCO_KEYPOINTS: readonly string[] = [
  ...["nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"],
  ...["right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"],
  ...["left_ankle", "right_ankle"],
];

/** Pairs of COCO's points that are joined when a person is drawn. */
export const COCO_SKELETON: readonly (readonly [from: number, to: number])[] = [
  ...([
    [15, 13],
    [13, 11],
    [16, 14],
    [14, 12],
    [11, 12],
    [5, 11],
    [6, 12],
    [5, 6],
    [5, 7],
    [6, 8],
  ] as const),
  ...([
    [7, 9],
    [8, 10],
    [1, 2],
    [0, 1],
    [0, 2],
    [1, 3],
    [2, 4],
    [3, 5],
    [4, 6],
  ] as const),
];

/** Points of a lower score are not drawn. */
export const DRAWN_KEYPOINT_SCORE = 0.25;

/** One name a point: the model's, COCO's where it has as many points, else numbers. */
export function keypointNames({ count, names }: KeypointForm): readonly string[] {
  if (names.length > 0) return names;
  if (count === COCO_KEYPOINTS.length) return COCO_KEYPOINTS;
  return Array.from({ length: count }, (_, at) => `point ${at}`);
}

/**
 * Map the points of the kept rows to source pixels. Those beyond the edge of the image are moved onto it where the family does so.
 * Rows with a point that is no number are left out, and counted. What `pointsToSource` does, in one pass with the search for these.
 */
export function mapKeypoints(block: DetectionBlock, { count, numbers, isClipped }: KeypointForm, region: Region): void {
  const points = block.extras[0]!;
  const length = count * numbers;
  const { x, y, padX, padY, scaleX, scaleY } = region;
  const left = isClipped ? Math.max(x, 0) : Number.NEGATIVE_INFINITY;
  const top = isClipped ? Math.max(y, 0) : Number.NEGATIVE_INFINITY;
  const right = isClipped ? Math.min(x + region.width, region.sourceWidth) : Number.POSITIVE_INFINITY;
  const bottom = isClipped ? Math.min(y + region.height, region.sourceHeight) : Number.POSITIVE_INFINITY;
  let kept = 0;
  for (let row = 0; row < block.count; row++) {
    // A sum of some f32 cannot overflow in f64: it is finite if all are.
    let sum = 0;
    const end = (row + 1) * length;
    for (let at = row * length; at < end; at += numbers) {
      const inputX = points[at]!;
      const inputY = points[at + 1]!;
      sum += inputX + inputY;
      if (numbers === 3) sum += points[at + 2]!;
      points[at] = Math.min(Math.max((inputX - padX) / scaleX + x, left), right);
      points[at + 1] = Math.min(Math.max((inputY - padY) / scaleY + y, top), bottom);
    }
    if (!Number.isFinite(sum)) continue;
    if (kept < row) moveRow(block, row, kept);
    kept += 1;
  }
  block.dropped += block.count - kept;
  block.count = kept;
}

/** The points of a row. @param values of all rows, as they were fetched */
export function keypointsOf(
  values: Float32Array,
  row: number,
  { count, numbers }: KeypointForm,
  names: readonly string[],
): Keypoint[] {
  const points: Keypoint[] = new Array(count);
  for (let point = 0, at = row * count * numbers; point < count; point++, at += numbers) {
    const score = numbers === 3 ? values[at + 2]! : 1;
    points[point] = { x: values[at]!, y: values[at + 1]!, score, name: names[point]! };
  }
  return points;
}
