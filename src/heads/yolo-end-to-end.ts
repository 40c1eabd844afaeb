/** @module Head `yolo-end-to-end`: [N, rows, 6], as YOLOv10, YOLO26 and Ultralytics' `nms=True` export. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { ASSUMED_OF_FINAL_ROWS } from "./deepstream.ts";
import {
  auxiliaryOutputs,
  type DenseReading,
  isDeepStream,
  MASK_CHANNELS,
  mayBeChosen,
  readDense,
} from "./dense-reading.ts";
import { type Head, type ModelSpec, type RowsPlan, recognition } from "./head.ts";
import { decodeRows } from "./rows.ts";
import type { ModelTraits } from "./traits.ts";

const COLUMNS = 6;
/** Seventeen keypoints of x, y and confidence after the six. */
const POSE_COLUMNS = 57;

/** Rows of YOLOv10 and YOLO26, which are as many as some small input has cells: at 320 × 192 with strides 16 and 32. */
const USUAL_ROWS = 300;

/** Ultralytics' grids have their channels first. Turned round they fit where there are two classes, which has another head. */
function isOfUltralytics({ channels, rowKind }: DenseReading, { task, classes }: ModelTraits): boolean {
  return task !== undefined && classes !== undefined && rowKind === "other" && channels !== 4 + classes;
}

function fits(reading: DenseReading, traits: ModelTraits): boolean {
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
 * Rows x1, y1, x2, y2 in input pixels, score, class; final. More columns, of a segmentation or pose model, are not read.
 * Without metadata 300 rows of 6 are read as this, not as Ultralytics' RT-DETR of two classes, which has metadata.
 */
export const yoloEndToEnd: Head<RowsPlan> = {
  name: "yolo-end-to-end",
  summary: "one output [N, rows, 6]: x1, y1, x2, y2 in pixels, score, class; no NMS (YOLOv10, YOLO26, nms=True)",
  recognise(traits: ModelTraits): ModelSpec<RowsPlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || reading.channels < COLUMNS) return undefined;
    if (!traits.forced && !fits(reading, traits)) return undefined;
    return recognition(yoloEndToEnd, traits, {
      outputs: [reading.output],
      auxiliary: auxiliaryOutputs(reading, COLUMNS, 0, traits),
      preprocessing: YOLO_PREPROCESSING,
      assumptions: isDeepStream(reading, traits) ? [ASSUMED_OF_FINAL_ROWS] : [],
      classes: undefined,
      needsNms: false,
      plan: {
        kind: "rows",
        output: reading.output.name,
        columns: reading.channels,
        boxColumn: 0,
        scoreColumn: 4,
        classColumn: 5,
        batchColumn: undefined,
        counts: undefined,
      },
    });
  },
  decode: decodeRows,
};
