/** @module Heads `rtdetr` and `deimv2-imagenet`: outputs labels, boxes and scores, and the input orig_target_sizes. */

import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { type ColumnsPlan, type Head, type ModelSpec, recognition, type SizeInput } from "./head.ts";
import { decodeColumns } from "./rows.ts";
import { FLOATS, findOutput, type ModelTraits } from "./traits.ts";

/** Upstream resizes with Pillow, in training and in evaluation. */
const STRETCHED: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", resize: "antialias" };

function recognise(
  head: string,
  traits: ModelTraits,
  preprocessing: Preprocessing,
): ModelSpec<ColumnsPlan> | undefined {
  const { model } = traits;
  const boxes = findOutput(model, "boxes", 3, FLOATS);
  const scores = findOutput(model, "scores", 2, FLOATS);
  const labels = findOutput(model, "labels", 2, ["i64", "i32", "f32", "f16"]);
  const size = model.inputs.find((info) => info.name === "orig_target_sizes" && info.shape.length === 2);
  if (boxes === undefined || scores === undefined || labels === undefined || size === undefined) return undefined;
  if (boxes.shape[2] !== 4 || (size.dtype !== "i64" && size.dtype !== "i32" && size.dtype !== "f32")) return undefined;
  // Upstream passes PIL's size, (width, height); with the input's own size boxes come out in input pixels.
  const sizeInput: SizeInput = { name: size.name, dtype: size.dtype, content: "width-height" };
  return recognition(head, traits, {
    outputs: [labels, boxes, scores],
    preprocessing,
    needsNms: false,
    sizeInputs: [sizeInput],
    plan: { kind: "columns", boxes: boxes.name, scores: scores.name, classes: labels.name },
  });
}

/** RT-DETR, RT-DETRv2, D-FINE, DEIM and DEIMv2 atto, femto, pico and N: stretched with antialias, RGB in 0–1. */
export const rtdetr: Head<ColumnsPlan> = {
  name: "rtdetr",
  summary:
    "input orig_target_sizes; outputs labels [N, rows], boxes [N, rows, 4], scores [N, rows] (RT-DETR, D-FINE, DEIM)",
  recognise: (traits: ModelTraits): ModelSpec<ColumnsPlan> | undefined => recognise(rtdetr.name, traits, STRETCHED),
  decode: decodeColumns,
};

/** DEIMv2 S, M, L and X, which want ImageNet's mean and deviation as well. Nothing in the file tells: name it. */
export const deimv2Imagenet: Head<ColumnsPlan> = {
  name: "deimv2-imagenet",
  summary: "as rtdetr, normalised with ImageNet's mean and deviation (DEIMv2 S, M, L, X); never recognised, name it",
  recognise(traits: ModelTraits): ModelSpec<ColumnsPlan> | undefined {
    const preprocessing = { ...STRETCHED, mean: IMAGENET_MEAN, std: IMAGENET_STD };
    return traits.forced ? recognise(deimv2Imagenet.name, traits, preprocessing) : undefined;
  },
  decode: decodeColumns,
};
