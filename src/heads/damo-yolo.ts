/** @module Head `damo-yolo`: scores [N, rows, classes] and boxes [N, rows, 4] in two outputs, as DAMO-YOLO exports. */

import type { TensorInfo } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { stridesOf } from "./dense-reading.ts";
import { type DensePlan, type Head, type ModelSpec, recognition } from "./head.ts";
import { isFloat, type ModelTraits } from "./traits.ts";

/** The two outputs, told apart by the four sides of a box; scores of four classes come first, as upstream writes them. */
function pairOf(
  outputs: readonly TensorInfo[],
): { readonly scores: TensorInfo; readonly boxes: TensorInfo } | undefined {
  const [a, b, ...others] = outputs;
  if (a === undefined || b === undefined || others.length > 0 || a.dtype !== b.dtype) return undefined;
  if (![a, b].every((info) => isFloat(info) && info.shape.length === 3 && info.shape[2]! > 0)) return undefined;
  if (a.shape[1] !== b.shape[1]) return undefined;
  if (b.shape[2] === 4) return { scores: a, boxes: b };
  return a.shape[2] === 4 ? { scores: b, boxes: a } : undefined;
}

/** Its converter names the first output; the other keeps the number that the exporter gave it. */
function isNamedSo({ scores, boxes }: { readonly scores: TensorInfo; readonly boxes: TensorInfo }): boolean {
  return scores.name === "output" && /^\d+$/.test(boxes.name);
}

/**
 * Boxes x1, y1, x2, y2 in input pixels, a probability a class, before NMS; stretched RGB levels as they are. YOLO-NAS has such
 * outputs with another pre-processing: it is never recognised, but can be named.
 *
 * @see https://github.com/tinyvision/DAMO-YOLO (damo/base_models/heads/zero_head.py, tools/converter.py)
 */
export const damoYolo: Head<DensePlan> = {
  name: "damo-yolo",
  summary:
    "two outputs before NMS: a probability a class [N, rows, classes], and x1, y1, x2, y2 in pixels [N, rows, 4]",
  recognise(traits: ModelTraits): ModelSpec<DensePlan> | undefined {
    const pair = pairOf(traits.model.outputs);
    if (pair === undefined) return undefined;
    const { scores, boxes } = pair;
    const [, rows = -1, classes = -1] = scores.shape;
    if (traits.classes !== undefined && traits.classes !== classes) return undefined;
    if (!traits.forced) {
      if (!isNamedSo(pair) || traits.family !== undefined) return undefined;
      if (rows >= 0 && stridesOf(rows, traits.shapesAt, 1) === undefined) return undefined;
    }
    return recognition(damoYolo, traits, {
      outputs: [scores, boxes],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1 },
      classes,
      needsNms: true,
      plan: {
        kind: "dense",
        output: scores.name,
        order: "anchor-major",
        channels: classes,
        classes,
        classChannel: 0,
        score: "class",
        boxUnit: "pixels",
        boxForm: "corners",
        boxes: boxes.name,
      },
    });
  },
  decode: decodeDense,
};
