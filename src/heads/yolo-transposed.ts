/** @module Head `yolo-transposed`: [N, anchors, 4+classes], the YOLOv8 head with its last two axes swapped. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { auxiliaryOutputs, classesAmong, densePlan, isDeepStream, readDense } from "./dense-reading.ts";
import { type DensePlan, type Head, type ModelSpec, recognition } from "./head.ts";
import type { ModelTraits } from "./traits.ts";

/** COCO's 80 classes behind objectness: without names these channels mean YOLOv5, v7 or YOLOX, not 81 classes. */
const COCO_WITH_OBJECTNESS = 85;

/** As `yolo`, one anchor after the other. */
export const yoloTransposed: Head<DensePlan> = {
  name: "yolo-transposed",
  summary: "one output [N, anchors, 4+classes]: cx, cy, w, h in pixels, a probability a class",
  recognise(traits: ModelTraits): ModelSpec<DensePlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2) return undefined;
    const classes = classesAmong(reading, 4, traits);
    if (classes === undefined) return undefined;
    if (!traits.forced) {
      if (reading.rowKind !== "cells" && reading.rowKind !== "dynamic") return undefined;
      if (traits.classes === undefined && reading.channels === COCO_WITH_OBJECTNESS) return undefined;
      if (reading.rowsAreFinal || traits.family === "rtdetr" || isDeepStream(reading, traits)) return undefined;
    }
    return recognition(yoloTransposed, traits, {
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
