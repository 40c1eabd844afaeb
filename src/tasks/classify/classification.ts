/** @module Classification: what an image is of, as a classifier's caller has it, and as text, JSON and tensors. */

import { BunTensorRtError, message } from "../../core/errors.ts";
import { round } from "../../core/units.ts";
import { labelOf } from "../../model/model-info.ts";
import type { FrameResult } from "../../runtime/job.ts";
import { drawShapes, type LabelledShape, paintCaptions, paintShapes } from "../detect/draw.ts";
import { type ResultForms, type TaskResult, tensorsOf, timingJson } from "../task-result.ts";
import type { BestClasses } from "./class-scores.ts";

/** A class that an image is of. */
export interface ImageClass {
  /** Name of the class, or `class 7` where the model has no name for it. */
  readonly label: string;
  readonly classId: number;
  /** 0–1. */
  readonly score: number;
}

/** What one image is of. */
export interface ClassificationResult extends TaskResult {
  readonly task: "classify";
  /** The best of the model's classes, best score first. None where no score is a number. */
  readonly classes: readonly ImageClass[];
}

/** Make a result of what a slot gave for an image. @param startedAt when it was asked for, by `performance.now()` */
export function classificationOf(
  { output, width, height, timings, damage }: FrameResult<BestClasses>,
  startedAt: number,
  labels: readonly string[],
): ClassificationResult {
  const { classIds, scores, count } = output;
  return {
    task: "classify",
    classes: Array.from({ length: count }, (_, at) => {
      const classId = classIds[at]!;
      return { label: labelOf(labels, classId), classId, score: scores[at]! };
    }),
    width,
    height,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}

function captions({ classes, width, height }: ClassificationResult): LabelledShape[] {
  return classes.map((found) => ({ ...found, box: [0, 0, width, height] }));
}

/** Results of classifiers. */
export const CLASSIFY_FORMS: ResultForms<ClassificationResult> = {
  noun: "class",
  count: ({ classes }) => classes.length,
  doubts: ({ classes }) => (classes.length === 0 ? ["no score is a number"] : []),
  columns: ["label", "class", "score"],
  rows: ({ classes }) => classes.map(({ label, classId, score }) => [label, String(classId), score.toFixed(4)]),
  csvColumns: ["label", "class", "score"],
  csvRows(result) {
    return this.rows(result);
  },
  json: ({ task, width, height, classes, timing, damage }) => ({
    task,
    width,
    height,
    classes: classes.map(({ label, classId, score }) => ({ label, classId, score: round(score, 6) })),
    timing: timingJson(timing),
    ...(damage === undefined ? {} : { damage }),
  }),
  yolo: ({ classes }) => classes.map(({ label, score }) => `${score.toFixed(2)} ${label}\n`).join(""),
  coco() {
    const found = "a classifier gives classes of the whole image, and no objects in it";
    throw new BunTensorRtError(message("write a results file of COCO", found));
  },
  deepstack({ classes: [first] }) {
    return { label: first?.label ?? "", confidence: round(first?.score ?? 0, 6) };
  },
  tensorForms: () => [
    { name: "scores", datatype: "FP32", shape: [-1] },
    { name: "classes", datatype: "INT64", shape: [-1] },
    { name: "labels", datatype: "BYTES", shape: [-1] },
  ],
  tensors: ({ classes }, forms) =>
    tensorsOf(forms, classes.length, [
      classes.map(({ score }) => score),
      classes.map(({ classId }) => classId),
      classes.map(({ label }) => label),
    ]),
  draw: (image, result, options) => drawShapes(image, captions(result), options, paintCaptions),
  paint: (image, result, options) => paintShapes(image, captions(result), options, paintCaptions),
};
