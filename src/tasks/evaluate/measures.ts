/** @module Measures: how what a model says of an object is compared with the ground truth, by task. */

import { BunTensorRtError, message } from "../../core/errors.ts";
import type { Detection } from "../detect/detection.ts";
import { probiou } from "../obb/rotated.ts";
import type { OrientedObject, PoseObject, SegmentedObject } from "../objects/objects.ts";
import { COCO_KEYPOINTS } from "../pose/keypoints.ts";
import type { Mask } from "../segment/mask.ts";
import {
  BOX_METRICS,
  type BoxMetricName,
  KEYPOINT_METRICS,
  type KeypointMetricName,
  type Measure,
  type PrecisionReport,
  type TrueObject,
} from "./average-precision.ts";
import { rectangleAround } from "./polygons.ts";

/** An object as a dataset has it; what its task has no need of may be absent. */
export interface AnnotatedObject extends TrueObject {
  /** In source pixels. */
  readonly box: readonly [x: number, y: number, width: number, height: number];
  readonly mask?: Mask;
  /** x, y and visibility of each, in turns; 0 where it is not annotated. */
  readonly keypoints?: readonly number[];
  /** Centre, width, height and angle. */
  readonly xywhr?: readonly number[];
}

/** Figures of boxes and masks. `AP`: the mean over the IoU thresholds 0.5 to 0.95; s, m and l: small, medium and large objects. */
export type BoxMetrics = PrecisionReport<BoxMetricName>;
/** Figures of key points, by their object keypoint similarity. */
export type KeypointMetrics = PrecisionReport<KeypointMetricName>;

const BOX: Measure<Detection, AnnotatedObject, BoxMetricName> = {
  metrics: BOX_METRICS,
  most: 100,
  area: ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1),
  likeness({ box: [x1, y1, x2, y2] }, { box: [x, y, width, height], isCrowd }) {
    const across = Math.min(x2, x + width) - Math.max(x1, x);
    const down = Math.min(y2, y + height) - Math.max(y1, y);
    if (across <= 0 || down <= 0) return 0;
    const shared = across * down;
    const own = (x2 - x1) * (y2 - y1);
    return shared / (isCrowd ? own : own + width * height - shared);
  },
  isIgnored: ({ isCrowd }) => isCrowd,
};

const MASK: Measure<SegmentedObject, AnnotatedObject, BoxMetricName> = {
  ...BOX,
  area: ({ mask }) => mask.area,
  likeness({ mask }, { mask: truth, isCrowd }) {
    const shared = mask.intersection(truth!);
    return shared === 0 ? 0 : shared / (isCrowd ? mask.area : mask.area + truth!.area - shared);
  },
};

/** How far people place each of COCO's points from where others do, by the size of the person. */
const COCO_SIGMAS: readonly number[] = [
  0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
];

/** Points of other kinds have the sigma that Ultralytics gives them. */
function sigmaOf(point: number, count: number): number {
  return count === COCO_KEYPOINTS.length ? COCO_SIGMAS[point]! : 1 / count;
}

function isSeen({ keypoints = [] }: AnnotatedObject): boolean {
  return keypoints.some((visibility, at) => at % 3 === 2 && visibility > 0);
}

/** How far a number lies outside of a range. */
function beyond(value: number, least: number, most: number): number {
  return Math.max(0, least - value) + Math.max(0, value - most);
}

const KEYPOINTS: Measure<PoseObject, AnnotatedObject, KeypointMetricName> = {
  metrics: KEYPOINT_METRICS,
  most: 20,
  area({ keypoints }) {
    const [, , width, height] = rectangleAround(keypoints.flatMap(({ x, y }) => [x, y]));
    return width * height;
  },
  likeness({ keypoints }, truth) {
    const { box, area, keypoints: points = [] } = truth;
    const [x, y, width, height] = box;
    const isAnnotated = isSeen(truth);
    if (isAnnotated && points.length !== keypoints.length * 3) {
      const found = `the model has ${keypoints.length} for an object, the dataset ${points.length / 3}`;
      throw new BunTensorRtError(message("compare key points", found));
    }
    let sum = 0;
    let count = 0;
    for (const [at, found] of keypoints.entries()) {
      if (isAnnotated && !(points[at * 3 + 2]! > 0)) continue;
      // An object without points is near whatever lies within twice its box.
      const dx = isAnnotated ? found.x - points[at * 3]! : beyond(found.x, x - width, x + 2 * width);
      const dy = isAnnotated ? found.y - points[at * 3 + 1]! : beyond(found.y, y - height, y + 2 * height);
      const variance = (sigmaOf(at, keypoints.length) * 2) ** 2;
      sum += Math.exp(-(dx ** 2 + dy ** 2) / variance / (area + Number.EPSILON) / 2);
      count += 1;
    }
    return count === 0 ? 0 : sum / count;
  },
  isIgnored: (truth) => truth.isCrowd || !isSeen(truth),
};

const ORIENTED: Measure<OrientedObject, AnnotatedObject, BoxMetricName> = {
  ...BOX,
  area: ({ xywhr: [, , width, height] }) => width * height,
  likeness: ({ xywhr }, { xywhr: truth }) => probiou(xywhr, truth!),
};

/** What is reported of each task. */
export interface MetricsOfTask {
  readonly detect: { readonly box: BoxMetrics };
  readonly segment: { readonly box: BoxMetrics; readonly mask: BoxMetrics };
  readonly pose: { readonly box: BoxMetrics; readonly keypoints: KeypointMetrics };
  /** Oriented boxes, by their probabilistic IoU, as Ultralytics compares them. */
  readonly obb: { readonly obb: BoxMetrics };
}

/** A task whose objects can be measured. */
export type MeasuredTask = keyof MetricsOfTask;

/** What is measured of the objects of each task. */
export const MEASURES: {
  readonly [Task in MeasuredTask]: { readonly [Name in keyof MetricsOfTask[Task]]: Measure<never, AnnotatedObject> };
} = {
  detect: { box: BOX },
  segment: { box: BOX, mask: MASK },
  pose: { box: BOX, keypoints: KEYPOINTS },
  obb: { obb: ORIENTED },
};
