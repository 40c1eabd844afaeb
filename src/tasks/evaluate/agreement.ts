/** @module Agreement: how alike the results of two models are, where the first is the teacher of the second. */

import { labelOf } from "../../model/model-info.ts";
import type { ClassificationResult } from "../classify/classification.ts";
import type { Detection, DetectionResult } from "../detect/detection.ts";
import { boxIou } from "../detect/nms.ts";
import type { ObjectResult, OrientedObject, PoseObject, SegmentedObject } from "../objects/objects.ts";
import { MOST_CLASSES, matchClasses, objectEvaluator } from "./evaluation.ts";
import { type AnnotatedObject, MEASURES, type MeasuredTask } from "./measures.ts";

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
