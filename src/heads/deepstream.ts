/** @module Head `deepstream`: [N, anchors, 6] before NMS, as DeepStream-Yolo's exporters write. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { isDeepStream, readDense } from "./dense-reading.ts";
import { type Head, type ModelSpec, type RowsPlan, recognition } from "./head.ts";
import { decodeRows } from "./rows.ts";
import type { ModelTraits } from "./traits.ts";

/** What is assumed of DeepStream-Yolo's exports, whose families have the same tensors. */
const ASSUMED_OF_CELLS =
  "YOLO's pre-processing; DeepStream-Yolo's exports of YOLOX, RTMDet, PP-YOLOE, DAMO-YOLO and YOLO-NAS look alike and want " +
  'another: for YOLOX give `preprocessing: { fit: "letterbox-top-left", colour: "BGR", scale: 1 }`';

/** The same where the rows are final. */
export const ASSUMED_OF_FINAL_ROWS: string =
  "YOLO's pre-processing; DeepStream-Yolo's exports of RT-DETR, D-FINE and other DETRs look alike and want stretched " +
  'images: for these give `preprocessing: { fit: "stretch", resize: "antialias" }`';

/** Rows x1, y1, x2, y2 in input pixels, score, class: the best class of every anchor. */
export const deepstream: Head<RowsPlan> = {
  name: "deepstream",
  summary:
    'one output "output" [N, anchors, 6] of an input "input": x1, y1, x2, y2, score, class before NMS (DeepStream-Yolo)',
  recognise(traits: ModelTraits): ModelSpec<RowsPlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || reading.channels !== 6) return undefined;
    if (!traits.forced && (reading.rowKind === "other" || !isDeepStream(reading, traits))) return undefined;
    return recognition(deepstream, traits, {
      outputs: [reading.output],
      preprocessing: YOLO_PREPROCESSING,
      // Three rows a cell are YOLOv5's, YOLOv7's or YOLOR's, which want the same.
      assumptions: reading.rowKind === "anchors" ? [] : [ASSUMED_OF_CELLS],
      classes: undefined,
      needsNms: true,
      plan: {
        kind: "rows",
        output: reading.output.name,
        columns: 6,
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
