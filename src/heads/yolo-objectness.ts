/** @module Head `yolo-objectness`: [N, anchors, 5+classes], as YOLOv5, v6 and v7 export from their own repositories. */

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

/** COCO's 80 classes without objectness. */
const COCO_WITHOUT_OBJECTNESS = 84;

/** Three rows a cell are anchors, which always have objectness; one a cell is YOLOv6's, whose output is `outputs`. */
function fits(reading: DenseReading, traits: ModelTraits): boolean {
  if (reading.rowsAreFinal || traits.family === "rtdetr" || isDeepStream(reading, traits)) return false;
  if (reading.rowKind === "anchors") return true;
  if (reading.rowKind === "cells") return reading.output.name === "outputs";
  return (
    reading.rowKind === "dynamic" && (traits.classes !== undefined || reading.channels !== COCO_WITHOUT_OBJECTNESS)
  );
}

/**
 * What makes the score. YOLOv7 and v5 do not train the class where there is one alone, and YOLOv6 has no objectness: it
 * writes 1 in its place.
 */
function scoreOf({ rowKind, output }: DenseReading, classes: number): DensePlan["score"] {
  const isYolov6 = rowKind === "cells" || (rowKind !== "anchors" && output.name === "outputs");
  return classes === 1 && !isYolov6 ? "objectness" : "product";
}

/**
 * Boxes cx, cy, w, h in input pixels; score objectness × class. With one class of YOLOv5 and v7 it is objectness alone.
 *
 * @see https://github.com/WongKinYiu/yolov7 (utils/general.py, non_max_suppression)
 * @see https://github.com/meituan/YOLOv6 (yolov6/models/effidehead.py)
 */
export const yoloObjectness: Head<DensePlan> = {
  name: "yolo-objectness",
  summary:
    "one output [N, anchors, 5+classes]: cx, cy, w, h in pixels, objectness, a probability a class (YOLOv5, 6, 7)",
  recognise(traits: ModelTraits): ModelSpec<DensePlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2) return undefined;
    const classes = classesAmong(reading, 5, traits);
    if (classes === undefined || (!traits.forced && !fits(reading, traits))) return undefined;
    return recognition(yoloObjectness, traits, {
      outputs: [reading.output],
      auxiliary: auxiliaryOutputs(reading, 5, classes, traits),
      preprocessing: YOLO_PREPROCESSING,
      classes,
      needsNms: true,
      plan: densePlan(reading, classes, scoreOf(reading, classes)),
    });
  },
  decode: decodeDense,
};
