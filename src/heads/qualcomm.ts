/** @module Head `qualcomm`: boxes, the best score and its class of every anchor in three outputs, as Qualcomm's AI Hub exports YOLOs. */

import type { DType } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { MOST_CHOSEN } from "./dense-reading.ts";
import { type ColumnsPlan, type DecodeInput, defineHead, type Head } from "./head.ts";
import { columnsOf, type PartsPlan } from "./host-plan.ts";
import { areBoxes, outputOf } from "./outputs.ts";
import { decodeParts } from "./parts.ts";
import { decodeColumns } from "./rows.ts";
import { FLOATS, findOutput, HOST_NUMBERS } from "./traits.ts";

/** Of classes that have lost their name: in floats they look like the scores. */
const BYTES_AND_INTEGERS: readonly DType[] = HOST_NUMBERS.filter((dtype) => !FLOATS.includes(dtype));

/** What the output with the classes is called. */
const CLASSES = /^(class_idx|classes|class_ids|labels)$/;

function decode(plan: ColumnsPlan | PartsPlan, input: DecodeInput, candidates: Candidates): void {
  if (plan.kind === "columns") decodeColumns(plan, input, candidates);
  else decodeParts(plan, input, candidates);
}

/**
 * YOLOv3 to v11, YOLOR and YOLOX of AI Hub, before NMS: corners in pixels; images of 0–1 in RGB, padded with black. Its newer exports
 * have the classes as bytes.
 *
 * @see https://github.com/qualcomm/ai-hub-models (qai_hub_models/models/templates/yolo)
 */
export const qualcomm: Head<ColumnsPlan | PartsPlan> = defineHead(
  "qualcomm",
  "outputs boxes [N, anchors, 4]: x1, y1, x2, y2 in pixels, scores [N, anchors], class_idx [N, anchors], before NMS (Qualcomm AI Hub)",
  decode,
  (traits) => {
    const { model, forced } = traits;
    const boxes = outputOf(traits, "boxes", 3, FLOATS, areBoxes);
    const scores = outputOf(traits, "scores", 2, FLOATS);
    const classes = findOutput(model, CLASSES, 2, HOST_NUMBERS) ?? outputOf(traits, CLASSES, 2, BYTES_AND_INTEGERS);
    if (boxes === undefined || scores === undefined || classes === undefined || boxes.shape[2] !== 4) return undefined;
    const rows = boxes.shape[1]!;
    // So few may be the rows of an NMS.
    if (!forced && rows <= MOST_CHOSEN && (classes.name !== "class_idx" || rows < 0)) return undefined;
    const isOfBytes = classes.dtype === "u8";
    const names = { boxes: boxes.name, scores: scores.name, classes: classes.name };
    const parts = { boxes: columnsOf(boxes, 4), scores: columnsOf(scores, 1), classes: columnsOf(classes, 1) };
    return {
      outputs: [boxes, scores, classes],
      preprocessing: { ...YOLO_PREPROCESSING, pad: [0, 0, 0] },
      needsNms: true,
      plan: isOfBytes ? { kind: "parts", ...parts } : { kind: "columns", ...names },
    };
  },
);
