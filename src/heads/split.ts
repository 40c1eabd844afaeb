/**
 * @module Heads `yolov4`, `damo-yolo` and `damo-yolo-rows`: the boxes and the scores of all classes in two outputs, or side by side,
 * before NMS.
 */

import type { TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { densePlan, hasGridRows, isOfModelScope, readClasses, stridesOf } from "./dense-reading.ts";
import { type DensePlan, defineHead, type Head, type ModelSpecParts, naming, saying } from "./head.ts";
import { FLOATS, findOutput, isFloat, type ModelTraits } from "./traits.ts";

/** Stretched RGB levels as they are, which DAMO-YOLO wants. */
const PREPROCESSING: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1 };

/** The two outputs, of one dtype. */
export interface SplitOutputs {
  readonly scores: TensorInfo;
  readonly boxes: TensorInfo;
}

/** Boxes as corners, and the scores of all classes, before NMS: stretched images, levels as they are where boxes are in pixels. */
export function splitParts(
  traits: ModelTraits,
  { scores, boxes }: SplitOutputs,
  boxUnit: "pixels" | "fraction",
): ModelSpecParts<DensePlan> | undefined {
  const classes = scores.shape[2]!;
  if (classes < 1 || (traits.classes !== undefined && traits.classes !== classes)) return undefined;
  return {
    outputs: [boxes, scores],
    preprocessing: boxUnit === "pixels" ? PREPROCESSING : { ...PREPROCESSING, scale: 1 / 255 },
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
      boxUnit,
      boxForm: "corners",
      boxes: boxes.name,
    },
  };
}

/**
 * As pytorch-YOLOv4 exports. `confs` is objectness × class already; images are stretched.
 *
 * @see https://github.com/Tianxiaomo/pytorch-YOLOv4 (tool/yolo_layer.py, tool/utils.py)
 */
export const yolov4: Head<DensePlan> = defineHead(
  "yolov4",
  "outputs boxes [N, rows, 1, 4]: x1, y1, x2, y2 in 0–1, and confs [N, rows, classes] (pytorch-YOLOv4)",
  decodeDense,
  (traits) => {
    const boxes = findOutput(traits.model, "boxes", 4, FLOATS);
    const scores = findOutput(traits.model, "confs", 3, FLOATS);
    if (boxes === undefined || scores?.dtype !== boxes.dtype) return undefined;
    if (boxes.shape[2] !== 1 || boxes.shape[3] !== 4) return undefined;
    return splitParts(traits, { scores, boxes }, "fraction");
  },
);

/** The two outputs, told apart by the four sides of a box; scores of four classes come first, as DAMO-YOLO writes them. */
export function splitOutputs({ outputs }: { readonly outputs: readonly TensorInfo[] }): SplitOutputs | undefined {
  const [a, b, ...others] = outputs;
  if (a === undefined || b === undefined || others.length > 0 || a.dtype !== b.dtype) return undefined;
  if (![a, b].every((info) => isFloat(info) && info.shape.length === 3 && info.shape[2]! > 0)) return undefined;
  if (a.shape[1] !== b.shape[1]) return undefined;
  if (b.shape[2] === 4) return { scores: a, boxes: b };
  return a.shape[2] === 4 ? { scores: b, boxes: a } : undefined;
}

/** What YOLO-NAS wants, whose input of bytes is normalised by the model itself. */
export function sayingOfYoloNas({ image }: ModelTraits): string {
  return saying(image.dtype === "u8" ? { fit: "letterbox" } : { fit: "letterbox", scale: 1 / 255 });
}

/**
 * As DAMO-YOLO exports; stretched RGB levels as they are. YOLO-NAS has such outputs with another pre-processing: it is never
 * recognised, but can be named.
 *
 * @see https://github.com/tinyvision/DAMO-YOLO (damo/base_models/heads/zero_head.py, tools/converter.py)
 */
export const damoYolo: Head<DensePlan> = defineHead(
  "damo-yolo",
  "two outputs before NMS: a probability a class [N, rows, classes], and x1, y1, x2, y2 in pixels [N, rows, 4]",
  decodeDense,
  (traits) => {
    const pair = splitOutputs(traits.model);
    if (pair === undefined) return undefined;
    // Its converter names the first output; the other keeps the number that the exporter gave it.
    const isSaid = traits.weightsOf === "damo-yolo" || (pair.scores.name === "output" && /^\d+$/.test(pair.boxes.name));
    if (!traits.forced) {
      if (!isSaid || traits.family !== undefined) return undefined;
      const rows = pair.scores.shape[1]!;
      if (rows >= 0 && stridesOf(rows, traits.shapesAt, 1) === undefined) return undefined;
    }
    const parts = splitParts(traits, pair, "pixels");
    const assumed = `DAMO-YOLO's pre-processing; YOLO-NAS's two outputs look alike: for it give ${sayingOfYoloNas(traits)}`;
    return parts && { ...parts, assumptions: isSaid ? [] : [assumed] };
  },
);

/** What is assumed where only the names of the tensors tell. */
const ASSUMED_OF_MODELSCOPE = `ModelScope's DAMO-YOLO, by the names "images" and "pred"; YOLO's rows look alike: for them give ${naming(["yolo-transposed", "yolox"])}`;

/**
 * As ModelScope exports DAMO-YOLO: its two outputs side by side.
 *
 * @see https://github.com/modelscope/modelscope (modelscope/exporters/cv/object_detection_damoyolo_exporter.py)
 */
export const damoYoloRows: Head<DensePlan> = defineHead(
  "damo-yolo-rows",
  'one output "pred" [N, rows, 4+classes]: x1, y1, x2, y2 in pixels, a probability a class, before NMS (DAMO-YOLO, by ModelScope)',
  decodeDense,
  (traits) => {
    const found = readClasses(traits, 4, 2);
    if (found === undefined) return undefined;
    const { reading, parts } = found;
    if (!traits.forced && (!hasGridRows(reading) || !isOfModelScope(reading, traits))) return undefined;
    const isSaid = traits.forced || traits.weightsOf === "damo-yolo";
    return {
      ...parts,
      preprocessing: PREPROCESSING,
      assumptions: isSaid ? [] : [ASSUMED_OF_MODELSCOPE],
      usualIou: 0.7,
      plan: { ...densePlan(reading, parts.classes, "class"), boxForm: "corners" },
    };
  },
);
