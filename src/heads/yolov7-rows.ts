/** @module Head `yolov7-rows`: [rows, 7] with the image's number, as YOLOv6 and v7 export with `--end2end --max-wh`. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { type Head, type ModelSpec, type RowsPlan, recognition } from "./head.ts";
import { decodeRows } from "./rows.ts";
import { isFloat, type ModelTraits } from "./traits.ts";

/** YOLOv7 and v6 name it so. YOLO-NAS has such rows as well, but with the score before the class. */
const NAMES: readonly string[] = ["output", "outputs", "output0"];

/** Rows image, x1, y1, x2, y2 in input pixels, class, score; after NMS, all images of the batch in one list. */
export const yolov7Rows: Head<RowsPlan> = {
  name: "yolov7-rows",
  summary:
    'one output "output" [rows, 7]: image, x1, y1, x2, y2 in pixels, class, score; no NMS (YOLOv7 --end2end --max-wh)',
  recognise(traits: ModelTraits): ModelSpec<RowsPlan> | undefined {
    const [output, ...others] = traits.model.outputs;
    if (output === undefined || others.length > 0 || !isFloat(output)) return undefined;
    if (output.shape.length !== 2 || output.shape[1] !== 7) return undefined;
    if (!traits.forced && !NAMES.includes(output.name)) return undefined;
    return recognition(yolov7Rows, traits, {
      outputs: [output],
      preprocessing: YOLO_PREPROCESSING,
      classes: undefined,
      needsNms: false,
      plan: {
        kind: "rows",
        output: output.name,
        columns: 7,
        boxColumn: 1,
        scoreColumn: 6,
        classColumn: 5,
        batchColumn: 0,
        counts: undefined,
      },
    });
  },
  decode: decodeRows,
};
