/**
 * @module Evaluation: what a model's results over a dataset come to, by task, and how alike those of two models are, where
 * the first is the teacher of the second.
 */

import { BunTensorRtError, message } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { missingFile, statsOf } from "../../core/paths.ts";
import { plural } from "../../core/units.ts";
import { labelOf } from "../../model/model-info.ts";
import type { ClassificationResult } from "../classify/classify-task.ts";
import type { Detection, DetectionResult } from "../detect/detection.ts";
import { boxIou } from "../detect/nms.ts";
import type { ObjectResult, OrientedObject, PoseObject, SegmentedObject } from "../objects/objects.ts";
import { openCoco, openYolo } from "./annotations.ts";
import {
  type AnnotatedObject,
  AveragePrecision,
  type FoundObject,
  MEASURES,
  type Measure,
  type MeasuredTask,
  type MetricsOfTask,
} from "./average-precision.ts";
import { type DatasetRequest, datasetError, type ObjectDataset } from "./dataset.ts";

/** How well a model of objects does on a dataset. */
export interface ObjectEvaluation<Task extends MeasuredTask = MeasuredTask> {
  readonly task: Task;
  /** Images that were scored. */
  readonly images: number;
  /** Objects of the ground truth in them, but for regions of crowds. */
  readonly objects: number;
  /** Figures as pycocotools' `COCOeval` has them, by what is compared. */
  readonly metrics: MetricsOfTask[Task];
}

/** How many images of a class, or of all, a classifier says right. */
export interface ClassAccuracy {
  readonly images: number;
  /** Share of them whose class is the first, 0–1. */
  readonly top1: number;
  /** Share of them whose class is among the first five, 0–1. */
  readonly top5: number;
}

/** How well a classifier does on a dataset. */
export interface ClassEvaluation extends ClassAccuracy {
  readonly task: "classify";
  readonly classes: readonly (ClassAccuracy & { readonly label: string })[];
}

/** How well a model does on a dataset; `task` says which figures there are. */
export type Evaluation = { [Task in MeasuredTask]: ObjectEvaluation<Task> }[MeasuredTask] | ClassEvaluation;

/** More names than these are counted. */
const MOST_NAMES = 5;

function listOf(names: readonly string[]): string {
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  return `${names.slice(0, MOST_NAMES).join(", ")}${more}`;
}

/**
 * The dataset's class for each of a model's: that of the same name, whatever the case; where no name is the same, that of the
 * same number.
 *
 * @param labels the model's, by class id
 * @param names  the dataset's
 * @returns by the model's class id; `undefined` for a class that the dataset has not
 * @throws {BunTensorRtError} If no name is the same, and they are not as many
 */
export function matchClasses(labels: readonly string[], names: readonly string[]): (number | undefined)[] {
  const keyOf = (name: string): string => name.trim().toLowerCase();
  const ids = new Map(names.map((name, id) => [keyOf(name), id]));
  const matched = labels.map((label) => ids.get(keyOf(label)));
  const found = new Set(matched);
  const missing = names.filter((_, id) => !found.has(id));
  if (missing.length < names.length) {
    if (missing.length > 0)
      logger.warn(`The model has no class for ${plural(missing.length, "class")} of the dataset: ${listOf(missing)}`);
    return matched;
  }
  if (labels.length === names.length) {
    logger.warn(
      `Matched classes by number: no name is the same; the model has ${listOf(labels)}, the dataset ${listOf(names)}`,
    );
    return [...labels.keys()];
  }
  const text = `none of the dataset's ${plural(names.length, "class")} is one of the model's ${labels.length}`;
  const hint = "give the model's names with `labels` (--labels)";
  throw new BunTensorRtError(message("match the classes of the dataset", text, hint));
}

/**
 * A dataset of objects, in whichever form a path has.
 *
 * @param path annotations in COCO's form (`.json`), a description (`data.yaml`) of Ultralytics' form, or a folder with one, or with
 *   `images` and `labels`
 * @throws {BunTensorRtError} If it is none, or cannot be read
 */
export function openObjects(path: string, request: DatasetRequest): ObjectDataset {
  if (statsOf(path) === undefined) {
    const { found, hint } = missingFile(path);
    throw datasetError(path, found, hint);
  }
  return /\.json$/i.test(path) ? openCoco(path, request) : openYolo(path, request);
}

/** What takes results one by one, and sums them up. */
interface Evaluator<Truth> {
  /** Add an image. @param result of the task that the evaluator is for */
  add(result: object, truth: Truth): void;
  report(): Evaluation;
}

/** A dataset's classes beside a model's. */
export interface Classes {
  /** Class names of the dataset. */
  readonly names: readonly string[];
  /** See {@linkcode matchClasses}. */
  readonly matched: readonly (number | undefined)[];
  /** The dataset's classes that count; `undefined` for all. */
  readonly counted: ReadonlySet<number> | undefined;
}

/** Of objects. */
export function objectEvaluator(
  task: MeasuredTask,
  { names, matched, counted }: Classes,
): Evaluator<readonly AnnotatedObject[]> {
  const scorers = Object.entries(MEASURES[task]).map(
    ([name, measure]) => [name, new AveragePrecision(measure as Measure<FoundObject, AnnotatedObject>, names)] as const,
  );
  let images = 0;
  let objects = 0;
  return {
    add(result, truth) {
      const given = result as DetectionResult | ObjectResult;
      const found = ("objects" in given ? given.objects : given.detections).flatMap((object): FoundObject[] => {
        const classId = matched[object.classId];
        return classId === undefined ? [] : [{ ...object, classId }];
      });
      const wanted = counted === undefined ? truth : truth.filter(({ classId }) => counted.has(classId));
      images += 1;
      objects += wanted.filter(({ isCrowd }) => !isCrowd).length;
      for (const [, scorer] of scorers) scorer.add(found, wanted);
    },
    report() {
      const metrics = Object.fromEntries(scorers.map(([name, scorer]) => [name, scorer.report()]));
      return { task, images, objects, metrics } as unknown as Evaluation;
    },
  };
}

/** As many classes as `top5` looks at. */
export const MOST_CLASSES = 5;

/** Of classes of images. */
export function classEvaluator({ names, matched }: Classes): Evaluator<number> {
  const tallies = names.map(() => ({ images: 0, first: 0, five: 0 }));
  const accuracy = (some: readonly { images: number; first: number; five: number }[]): ClassAccuracy => {
    const sum = (key: "images" | "first" | "five"): number => some.reduce((total, tally) => total + tally[key], 0);
    return { images: sum("images"), top1: sum("first") / sum("images"), top5: sum("five") / sum("images") };
  };
  return {
    add(result, truth) {
      const ids = (result as ClassificationResult).classes
        .slice(0, MOST_CLASSES)
        .map(({ classId }) => matched[classId]);
      const tally = tallies[truth]!;
      tally.images += 1;
      tally.first += Number(ids[0] === truth);
      tally.five += Number(ids.includes(truth));
    },
    report() {
      const classes = tallies.map((tally, id) => ({ label: labelOf(names, id), ...accuracy([tally]) }));
      return { task: "classify", ...accuracy(tallies), classes: classes.filter(({ images }) => images > 0) };
    },
  };
}

/** How alike the objects of one image are. */
export interface ImageAgreement {
  readonly path: string;
  /** Objects of one class that overlap by an IoU of 0.5 or more. */
  readonly matched: number;
  readonly onlyFirst: number;
  readonly onlySecond: number;
  /** Mean IoU of those that match; `NaN` where none does. */
  readonly iou: number;
  /** Largest difference of the scores of two that match. */
  readonly scoreChange: number;
}

/** How alike the objects are that two models find. */
export interface ObjectAgreement {
  readonly kind: "objects";
  readonly matched: number;
  readonly onlyFirst: number;
  readonly onlySecond: number;
  readonly iou: number;
  readonly scoreChange: number;
  /** AP of the second model where the objects of the first are the truth, by what is measured: `box`, `mask`, `keypoints`, `obb`. */
  readonly ap: Readonly<Record<string, number>>;
  /** By image, in order. */
  readonly images: readonly ImageAgreement[];
}

/** How often two classifiers say the same. */
export interface ClassAgreement {
  readonly kind: "classes";
  /** Share of images whose first class is the same, 0–1. */
  readonly top1: number;
  /** Share of images whose first class is among the second model's first five. */
  readonly top5: number;
}

/** Overlap from which on two boxes are the same object. */
const LEAST_IOU = 0.5;
/** Classes of a model that has no names for them. */
const UNNAMED_CLASSES = 4096;

/** What a model says of its task and classes. */
interface Judged {
  readonly task: string;
  /** With the names of its classes, where it has some. */
  readonly recognition: object;
}

/** Sums up how alike results are, image by image. */
export interface Agreement {
  add(path: string, first: object, second: object): void;
  report(): ObjectAgreement | ClassAgreement;
}

/** The objects of a result, whatever the task. */
function objectsIn(result: object): readonly Detection[] {
  const found = result as DetectionResult | ObjectResult;
  return "objects" in found ? found.objects : found.detections;
}

/** An object that a model found, as the truth. */
function truthOf(object: Detection): AnnotatedObject {
  const [x1, y1, x2, y2] = object.box;
  const { mask } = object as Partial<SegmentedObject>;
  const { keypoints } = object as Partial<PoseObject>;
  const { xywhr } = object as Partial<OrientedObject>;
  return {
    classId: object.classId,
    area: mask?.area ?? (x2 - x1) * (y2 - y1),
    isCrowd: false,
    box: [x1, y1, x2 - x1, y2 - y1],
    ...(mask && { mask }),
    ...(keypoints && { keypoints: keypoints.flatMap(({ x, y }) => [x, y, 2]) }),
    ...(xywhr && { xywhr }),
  };
}

/** Match objects of one class, those that overlap most first. */
function matchObjects(path: string, first: readonly Detection[], second: readonly Detection[]): ImageAgreement {
  const pairs = first.flatMap((a, at) =>
    second.flatMap((b, to) => {
      const iou = a.classId === b.classId ? boxIou(a.box, b.box) : 0;
      return iou < LEAST_IOU ? [] : [{ at, to, iou, change: Math.abs(a.score - b.score) }];
    }),
  );
  pairs.sort((a, b) => b.iou - a.iou || a.at - b.at || a.to - b.to);
  const [taken, given] = [new Set<number>(), new Set<number>()];
  let sum = 0;
  let scoreChange = 0;
  for (const { at, to, iou, change } of pairs) {
    if (taken.has(at) || given.has(to)) continue;
    taken.add(at);
    given.add(to);
    sum += iou;
    scoreChange = Math.max(scoreChange, change);
  }
  const matched = taken.size;
  return {
    path,
    matched,
    onlyFirst: first.length - matched,
    onlySecond: second.length - matched,
    iou: matched === 0 ? Number.NaN : sum / matched,
    scoreChange,
  };
}

function objectAgreement(task: MeasuredTask, labels: readonly (readonly string[])[], threshold: number): Agreement {
  const [first = [], second = []] = labels;
  const names = first.length > 0 ? first : Array.from({ length: UNNAMED_CLASSES }, (_, id) => labelOf([], id));
  // A model without names has the other's, by number.
  const matched = first.length > 0 && second.length > 0 ? matchClasses(second, names) : [...names.keys()];
  const evaluator = objectEvaluator(task, { names, matched, counted: undefined });
  const images: ImageAgreement[] = [];
  const isSure = ({ score }: Detection): boolean => score >= threshold;
  return {
    add(path, teacher, pupil) {
      const truths = objectsIn(teacher).filter(isSure);
      evaluator.add(pupil, truths.map(truthOf));
      const found = objectsIn(pupil).filter(isSure);
      const named = found.flatMap((object): Detection[] => {
        const classId = matched[object.classId];
        return classId === undefined ? [] : [{ ...object, classId }];
      });
      const alike = matchObjects(path, truths, named);
      images.push({ ...alike, onlySecond: alike.onlySecond + found.length - named.length });
    },
    report() {
      const { metrics } = evaluator.report() as { readonly metrics: Readonly<Record<string, { readonly AP: number }>> };
      const sum = (of: (image: ImageAgreement) => number): number => images.reduce((all, image) => all + of(image), 0);
      const all = sum((image) => image.matched);
      return {
        kind: "objects",
        matched: all,
        onlyFirst: sum((image) => image.onlyFirst),
        onlySecond: sum((image) => image.onlySecond),
        iou: all === 0 ? Number.NaN : sum(({ matched: count, iou }) => (count === 0 ? 0 : iou * count)) / all,
        scoreChange: images.reduce((most, image) => Math.max(most, image.scoreChange), 0),
        ap: Object.fromEntries(Object.entries(metrics).map(([name, { AP }]) => [name, AP])),
        images,
      };
    },
  };
}

function classAgreement(labels: readonly (readonly string[])[]): Agreement {
  const [first = [], second = []] = labels;
  const isNamed = first.length > 0 && second.length > 0;
  const matched = isNamed ? matchClasses(second, first) : undefined;
  let [images, top1, top5] = [0, 0, 0];
  return {
    add(_path, teacher, pupil) {
      const [best] = (teacher as ClassificationResult).classes;
      const ids = (pupil as ClassificationResult).classes
        .slice(0, MOST_CLASSES)
        .map(({ classId }) => (matched === undefined ? classId : matched[classId]));
      images += 1;
      top1 += Number(ids[0] === best?.classId);
      top5 += Number(ids.includes(best?.classId));
    },
    report: () => ({ kind: "classes", top1: top1 / images, top5: top5 / images }),
  };
}

function labelsOf({ recognition }: Judged): readonly string[] {
  return (recognition as { readonly labels?: readonly string[] }).labels ?? [];
}

/**
 * What sums up how alike two models are.
 *
 * @param threshold lowest score of the teacher's objects that are the truth
 * @returns `undefined` for models of neither objects nor classes
 */
export function agreementOf(teacher: Judged, pupil: Judged, threshold: number): Agreement | undefined {
  const labels = [labelsOf(teacher), labelsOf(pupil)];
  if (teacher.task === "classify") return classAgreement(labels);
  if (!Object.hasOwn(MEASURES, teacher.task)) return undefined;
  return objectAgreement(teacher.task as MeasuredTask, labels, threshold);
}

/** How much of the teacher the pupil lost: 1 less the lowest AP, or less the share of equal first classes. */
export function lossOf(agreement: ObjectAgreement | ClassAgreement): number {
  if (agreement.kind === "classes") return 1 - agreement.top1;
  const known = Object.values(agreement.ap).filter((value) => !Number.isNaN(value));
  // Where the teacher finds nothing, the pupil may find nothing.
  if (known.length === 0) return agreement.onlySecond > 0 ? 1 : 0;
  return 1 - Math.min(...known);
}
