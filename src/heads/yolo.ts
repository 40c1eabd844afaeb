/** @module Head `yolo`: [N, 4+classes, anchors], as Ultralytics exports YOLOv5u, v8, 9, 11, 12, 13 and 26 without its end. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { auxiliaryOutputs, classesAmong, densePlan, readDense } from "./dense-reading.ts";
import { type DensePlan, type Head, type ModelSpec, recognition } from "./head.ts";
import type { ModelTraits } from "./traits.ts";

/** Channels of a pose model of one class and 17 keypoints: without metadata nothing else tells it from 52 classes. */
const POSE_CHANNELS = 56;

/** Boxes cx, cy, w, h in input pixels; probabilities; no objectness. A pose or segmentation model gives its boxes. */
export const yolo: Head<DensePlan> = {
  name: "yolo",
  summary:
    "one output [N, 4+classes, anchors]: cx, cy, w, h in pixels, a probability a class (YOLOv5u, 8, 9, 11, 12, 13)",
  recognise(traits: ModelTraits): ModelSpec<DensePlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 1) return undefined;
    if (traits.classes === undefined && reading.channels === POSE_CHANNELS && !traits.forced) return undefined;
    const classes = classesAmong(reading, 4, traits);
    if (classes === undefined) return undefined;
    return recognition(yolo, traits, {
      outputs: [reading.output],
      auxiliary: auxiliaryOutputs(reading, 4, classes, traits),
      preprocessing: YOLO_PREPROCESSING,
      classes,
      needsNms: true,
      plan: densePlan(reading, classes, "class"),
    });
  },
  decode: decodeDense,
};
