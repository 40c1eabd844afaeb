/** @module ClassifyForms: what an image is of, as text, JSON and tensors. */

import { BunTensorRtError, message } from "../../core/errors.ts";
import { round } from "../../core/units.ts";
import { drawShapes, type LabelledShape, paintCaptions, paintShapes } from "../detect/draw.ts";
import { type ResultForms, tensorsOf, timingJson } from "../task-result.ts";
import type { ClassificationResult } from "./classification.ts";

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
