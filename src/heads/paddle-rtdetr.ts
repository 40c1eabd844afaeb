/** @module Head `paddle-rtdetr`: rows and a count an image, as PaddleDetection exports RT-DETR and RT-DETRv3. */

import type { TensorInfo } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { defineHead, type Head, type RowsPlan, type SizeInput } from "./head.ts";
import { decodeRows } from "./rows.ts";
import { INTEGERS, isFloat, type ModelTraits } from "./traits.ts";

/** `im_shape` is the input's height and width, `scale_factor` says that the source has that size as well. */
function sizeInputs(traits: ModelTraits): SizeInput[] | undefined {
  const contents = { im_shape: "height-width", scale_factor: "ones" } as const;
  const found: SizeInput[] = [];
  for (const { name, dtype } of traits.model.inputs) {
    if (name === "im_shape" || name === "scale_factor") {
      if (dtype !== "f32") return undefined;
      found.push({ name, dtype, content: contents[name] });
    }
  }
  return found.some((input) => input.name === "scale_factor") ? found : undefined;
}

/**
 * PaddleDetection's other detectors have such rows and counts too, and most want ImageNet's mean and deviation, which
 * nothing in the file tells. Theirs come out of NMS, and many do not take `im_shape`.
 */
function isAnother(sizes: readonly SizeInput[], outputs: readonly TensorInfo[]): boolean {
  return !sizes.some(({ name }) => name === "im_shape") || outputs.some(({ name }) => /nms/i.test(name));
}

/** Rows class, score, x1, y1, x2, y2 in pixels of the size that was told; final; images follow one another. */
export const paddleRtdetr: Head<RowsPlan> = defineHead(
  "paddle-rtdetr",
  "inputs image, scale_factor, im_shape; outputs [rows, 6]: class, score, x1, y1, x2, y2, and [N] counts; stretched, 0–1",
  decodeRows,
  (traits) => {
    const { outputs } = traits.model;
    const rows = outputs.find((info) => isFloat(info) && info.shape.length === 2 && info.shape[1] === 6);
    const counts = outputs.find((info) => INTEGERS.includes(info.dtype) && info.shape.length === 1);
    const sizes = sizeInputs(traits);
    if (rows === undefined || counts === undefined || sizes === undefined || outputs.length !== 2) return undefined;
    if (!traits.forced && isAnother(sizes, outputs)) return undefined;
    return {
      outputs: [rows, counts],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" },
      needsNms: false,
      sizeInputs: sizes,
      plan: {
        kind: "rows",
        output: rows.name,
        columns: 6,
        boxColumn: 2,
        scoreColumn: 1,
        classColumn: 0,
        counts: counts.name,
      },
    };
  },
);
