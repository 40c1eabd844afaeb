/** @module Head `efficient-nms`: count, boxes, scores and classes, as TensorRT's EfficientNMS and BatchedNMS give. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { type ColumnsPlan, type Head, type ModelSpec, recognition } from "./head.ts";
import { decodeColumns } from "./rows.ts";
import { FLOATS, findOutput, INTEGERS, type ModelTraits } from "./traits.ts";

/** Names that exporters give the four outputs: count, boxes, scores, classes. */
const NAMES: readonly (readonly [string, string, string, string])[] = [
  ["num_dets", "det_boxes", "det_scores", "det_classes"],
  ["num_dets", "bboxes", "scores", "labels"],
  ["num_detections", "detection_boxes", "detection_scores", "detection_classes"],
  ["num_detections", "nmsed_boxes", "nmsed_scores", "nmsed_classes"],
  ["num", "boxes", "scores", "classes"],
];

/** Without metadata nothing tells which family the NMS was put behind. */
const ASSUMED =
  "YOLO's pre-processing; DAMO-YOLO and others exported with this NMS look alike and want another: for DAMO-YOLO give " +
  '`preprocessing: { fit: "stretch", scale: 1 }`';

/**
 * Boxes x1, y1, x2, y2 in input pixels; rows past the count are undefined. Classes are whole numbers or floats.
 * TensorFlow's detectors have the third set of names with rows y1, x1, y2, x2: their input is NHWC, and they are refused.
 */
export const efficientNms: Head<ColumnsPlan> = {
  name: "efficient-nms",
  summary: `outputs ${NAMES[0]?.join(", ")}: [N, 1], [N, rows, 4], [N, rows], [N, rows], or an alias (EfficientNMS_TRT)`,
  recognise(traits: ModelTraits): ModelSpec<ColumnsPlan> | undefined {
    const { model, image, forced } = traits;
    if (image.layout === "NHWC" && !forced) return undefined;
    for (const [countName, boxName, scoreName, className] of NAMES) {
      const counts = findOutput(model, countName, 2, INTEGERS) ?? findOutput(model, countName, 1, INTEGERS);
      const boxes = findOutput(model, boxName, 3, FLOATS);
      const scores = findOutput(model, scoreName, 2, FLOATS);
      const classes = findOutput(model, className, 2, [...INTEGERS, ...FLOATS]);
      if (counts === undefined || boxes === undefined || scores === undefined || classes === undefined) continue;
      if (boxes.shape[2] !== 4) continue;
      return recognition(efficientNms, traits, {
        outputs: [counts, boxes, scores, classes],
        preprocessing: YOLO_PREPROCESSING,
        assumptions: traits.family === undefined ? [ASSUMED] : [],
        classes: undefined,
        needsNms: false,
        plan: {
          kind: "columns",
          boxes: boxes.name,
          scores: scores.name,
          classes: classes.name,
          counts: counts.name,
        },
      });
    }
    return undefined;
  },
  decode: decodeColumns,
};
