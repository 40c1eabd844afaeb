/** @module Heads of rows with a box, a score and a class: `yolo-end-to-end`, `deepstream`, `yolov7-rows` and `yolo-nas-flat`. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import {
  auxiliaryOutputs,
  type DenseReading,
  isDeepStream,
  MASK_CHANNELS,
  mayBeChosen,
  readDense,
} from "./dense-reading.ts";
import { ASSUMED_NOT_EFFDET, mayBeOfEffdet } from "./efficientdet.ts";
import { defineHead, type Head, type ModelSpecParts, type RowsPlan, saying } from "./head.ts";
import { decodeRows, rowsPlan } from "./rows.ts";
import { isFloat, type ModelTraits } from "./traits.ts";

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
