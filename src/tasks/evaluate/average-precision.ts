/**
 * @module AveragePrecision: precision and recall of what was found in images, to the digit of pycocotools' `COCOeval`, and
 * by what likeness the objects of each task are compared with the ground truth.
 */

import { BunTensorRtError, message } from "../../core/errors.ts";
import type { Detection } from "../detect/detection.ts";
import { probiou } from "../obb/rotated.ts";
import { COCO_KEYPOINTS, type OrientedObject, type PoseObject, type SegmentedObject } from "../objects/objects.ts";
import type { Mask } from "../segment/mask.ts";

/** An object that was found, as far as it is ranked. */
export interface FoundObject {
  readonly classId: number;
  readonly score: number;
}

/** An object of the ground truth, as far as it is counted. */
interface TrueObject {
  readonly classId: number;
  /** In pixels; decides whether it is small, medium or large. */
  readonly area: number;
  /** True for a region that several objects may match, none of which counts. */
  readonly isCrowd: boolean;
}

/** From which area up to which, in pixels. */
const AREAS = { all: [0, 1e10], small: [0, 1024], medium: [1024, 9216], large: [9216, 1e10] } as const;
const AREA_NAMES = Object.keys(AREAS) as (keyof typeof AREAS)[];

/** A figure: a mean over thresholds, or that at one of them. */
interface Metric {
  readonly of: "precision" | "recall";
  /** Number of the threshold, 0 for 0.5 and 5 for 0.75; default: the mean over all. */
  readonly at?: 0 | 5;
  readonly area?: "small" | "medium" | "large";
  /** At most this many objects of a class in an image; default: as many as count at all. */
  readonly most?: number;
}

/** Likenesses from which on an object is found: 0.5 to 0.95. */
const THRESHOLDS: readonly number[] = Array.from({ length: 10 }, (_, at) => at * ((0.95 - 0.5) / 9) + 0.5);

/** The figures of boxes and masks, by the names that COCO's page has. */
const BOX_METRICS = {
  AP: { of: "precision" },
  AP50: { of: "precision", at: 0 },
  AP75: { of: "precision", at: 5 },
  APs: { of: "precision", area: "small" },
  APm: { of: "precision", area: "medium" },
  APl: { of: "precision", area: "large" },
  AR1: { of: "recall", most: 1 },
  AR10: { of: "recall", most: 10 },
  AR100: { of: "recall" },
  ARs: { of: "recall", area: "small" },
  ARm: { of: "recall", area: "medium" },
  ARl: { of: "recall", area: "large" },
} as const;

/** The figures of key points. */
const KEYPOINT_METRICS = {
  AP: { of: "precision" },
  AP50: { of: "precision", at: 0 },
  AP75: { of: "precision", at: 5 },
  APm: { of: "precision", area: "medium" },
  APl: { of: "precision", area: "large" },
  AR: { of: "recall" },
  AR50: { of: "recall", at: 0 },
  AR75: { of: "recall", at: 5 },
  ARm: { of: "recall", area: "medium" },
  ARl: { of: "recall", area: "large" },
} as const;

/** Names of the figures of boxes and masks. */
export type BoxMetricName = keyof typeof BOX_METRICS;
/** Names of the figures of key points. */
export type KeypointMetricName = keyof typeof KEYPOINT_METRICS;

/** How objects are compared. */
export interface Measure<Found, Truth, Name extends string = string> {
  readonly metrics: Readonly<Record<Name, Metric>>;
  /** At most this many objects of a class count in an image, the best. */
  readonly most: number;
  /** Area of an object that was found, in pixels. */
  area(found: Found): number;
  /** How alike they are, 0–1. */
  likeness(found: Found, truth: Truth): number;
  /** True for an object that need not be found, and may be. */
  isIgnored(truth: Truth): boolean;
}

/** Figures by name, 0–1; `NaN` where the ground truth has no object that counts. */
export type Metrics<Name extends string> = Readonly<Record<Name, number>>;

/** Figures of one class. */
export type ClassMetrics<Name extends string> = Metrics<Name> & {
  readonly label: string;
  /** Objects of the ground truth that count: none that is a crowd, or, for key points, has no point. */
  readonly objects: number;
};

/** Figures over all classes, and of each that is in the ground truth. */
export type PrecisionReport<Name extends string> = Metrics<Name> & {
  /** Of all classes. */
  readonly objects: number;
  readonly classes: readonly ClassMetrics<Name>[];
};

/** Recall from 0 to 1 at which precision is read. */
const RECALLS = 101;
/** The lower half of a word says at which thresholds an object is right, the upper half at which it is wrong. */
const WRONG = 16;
const ALL_WRONG = ((1 << THRESHOLDS.length) - 1) << WRONG;

/** What is known of a class, by area: how many objects count. And a row for each that was found, as columns. */
class Tally {
  readonly truths: number[] = AREA_NAMES.map(() => 0);
  readonly scores: number[] = [];
  /** Place among those of its image. */
  readonly ranks: number[] = [];
  /** A word an area. */
  readonly words: readonly number[][] = AREA_NAMES.map(() => []);
}

/**
 * Average precision of what was found in a sequence of images. Of each object that was found it keeps a score and which thresholds
 * it was right at; images are not kept.
 */
export class AveragePrecision<Found extends FoundObject, Truth extends TrueObject, Name extends string> {
  readonly #measure: Measure<Found, Truth, Name>;
  readonly #labels: readonly string[];
  readonly #tallies: readonly Tally[];

  /** @param labels by class id, of which every object must have one */
  constructor(measure: Measure<Found, Truth, Name>, labels: readonly string[]) {
    this.#measure = measure;
    this.#labels = labels;
    this.#tallies = labels.map(() => new Tally());
  }

  /** Add an image. Where scores are equal, the order of the images and of what was found in them decides. */
  add(found: readonly Found[], truths: readonly Truth[]): void {
    const truthsOf = Map.groupBy(truths, ({ classId }) => classId);
    for (const [classId, some] of Map.groupBy(found, (one) => one.classId)) {
      const best = some.toSorted((a, b) => b.score - a.score).slice(0, this.#measure.most);
      this.#match(this.#tallies[classId]!, best, truthsOf.get(classId) ?? []);
      truthsOf.delete(classId);
    }
    for (const [classId, some] of truthsOf) this.#match(this.#tallies[classId]!, [], some);
  }

  #match(tally: Tally, found: readonly Found[], truths: readonly Truth[]): void {
    const areas = found.map((one) => this.#measure.area(one));
    const likeness = found.map((one) => truths.map((truth) => this.#measure.likeness(one, truth)));
    for (const [rank, { score }] of found.entries()) {
      tally.scores.push(score);
      tally.ranks.push(rank);
    }
    for (const [at, name] of AREA_NAMES.entries()) {
      const [least, most] = AREAS[name];
      const isOutside = (area: number): boolean => area < least || area > most;
      const ignored = truths.map((truth) => this.#measure.isIgnored(truth) || isOutside(truth.area));
      tally.truths[at]! += ignored.filter((is) => !is).length;
      const words = areas.map((area) => (isOutside(area) ? 0 : ALL_WRONG));
      compare(likeness, truths, ignored, words);
      for (const word of words) tally.words[at]!.push(word);
    }
  }

  /** The figures of all images so far. */
  report(): PrecisionReport<Name> {
    const names = Object.keys(this.#measure.metrics) as Name[];
    const values = this.#tallies.map((tally) => this.#metricsOf(tally));
    const classes = this.#labels.flatMap((label, classId): ClassMetrics<Name>[] => {
      const objects = this.#tallies[classId]!.truths[0]!;
      return objects === 0 ? [] : [{ label, objects, ...values[classId]! }];
    });
    const overall = names.map((name) => [
      name,
      meanOf(values.map((value) => value[name]).filter((value) => !Number.isNaN(value))),
    ]);
    const objects = classes.reduce((sum, one) => sum + one.objects, 0);
    return { objects, ...(Object.fromEntries(overall) as Metrics<Name>), classes };
  }

  #metricsOf({ truths, scores, ranks, words }: Tally): Metrics<Name> {
    const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!);
    const ranked = words.map((some) => order.map((row) => some[row]!));
    const precisions = ranked.map((some, area) => precisionsOf(some, truths[area]!));
    const entries = Object.entries<Metric>(this.#measure.metrics).map(([name, metric]) => {
      const { of, at, area: areaName = "all", most = this.#measure.most } = metric;
      const area = AREA_NAMES.indexOf(areaName);
      const counted = (): number[] => words[area]!.filter((_, row) => ranks[row]! < most);
      const values = of === "precision" ? precisions[area]! : recallsOf(counted(), truths[area]!);
      return [name, at === undefined ? meanOf(values) : values[at]!];
    });
    return Object.fromEntries(entries) as Metrics<Name>;
  }
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Note for what is like a truth at which thresholds it is right. @param words of what was found, best first */
function compare(
  likeness: readonly (readonly number[])[],
  truths: readonly TrueObject[],
  ignored: readonly boolean[],
  words: number[],
): void {
  const taken = new Uint8Array(truths.length);
  // Those that count come first.
  const order = [...truths.keys()].sort((a, b) => Number(ignored[a]) - Number(ignored[b]));
  for (const [at, threshold] of THRESHOLDS.entries()) {
    taken.fill(0);
    for (const [row, likenesses] of likeness.entries()) {
      let best = threshold;
      let match = -1;
      for (const truth of order) {
        if (taken[truth] === 1 && !truths[truth]!.isCrowd) continue;
        if (match >= 0 && !ignored[match] && ignored[truth]) break;
        if (likenesses[truth]! < best) continue;
        best = likenesses[truth]!;
        match = truth;
      }
      if (match < 0) continue;
      taken[match] = 1;
      words[row] = (words[row]! & ~(1 << (at + WRONG))) | (ignored[match] ? 0 : 1 << at);
    }
  }
}

/** At each threshold: how many of the objects are found. */
function recallsOf(words: readonly number[], truths: number): number[] {
  return THRESHOLDS.map((_, at) => words.reduce((right, word) => right + ((word >>> at) & 1), 0) / truths);
}

/** At each threshold: the mean of the highest precision with at least a recall of 0, 0.01, … 1. @param words best score first */
function precisionsOf(words: readonly number[], truths: number): number[] {
  const precision = new Float64Array(words.length);
  const recall = new Float64Array(words.length);
  return THRESHOLDS.map((_, at) => {
    if (truths === 0) return Number.NaN;
    let right = 0;
    let wrong = 0;
    let length = 0;
    for (const both of words) {
      const word = both >>> at;
      if ((word & (1 | (1 << WRONG))) === 0) continue;
      right += word & 1;
      wrong += (word >>> WRONG) & 1;
      recall[length] = right / truths;
      precision[length++] = right / (right + wrong);
    }
    for (let row = length - 1; row > 0; row--) {
      if (precision[row]! > precision[row - 1]!) precision[row - 1] = precision[row]!;
    }
    let sum = 0;
    for (let step = 0, row = 0; step < RECALLS; step++) {
      while (row < length && recall[row]! < step * 0.01) row++;
      if (row === length) break;
      sum += precision[row]!;
    }
    return sum / RECALLS;
  });
}

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

/** The upright rectangle around points. @param points x and y in turns */
export function rectangleAround(points: readonly number[]): [x: number, y: number, width: number, height: number] {
  const xs = points.filter((_, at) => at % 2 === 0);
  const ys = points.filter((_, at) => at % 2 === 1);
  const least = (sides: readonly number[]): number => sides.reduce((a, b) => Math.min(a, b));
  const most = (sides: readonly number[]): number => sides.reduce((a, b) => Math.max(a, b));
  const [x, y] = [least(xs), least(ys)];
  return [x, y, most(xs) - x, most(ys) - y];
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
