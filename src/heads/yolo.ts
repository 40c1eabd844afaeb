/** @module Heads `yolo`, `yolo-transposed` and `yolo-objectness`: a dense output before NMS, boxes as centre and size in pixels. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import {
  auxiliaryOutputs,
  classesAmong,
  type DenseReading,
  densePlan,
  isDeepStream,
  readDense,
} from "./dense-reading.ts";
import { type DensePlan, type Head, type ModelSpec, recognition } from "./head.ts";
import type { ModelTraits } from "./traits.ts";

/** Channels of a pose model of one class and 17 keypoints: without metadata nothing else tells it from 52 classes. */
const POSE_CHANNELS = 56;

/** COCO's 80 classes behind a box, and behind a box and objectness: without names these channels mean nothing else. */
const COCO_CHANNELS = 84;
const COCO_CHANNELS_WITH_OBJECTNESS = 85;

/** What differs from head to head. */
interface Kind {
  readonly channelAxis: 1 | 2;
  /** Channels before the classes: 4, or 5 with objectness. */
  readonly before: 4 | 5;
  /** Whether a model whose head the caller did not name is one of these. */
  readonly fits: (reading: DenseReading, traits: ModelTraits) => boolean;
  readonly score: (reading: DenseReading, classes: number) => DensePlan["score"];
}

function dense(name: string, summary: string, { channelAxis, before, fits, score }: Kind): Head<DensePlan> {
  return {
    name,
    summary,
    recognise(traits: ModelTraits): ModelSpec<DensePlan> | undefined {
      const reading = readDense(traits);
      if (reading?.channelAxis !== channelAxis) return undefined;
      const classes = classesAmong(reading, before, traits);
      if (classes === undefined || (!traits.forced && !fits(reading, traits))) return undefined;
      return recognition(name, traits, {
        outputs: [reading.output],
        auxiliary: auxiliaryOutputs(reading, before, classes, traits),
        preprocessing: YOLO_PREPROCESSING,
        classes,
        needsNms: true,
        plan: densePlan(reading, classes, score(reading, classes)),
      });
    },
    decode: decodeDense,
  };
}

function isOther(reading: DenseReading, traits: ModelTraits): boolean {
  return reading.rowsAreFinal || traits.family === "rtdetr" || isDeepStream(reading, traits);
}

/** As Ultralytics exports YOLOv5u, v8, 9, 11, 12, 13 and 26 without its end. A pose or segmentation model gives its boxes. */
export const yolo: Head<DensePlan> = dense(
  "yolo",
  "one output [N, 4+classes, anchors]: cx, cy, w, h in pixels, a probability a class (YOLOv5u, 8, 9, 11, 12, 13)",
  {
    channelAxis: 1,
    before: 4,
    fits: ({ channels }, { classes }) => classes !== undefined || channels !== POSE_CHANNELS,
    score: () => "class",
  },
);

/** As `yolo`, one anchor after the other. */
export const yoloTransposed: Head<DensePlan> = dense(
  "yolo-transposed",
  "one output [N, anchors, 4+classes]: cx, cy, w, h in pixels, a probability a class",
  {
    channelAxis: 2,
    before: 4,
    fits: (reading, traits) =>
      (reading.rowKind === "cells" || reading.rowKind === "dynamic") &&
      (traits.classes !== undefined || reading.channels !== COCO_CHANNELS_WITH_OBJECTNESS) &&
      !isOther(reading, traits),
    score: () => "class",
  },
);

/**
 * As YOLOv5, v6 and v7 export from their own repositories. Score objectness × class; with one class of YOLOv5 and v7, which do
 * not train it then, objectness alone. YOLOv6 has no objectness: it writes 1 in its place.
 *
 * @see https://github.com/WongKinYiu/yolov7 (utils/general.py, non_max_suppression)
 * @see https://github.com/meituan/YOLOv6 (yolov6/models/effidehead.py)
 */
export const yoloObjectness: Head<DensePlan> = dense(
  "yolo-objectness",
  "one output [N, anchors, 5+classes]: cx, cy, w, h in pixels, objectness, a probability a class (YOLOv5, 6, 7)",
  {
    channelAxis: 2,
    before: 5,
    // Three rows a cell are anchors, which always have objectness; one a cell is YOLOv6's, whose output is `outputs`.
    fits: (reading, traits) =>
      !isOther(reading, traits) &&
      (reading.rowKind === "anchors" ||
        (reading.rowKind === "cells" && reading.output.name === "outputs") ||
        (reading.rowKind === "dynamic" && (traits.classes !== undefined || reading.channels !== COCO_CHANNELS))),
    score({ rowKind, output }, classes) {
      const isYolov6 = rowKind === "cells" || (rowKind !== "anchors" && output.name === "outputs");
      return classes === 1 && !isYolov6 ? "objectness" : "product";
    },
  },
);
