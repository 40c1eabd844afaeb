/** @module Evaluate: how well a model does on a dataset. */

import { ArgumentError, ImageError, message } from "../core/errors.ts";
import { received } from "../core/options.ts";
import { USUAL_SELECTION } from "../tasks/detect/nms.ts";
import { MEASURES } from "../tasks/evaluate/average-precision.ts";
import { type Dataset, openClassFolder } from "../tasks/evaluate/dataset.ts";
import {
  type Classes,
  classEvaluator,
  type Evaluation,
  MOST_CLASSES,
  matchClasses,
  objectEvaluator,
  openObjects,
} from "../tasks/evaluate/evaluation.ts";
import type { TaskResult } from "../tasks/task-result.ts";
import { nmsOptionsOf } from "./call-options.ts";
import {
  type DetectOptions,
  EVALUATE_THRESHOLD,
  type EvaluateOptions,
  parseEvaluateOptions,
  type StreamOptions,
} from "./detector-config.ts";
import { type AnyDetector, TopDownPoseEstimator } from "./object-model.ts";
import type { ClassifyStreamOptions } from "./whole-image-config.ts";
import type { Classifier } from "./whole-image-models.ts";

/** A model whose results can be scored: one of objects, or a classifier. */
export type EvaluatedModel = AnyDetector | Classifier;

/** What one run of a model over a dataset takes. */
interface Run {
  readonly images: readonly string[];
  results(options: Pick<StreamOptions, "onError" | "signal">): AsyncIterable<TaskResult & { readonly index: number }>;
  /** @throws {ImageError} If the ground truth is of another image */
  add(result: TaskResult & { readonly index: number }): void;
  report(): Evaluation;
}

/** What of the options says which images are run, and how. */
interface Asked {
  readonly images: string | undefined;
  readonly split: string | undefined;
  readonly selection: Omit<DetectOptions, "signal">;
}

function classesOf(model: EvaluatedModel, { names = model.labels }: Dataset<unknown>): Omit<Classes, "counted"> {
  const labels = model.labels.length > 0 ? model.labels : names;
  return { names, matched: matchClasses(labels, names) };
}

function classRun(model: Classifier, data: string, { split, selection }: Asked): Run {
  const dataset = openClassFolder(data, split);
  const evaluator = classEvaluator({ ...classesOf(model, dataset), counted: undefined });
  return {
    images: dataset.images,
    // What is said of detecting is refused here.
    results: (options) =>
      model.stream(dataset.images, { ...selection, top: MOST_CLASSES, ...options } as ClassifyStreamOptions),
    add: (result) => evaluator.add(result, dataset.truth(result.index, result)),
    report: () => evaluator.report(),
  };
}

function objectRun(model: AnyDetector, data: string, { images, split, selection }: Asked): Run {
  const dataset = openObjects(data, { task: model.task, images, split, classes: model.labels.length });
  const { names, matched } = classesOf(model, dataset);
  const { classes, threshold = EVALUATE_THRESHOLD } = selection;
  const { classIds } = nmsOptionsOf({ ...USUAL_SELECTION, classes }, model.labels);
  const counted = classIds === undefined ? undefined : new Set([...classIds].flatMap((id) => matched[id] ?? []));
  const evaluator = objectEvaluator(model.task, { names, matched, counted });
  return {
    images: dataset.images,
    results: (options) => model.stream(dataset.images, { ...selection, threshold, ...options }),
    add: (result) => evaluator.add(result, dataset.truth(result.index, result)),
    report: () => evaluator.report(),
  };
}

/** @throws {ArgumentError} If it is no model that was loaded, or no path */
function refuseOthers(model: unknown, data: unknown): void {
  const isModel = typeof model === "object" && model !== null && "task" in model;
  if (isModel && typeof data === "string") return;
  const [noun, value, hint] = isModel
    ? ["the dataset", data, "give the path of its annotations, of its `data.yaml`, or of its folder"]
    : ["the model", model, "load it first: `await Detector.load(path)`"];
  throw new ArgumentError(message("evaluate a model", `${noun} is ${received("", value)}`, hint));
}

/** @throws {ArgumentError} If a model is of a task that has no figures, or does not find its objects itself */
function refuseUnscored(model: EvaluatedModel | TopDownPoseEstimator): void {
  const isTopDown = model instanceof TopDownPoseEstimator;
  if (!isTopDown && (model.task === "classify" || Object.hasOwn(MEASURES, model.task))) return;
  const found = isTopDown
    ? "it finds the points of boxes that it is given"
    : `it is of the task ${JSON.stringify(model.task)}`;
  const hint = "evaluate a model of objects, such as a `PoseEstimator`, or a classifier";
  throw new ArgumentError(message(`evaluate a ${model.constructor.name}`, found, hint));
}

/**
 * Score a model on a dataset: average precision of objects as pycocotools' `COCOeval` has it, or how many images a classifier
 * says right. Images are read one by one; what is kept of each object is a few numbers.
 *
 * An object counts once, by its best class, as `detect` gives it. Oriented boxes are compared by their probabilistic IoU, as
 * Ultralytics compares them. Classes are matched by name.
 *
 * @param model loaded for the task of the dataset
 * @param data  annotations in COCO's form (`.json`); a `data.yaml` of Ultralytics, or its folder; for a classifier a folder with a
 *   folder of images for each class
 * @throws {ArgumentError} If the model is none of these
 * @throws {OptionError} If an option is unknown or out of range
 * @throws {BunTensorRtError} If the dataset cannot be read, or has none of the model's classes
 * @throws {ImageError} The first image's that cannot be read; `onError` keeps the others' results
 * @throws the reason of `options.signal`
 *
 * @example Mask AP on COCO
 * ```ts
 * import { evaluate, Segmenter } from "bun-tensorrt";
 *
 * await using segmenter = await Segmenter.load("yolo11n-seg");
 * const { metrics } = await evaluate(segmenter, "annotations/instances_val2017.json", { images: "val2017" });
 * console.log(metrics.mask.AP, metrics.mask.AP50);
 * for (const { label, objects, AP } of metrics.mask.classes) console.log(label, objects, AP);
 * ```
 */
export async function evaluate<Task extends EvaluatedModel["task"]>(
  model: EvaluatedModel & { readonly task: Task },
  data: string,
  options: EvaluateOptions = {},
): Promise<Extract<Evaluation, { readonly task: Task }>> {
  refuseOthers(model, data);
  const { images, split, onProgress, onError, signal, ...selection } = parseEvaluateOptions(options);
  const asked = { images, split, selection };
  const scored: EvaluatedModel = model;
  refuseUnscored(scored);
  const run = scored.task === "classify" ? classRun(scored, data, asked) : objectRun(scored, data, asked);
  const total = run.images.length;
  let done = 0;
  const onBadImage = (error: unknown, index: number): void => {
    if (onError === undefined || !(error instanceof ImageError)) throw error;
    onError(error, run.images[index]!);
    onProgress?.(++done, total);
  };
  for await (const result of run.results({ onError: onBadImage, signal })) {
    try {
      run.add(result);
    } catch (error) {
      onBadImage(error, result.index);
      continue;
    }
    onProgress?.(++done, total);
  }
  return run.report() as Extract<Evaluation, { readonly task: Task }>;
}
