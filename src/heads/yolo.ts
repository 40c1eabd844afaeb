/**
 * @module Heads of YOLO's exports in one output: `yolo`, `yolo-transposed` and `yolo-objectness`, dense before NMS, boxes as centre and size in
 * pixels; `yolo-end-to-end`, `deepstream`, `yolov7-rows` and `yolo-nas-flat`, rows of a box, a score and a class.
 */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import {
  auxiliaryOutputs,
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
  MASK_CHANNELS,
  mayBeChosen,
  readClasses,
  readDense,
} from "./dense-reading.ts";
import { ASSUMED_NOT_EFFDET, mayBeOfEffdet } from "./efficientdet.ts";
import { defineHead, type Head, type ModelSpecParts, saying } from "./head.ts";
import type { DensePlan, RowsPlan } from "./plans.ts";
import { decodeRows, rowsPlan } from "./rows.ts";
import { isFloat, type ModelTraits } from "./traits.ts";

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

/** A box, a score and a class. */
const COLUMNS = 6;
/** Seventeen keypoints of x, y and confidence after the six. */
const POSE_COLUMNS = 57;

/** Rows of YOLOv10 and YOLO26, which are as many as some small input has cells: at 320 × 192 with strides 16 and 32. */
const USUAL_ROWS = 300;

/** What is assumed of DeepStream-Yolo's exports, whose families have the same tensors. */
const ASSUMED_OF_CELLS =
  "YOLO's pre-processing; DeepStream-Yolo's exports of YOLOX, RTMDet, PP-YOLOE, DAMO-YOLO and YOLO-NAS look alike and want " +
  `another: for YOLOX give ${saying({ fit: "letterbox-top-left", colour: "BGR", scale: 1 })}`;

/** The same where the rows are final. */
const ASSUMED_OF_FINAL_ROWS =
  "YOLO's pre-processing; DeepStream-Yolo's exports of RT-DETR, D-FINE and other DETRs look alike and want stretched " +
  `images: for these give ${saying({ fit: "stretch", resize: "antialias" })}`;

/** Ultralytics' grids have their channels first. Turned round they fit where there are two classes, which has another head. */
function isOfUltralytics({ channels, rowKind }: DenseReading, { family, task, classes }: ModelTraits): boolean {
  const isTold = family === "yolo" && task !== undefined && classes !== undefined;
  return isTold && rowKind === "other" && channels !== 4 + classes;
}

function isEndToEnd(reading: DenseReading, traits: ModelTraits): boolean {
  const { channels, rows, rowKind, hasMasks, rowsAreFinal } = reading;
  const { classes, family } = traits;
  if (family === "rtdetr") return false;
  if (rowsAreFinal) return true;
  const isOpen = rowKind === "dynamic" && channels === COLUMNS;
  const isChosen = mayBeChosen(reading) || rows === USUAL_ROWS || isOfUltralytics(reading, traits);
  if (!isOpen && !isChosen) return false;
  if (channels === COLUMNS) return true;
  if (channels === COLUMNS + MASK_CHANNELS) return hasMasks || classes === undefined;
  return channels === POSE_COLUMNS && classes === undefined;
}

/**
 * As YOLOv10, YOLO26 and Ultralytics' `nms=True` export: final. More columns, of a segmentation or pose model, are not read.
 * Without metadata 300 rows of 6 are read as this, not as Ultralytics' RT-DETR of two classes, which has metadata.
 */
export const yoloEndToEnd: Head<RowsPlan> = defineHead(
  "yolo-end-to-end",
  "one output [N, rows, 6]: x1, y1, x2, y2 in pixels, score, class; no NMS (YOLOv10, YOLO26, nms=True)",
  decodeRows,
  (traits) => {
    const reading = readDense(traits);
    if (reading?.channelAxis !== 2 || reading.channels < COLUMNS) return undefined;
    if (!traits.forced && !isEndToEnd(reading, traits)) return undefined;
    const { output, channels } = reading;
    return {
      outputs: [output],
      auxiliary: auxiliaryOutputs(reading, COLUMNS, 0, traits),
      preprocessing: YOLO_PREPROCESSING,
      assumptions: [
        ...(isDeepStream(reading, traits) ? [ASSUMED_OF_FINAL_ROWS] : []),
        ...(!traits.forced && mayBeOfEffdet(traits, reading.rows) ? [ASSUMED_NOT_EFFDET] : []),
      ],
      needsNms: false,
      plan: rowsPlan(output, channels),
    };
  },
);

/** As DeepStream-Yolo's exporters write: the best class of every anchor, before NMS. */
export const deepstream: Head<RowsPlan> = defineHead(
  "deepstream",
  'one output "output" [N, anchors, 6] of an input "input": x1, y1, x2, y2, score, class before NMS (DeepStream-Yolo)',
  decodeRows,
  (traits) => {
    const reading = readDense(traits);
    if (reading?.channelAxis !== 2 || reading.channels !== COLUMNS) return undefined;
    if (!traits.forced && (reading.rowKind === "other" || !isDeepStream(reading, traits))) return undefined;
    const { output, channels } = reading;
    return {
      outputs: [output],
      preprocessing: YOLO_PREPROCESSING,
      // Three rows a cell are YOLOv5's, YOLOv7's or YOLOR's, which want the same.
      assumptions: reading.rowKind === "anchors" ? [] : [ASSUMED_OF_CELLS],
      needsNms: true,
      plan: rowsPlan(output, channels),
    };
  },
);

/** Rows of all images of the batch in one list, [rows, 7], which begin with the image's number and a box. */
function findFlat(
  { model, forced }: ModelTraits,
  name: RegExp,
  { scoreColumn, classColumn }: Pick<RowsPlan, "scoreColumn" | "classColumn">,
): ModelSpecParts<RowsPlan> | undefined {
  const [output, ...others] = model.outputs;
  if (output === undefined || others.length > 0 || !isFloat(output)) return undefined;
  if (output.shape.length !== 2 || output.shape[1] !== 7 || (!forced && !name.test(output.name))) return undefined;
  return {
    outputs: [output],
    preprocessing: YOLO_PREPROCESSING,
    needsNms: false,
    plan: { kind: "rows", output: output.name, columns: 7, boxColumn: 1, scoreColumn, classColumn, batchColumn: 0 },
  };
}

/** As YOLOv6 and v7 export with `--end2end --max-wh`; final. */
export const yolov7Rows: Head<RowsPlan> = defineHead(
  "yolov7-rows",
  'one output "output" [rows, 7]: image, x1, y1, x2, y2 in pixels, class, score; no NMS (YOLOv7 --end2end --max-wh)',
  decodeRows,
  (traits) => findFlat(traits, /^output[s0]?$/, { scoreColumn: 6, classColumn: 5 }),
);

/** What is assumed of SuperGradients' exports. An input of bytes is normalised by the model itself. */
export const ASSUMED_OF_YOLO_NAS: string =
  "YOLO-NAS's pre-processing; SuperGradients' exports of PP-YOLOE look alike and want stretched images: for these give " +
  `${saying({ fit: "stretch" })}, and colour, scale, mean and std where the model was exported without its own`;

/** As SuperGradients exports YOLO-NAS in its flat format, the score before the class; final. Its batch format is `efficient-nms`. */
export const yoloNasFlat: Head<RowsPlan> = defineHead(
  "yolo-nas-flat",
  'one output "flat_predictions" [rows, 7]: image, x1, y1, x2, y2 in pixels, score, class; no NMS (YOLO-NAS, flat format)',
  decodeRows,
  (traits) => {
    const found = findFlat(traits, /(^|_)flat_predictions$/, { scoreColumn: 5, classColumn: 6 });
    return found && { ...found, assumptions: [ASSUMED_OF_YOLO_NAS] };
  },
);
