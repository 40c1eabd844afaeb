/** @module Heads `yolo`, `yolo-transposed` and `yolo-objectness`: a dense output before NMS, boxes as centre and size in pixels. */

import { decodeDense } from "./dense.ts";
import {
  COCO_CHANNELS_WITH_OBJECTNESS,
  cellCount,
  type DenseReading,
  densePlan,
  hasGridRows,
  isDeepStream,
  isNanodetPlus,
  isOfModelScope,
  isOfPaddle,
  isTurnedAnchors,
  readClasses,
} from "./dense-reading.ts";
import { type DensePlan, defineHead, type Head } from "./head.ts";
import type { ModelTraits } from "./traits.ts";

/** COCO's 80 classes behind a box: without names these channels mean nothing else. */
const COCO_CHANNELS = 84;

/**
 * Channels that without names may be more than a box and classes: one class and 17 keypoints; COCO's classes with objectness or an
 * angle; COCO's classes with the coefficients of masks; the same with objectness.
 */
const CHANNELS_OF_OTHERS: readonly number[] = [56, COCO_CHANNELS_WITH_OBJECTNESS, 116, 117];

/** True where other things than classes may be behind a box, and no names tell. */
export function isOpenToOthers({ channelAxis, channels, hasMasks }: DenseReading, { classes }: ModelTraits): boolean {
  return channelAxis === 1 && classes === undefined && !hasMasks && CHANNELS_OF_OTHERS.includes(channels);
}

function isOther(reading: DenseReading, traits: ModelTraits): boolean {
  const isFinal = reading.rowsAreFinal || traits.family === "rtdetr";
  return isFinal || isDeepStream(reading, traits) || isNanodetPlus(reading, traits);
}

/** As Ultralytics exports YOLOv5u, v8, 9, 11, 12, 13 and 26 without its end. A pose or segmentation model gives its boxes. */
export const yolo: Head<DensePlan> = defineHead(
  "yolo",
  "one output [N, 4+classes, anchors]: cx, cy, w, h in pixels, a probability a class (YOLOv5u, 8, 9, 11, 12, 13)",
  decodeDense,
  (traits) => {
    const found = readClasses(traits, 4, 1);
    if (found === undefined) return undefined;
    const { reading, parts } = found;
    if (!traits.forced && (isOpenToOthers(reading, traits) || isTurnedAnchors(reading))) return undefined;
    return { ...parts, plan: densePlan(reading, parts.classes, "class") };
  },
);

/** As `yolo`, one anchor after the other. */
export const yoloTransposed: Head<DensePlan> = defineHead(
  "yolo-transposed",
  "one output [N, anchors, 4+classes]: cx, cy, w, h in pixels, a probability a class",
  decodeDense,
  (traits) => {
    const found = readClasses(traits, 4, 2);
    if (found === undefined) return undefined;
    const { reading, parts } = found;
    const isOfCoco = traits.classes === undefined && reading.channels === COCO_CHANNELS_WITH_OBJECTNESS;
    const isCorners = isOfPaddle(reading.output, traits) || isOfModelScope(reading, traits);
    if (!traits.forced && (!hasGridRows(reading) || isOfCoco || isCorners || isOther(reading, traits)))
      return undefined;
    return { ...parts, plan: densePlan(reading, parts.classes, "class") };
  },
);

/** Strides of YOLOv5 without its coarsest map. */
const P34: readonly number[] = [8, 16];

/**
 * Three rows a cell are anchors, which always have objectness; one a cell is YOLOv6's, whose output is `outputs`. As many rows as
 * two maps have may be chosen ones, unless the names tell how many columns there are.
 */
function hasObjectness({ rowKind, output, channels, rows }: DenseReading, { classes, shapesAt }: ModelTraits): boolean {
  if (rowKind === "cells") return output.name === "outputs";
  if (rowKind === "other" && classes === channels - 5) return rows === 3 * cellCount(...shapesAt, P34);
  return rowKind === "anchors" || (rowKind === "dynamic" && (classes !== undefined || channels !== COCO_CHANNELS));
}

/**
 * As YOLOv5, v6 and v7 export from their own repositories. Score objectness × class; with one class of YOLOv5 and v7, which do
 * not train it then, objectness alone. YOLOv6 has no objectness: it writes 1 in its place.
 *
 * @see https://github.com/WongKinYiu/yolov7 (utils/general.py, non_max_suppression)
 * @see https://github.com/meituan/YOLOv6 (yolov6/models/effidehead.py)
 */
export const yoloObjectness: Head<DensePlan> = defineHead(
  "yolo-objectness",
  "one output [N, anchors, 5+classes]: cx, cy, w, h in pixels, objectness, a probability a class (YOLOv5, 6, 7)",
  decodeDense,
  (traits) => {
    const found = readClasses(traits, 5, 2);
    if (found === undefined) return undefined;
    const { reading, parts } = found;
    if (!traits.forced && (isOther(reading, traits) || !hasObjectness(reading, traits))) return undefined;
    const { rowKind, output } = reading;
    const isYolov6 = rowKind === "cells" || (rowKind !== "anchors" && output.name === "outputs");
    const score = parts.classes === 1 && !isYolov6 ? "objectness" : "product";
    const plan = densePlan(reading, parts.classes, score);
    // The rows of any other exporter may be called so, too.
    return { ...parts, plan: rowKind === "cells" && !traits.forced ? { ...plan, isObjectnessOne: true } : plan };
  },
);
