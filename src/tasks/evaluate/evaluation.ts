/** @module Evaluation: what a model's results over a dataset come to, by task. */

import { BunTensorRtError, message } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { missingFile, statsOf } from "../../core/paths.ts";
import { plural } from "../../core/units.ts";
import { labelOf } from "../../model/model-info.ts";
import type { ClassificationResult } from "../classify/classification.ts";
import type { DetectionResult } from "../detect/detection.ts";
import type { ObjectResult } from "../objects/objects.ts";
import { AveragePrecision, type FoundObject, type Measure } from "./average-precision.ts";
import { openCoco } from "./coco-data.ts";
import { type DatasetRequest, datasetError, type ObjectDataset } from "./dataset.ts";
import { type AnnotatedObject, MEASURES, type MeasuredTask, type MetricsOfTask } from "./measures.ts";
import { openYolo } from "./yolo-data.ts";

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
