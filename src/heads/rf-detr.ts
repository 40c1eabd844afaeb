/** @module Head `rf-detr`: outputs dets and labels, as Roboflow exports RF-DETR. */

import { IMAGENET_MEAN, IMAGENET_STD, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { defineHead, type Head } from "./head.ts";
import { logitsOf } from "./hugging-face.ts";
import { areBoxes, outputOf } from "./outputs.ts";
import type { QueriesPlan } from "./plans.ts";
import { decodeQueries } from "./rows.ts";
import { FLOATS } from "./traits.ts";

/**
 * Boxes cx, cy, w, h as fractions of the input, logits by class, sigmoid; COCO weights have 91 classes, numbered by
 * category id. Upstream takes the best 300 of queries × classes; here the maximum count is the caller's.
 */
export const rfDetr: Head<QueriesPlan> = defineHead(
  "rf-detr",
  "outputs dets [N, queries, 4]: cx, cy, w, h in 0–1, and labels [N, queries, classes]: logits (RF-DETR)",
  decodeQueries,
  (traits) => {
    const boxes = outputOf(traits, "dets", 3, FLOATS, areBoxes);
    const logits = logitsOf(traits, "labels", boxes);
    const classes = logits?.shape[2] ?? -1;
    if (boxes === undefined || logits === undefined || boxes.shape[2] !== 4 || classes < 1) return undefined;
    // Trained on one's own data, its ids start at 0 or at 1, by the version and the annotations: fewer names could be
    // shifted by one, and nobody would find out.
    if (traits.classes !== undefined && traits.classes !== classes) return undefined;
    return {
      outputs: [boxes, logits],
      // The segmentation models' masks.
      auxiliary: traits.model.outputs.filter(({ name, shape }) => name === "masks" && shape.length === 4),
      // Upstream resizes tensors, and without antialias.
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch", mean: IMAGENET_MEAN, std: IMAGENET_STD },
      classes,
      needsNms: false,
      plan: { kind: "queries", logits: logits.name, boxes: boxes.name, classes, activation: "sigmoid" },
    };
  },
);
