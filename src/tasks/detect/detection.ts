/** @module Detection: what a detector hands to its caller, and the same as text, JSON, tensors and drawings. */

import { plural, round } from "../../core/units.ts";
import { labelOf } from "../../model/model-info.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { FrameResult } from "../../runtime/backend.ts";
import { type Box, crop } from "../boxes.ts";
import {
  type ResultForms,
  type ResultTensor,
  type TaskResult,
  type TensorForm,
  type Timing,
  tensorsOf,
  timingJson,
} from "../task-result.ts";
import { drawDetections, paintDetections } from "./draw.ts";

/** One object found in an image. */
export interface Detection {
  /** Name of the class, or `class 7` where the model has no name for it. */
  readonly label: string;
  readonly classId: number;
  /** 0–1. */
  readonly score: number;
  readonly box: Box;
  /** Of the track it belongs to, where objects are followed through a stream: see `bun-tensorrt/track`. */
  readonly trackId?: number;
  /** The last centres of its track in source pixels, oldest first, where the tracker's option `trace` asks for them. */
  readonly trace?: readonly (readonly [x: number, y: number])[];
}

/** What was found in one image. */
export interface DetectionResult extends TaskResult {
  /** Best score first. */
  readonly detections: readonly Detection[];
  /** Rows the model gave that were left out because a score, a coordinate, a point or, on the CPU, what a mask is made of was NaN. */
  readonly dropped: number;
  /**
   * How many of the detections cannot be right: a score above 1, a box outside the image, or all of them alike. Then the head
   * or the pre-processing is another than assumed; the log says so once.
   */
  readonly implausible: number;
}

/** Copy the kept rows of a block into objects. */
export function detectionsOf(block: DetectionBlock, labels: readonly string[]): Detection[] {
  const detections: Detection[] = new Array(block.count);
  for (let row = 0; row < block.count; row++) {
    const classId = block.classIds[row]!;
    const at = row * 4;
    detections[row] = {
      label: labelOf(labels, classId),
      classId,
      score: block.scores[row]!,
      box: [block.boxes[at]!, block.boxes[at + 1]!, block.boxes[at + 2]!, block.boxes[at + 3]!],
    };
  }
  return detections;
}

/** Make a result of what a slot gave for an image. @param startedAt when it was asked for, by `performance.now()` */
export function resultOf(
  { output: block, width, height, timings, damage }: FrameResult<DetectionBlock>,
  startedAt: number,
  labels: readonly string[],
): DetectionResult {
  return {
    detections: detectionsOf(block, labels),
    width,
    height,
    dropped: block.dropped,
    implausible: block.implausible,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}

/** One object in JSON. */
export interface DetectionJson {
  readonly label: string;
  readonly classId: number;
  /** 0–1, six digits. */
  readonly score: number;
  /** `[x1, y1, x2, y2]` in source pixels, three digits. */
  readonly box: readonly number[];
  /** Of its track; absent where objects are not followed. */
  readonly trackId?: number;
}

/** What one image becomes in JSON. */
export interface ResultJson {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Best score first. */
  readonly detections: readonly DetectionJson[];
  /** Rows skipped because a score, a coordinate, a point or a mask was NaN. */
  readonly dropped: number;
  /** Detections that cannot be right; see `DetectionResult`. */
  readonly implausible: number;
  /** Milliseconds by stage, three digits. */
  readonly timing: Timing;
  /** Why some of the image's pixels are not those of its file; absent where all are. */
  readonly damage?: string;
}

/** A result as an object for `JSON.stringify`; keys in this order. */
function resultJson({ width, height, detections, dropped, implausible, timing, damage }: DetectionResult): ResultJson {
  return {
    width,
    height,
    detections: detections.map(({ label, classId, score, box, trackId }) => ({
      label,
      classId,
      score: round(score, 6),
      box: box.map((side) => round(side, 3)),
      ...(trackId === undefined ? {} : { trackId }),
    })),
    dropped,
    implausible,
    timing: timingJson(timing),
    ...(damage === undefined ? {} : { damage }),
  };
}

/** A box in a label file: x and y of its centre, width and height, as fractions of the image's. */
export function yoloSides({ box: [x1, y1, x2, y2] }: Detection, { width, height }: TaskResult): number[] {
  return [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height];
}

/** A line of a label file; the id of a track comes last. @param numbers what it says between class and score */
export function labelLine(
  { classId, score, trackId }: Detection,
  numbers: readonly number[],
  hasScore: boolean,
): string {
  const texts = [...numbers, ...(hasScore ? [score] : [])].map((number) => number.toFixed(6));
  return `${[classId, ...texts, ...(trackId === undefined ? [] : [trackId])].join(" ")}\n`;
}

/** What every task says of its objects. */
export const BOX_TENSORS: readonly TensorForm[] = [
  { name: "boxes", datatype: "FP32", shape: [-1, 4] },
  { name: "scores", datatype: "FP32", shape: [-1] },
  { name: "classes", datatype: "INT64", shape: [-1] },
  { name: "labels", datatype: "BYTES", shape: [-1] },
];

/** The values of {@linkcode BOX_TENSORS}. */
export function boxValues(detections: readonly Detection[]): ResultTensor["values"][] {
  return [
    detections.flatMap(({ box }) => box),
    detections.map(({ score }) => score),
    detections.map(({ classId }) => classId),
    detections.map(({ label }) => label),
  ];
}

/** Results of detectors. */
export const DETECT_FORMS: ResultForms<DetectionResult> = {
  noun: "object",
  count: ({ detections }) => detections.length,
  doubts: ({ dropped, implausible }) => [
    ...(dropped > 0 ? [`${plural(dropped, "row")} with NaN skipped`] : []),
    ...(implausible > 0 ? [`${implausible} implausible`] : []),
  ],
  columns: ["label", "score", "x1", "y1", "x2", "y2"],
  rows: ({ detections }) =>
    detections.map(({ label, score, box }) => [label, score.toFixed(3), ...box.map((side) => side.toFixed(1))]),
  csvColumns: ["label", "class", "score", "x1", "y1", "x2", "y2"],
  csvRows: ({ detections }) =>
    detections.map(({ label, classId, score, box }) => [
      label,
      ...[classId, round(score, 6), ...box.map((side) => round(side, 3))].map(String),
    ]),
  json: resultJson,
  yolo: (image, hasScores = true) =>
    image.detections.map((found) => labelLine(found, yoloSides(found, image), hasScores)).join(""),
  coco: ({ detections }, image_id, categoryId) =>
    detections.flatMap(({ classId, score, box: [x1, y1, x2, y2], trackId }) => {
      const category_id = categoryId(classId);
      if (category_id === undefined) return [];
      const bbox = [x1, y1, x2 - x1, y2 - y1].map((side) => round(side, 3));
      const track = trackId === undefined ? {} : { track_id: trackId };
      return [{ image_id, category_id, bbox, score: round(score, 6), ...track }];
    }),
  *cutOuts(image, { detections, width, height }) {
    for (const [place, { label, box }] of detections.entries()) {
      const [x1, y1, x2, y2] = box;
      const isInside = x1 < width && y1 < height && x2 > 0 && y2 > 0 && x1 < x2 && y1 < y2;
      if (isInside) yield { label, place, image: crop(image, box) };
    }
  },
  deepstack: ({ detections }) => ({
    // Its clients take whole pixels.
    predictions: detections.map(({ label, score, box }) => {
      const [x_min, y_min, x_max, y_max] = box.map(Math.trunc);
      return { label, confidence: round(score, 6), x_min, y_min, x_max, y_max };
    }),
    count: detections.length,
  }),
  tensorForms: () => BOX_TENSORS,
  tensors: ({ detections }, forms) => tensorsOf(forms, detections.length, boxValues(detections)),
  draw: (image, { detections }, options) => drawDetections(image, detections, options),
  paint: (image, { detections }, options) => paintDetections(image, detections, options),
};
