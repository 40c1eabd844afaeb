/** @module Heads `rtdetr` and `deimv2-imagenet`: outputs labels, boxes and scores, and the input orig_target_sizes. */

import type { DType, TensorInfo } from "../core/tensor.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import { type ColumnsPlan, defineHead, type Head, type ModelSpecParts } from "./head.ts";
import { DETR_PREPROCESSING, RTDETR_PREPROCESSING } from "./hugging-face.ts";
import { decodeColumns } from "./rows.ts";
import { FLOATS, findOutput, INTEGERS, type ModelTraits, NUMBERS } from "./traits.ts";

type Found = TensorInfo | undefined;

/** Labels, boxes and scores: by name, or of a model whose head the caller named by dtype and shape. */
function outputsOf({ model, forced }: ModelTraits): readonly [labels: Found, boxes: Found, scores: Found] {
  const boxes = findOutput(model, "boxes", 3, FLOATS);
  const scores = findOutput(model, "scores", 2, FLOATS);
  const labels = findOutput(model, "labels", 2, NUMBERS);
  if (!forced || (boxes ?? scores ?? labels) !== undefined) return [labels, boxes, scores];
  const only = (rank: number, dtypes: readonly DType[]): Found => {
    const [one, ...others] = model.outputs.filter((info) => info.shape.length === rank && dtypes.includes(info.dtype));
    return others.length === 0 ? one : undefined;
  };
  return [only(2, INTEGERS), only(3, FLOATS), only(2, FLOATS)];
}

function find(traits: ModelTraits, preprocessing: Preprocessing): ModelSpecParts<ColumnsPlan> | undefined {
  const { model } = traits;
  const [labels, boxes, scores] = outputsOf(traits);
  const size = model.inputs.find((info) => info.name === "orig_target_sizes" && info.shape.length === 2);
  if (boxes === undefined || scores === undefined || labels === undefined || size === undefined) return undefined;
  if (boxes.shape[2] !== 4 || (size.dtype !== "i64" && size.dtype !== "i32" && size.dtype !== "f32")) return undefined;
  return {
    outputs: [labels, boxes, scores],
    preprocessing,
    needsNms: false,
    // Upstream passes PIL's size, (width, height); with the input's own size boxes come out in input pixels.
    sizeInputs: [{ name: size.name, dtype: size.dtype, content: "width-height" }],
    plan: { kind: "columns", boxes: boxes.name, scores: scores.name, classes: labels.name },
  };
}

/** RT-DETR, RT-DETRv2, D-FINE, DEIM and DEIMv2 atto, femto, pico and N: stretched with antialias, RGB in 0–1. */
export const rtdetr: Head<ColumnsPlan> = defineHead(
  "rtdetr",
  "input orig_target_sizes; outputs labels [N, rows], boxes [N, rows, 4], scores [N, rows] (RT-DETR, D-FINE, DEIM)",
  decodeColumns,
  (traits) => find(traits, RTDETR_PREPROCESSING),
);

/** DEIMv2 S, M, L and X, which want ImageNet's mean and deviation as well. Nothing in the file tells: name it. */
export const deimv2Imagenet: Head<ColumnsPlan> = defineHead(
  "deimv2-imagenet",
  "as rtdetr, normalised with ImageNet's mean and deviation (DEIMv2 S, M, L, X); never recognised, name it",
  decodeColumns,
  (traits) => (traits.forced ? find(traits, DETR_PREPROCESSING) : undefined),
);
