/** @module Layouts `hugging-face` and `hugging-face-softmax`: outputs logits and pred_boxes, as transformers exports. */

import type { TensorInfo } from "../../core/tensor.ts";
import { IMAGENET_MEAN, IMAGENET_STD, YOLO_PREPROCESSING } from "../../image/preprocessing.ts";
import { COCO_80, COCO_91 } from "../coco.ts";
import { decodeQueries } from "../decode/queries.ts";
import type { Layout, Recognition, SizeInput } from "../layout.ts";
import type { ModelTraits } from "../model-traits.ts";
import { FLOATS, findOutput } from "../outputs.ts";
import type { QueriesPlan } from "../plan.ts";
import { recognition } from "../recognition.ts";

type Activation = QueriesPlan["activation"];

/** True if the number of classes lets the layout be: softmax has one more than there are names, for "no object". */
function fits(classes: number, activation: Activation, names: number | undefined): boolean {
  const known = activation === "softmax" ? classes - 1 : classes;
  if (names !== undefined) return known === names;
  // Without names: COCO's count settles it; any other count fits both, which is an error the caller must resolve.
  if (classes === COCO_80.length || classes === COCO_91.length) return activation === "sigmoid";
  if (classes === COCO_91.length + 1) return activation === "softmax";
  return true;
}

/** `pixel_mask` says which pixels are picture: all, as it is stretched. */
function maskInputs({ inputs }: { readonly inputs: readonly TensorInfo[] }): SizeInput[] {
  return inputs.flatMap(({ name, dtype }) =>
    name === "pixel_mask" && (dtype === "i64" || dtype === "i32" || dtype === "f32")
      ? [{ name, dtype, content: "mask" }]
      : [],
  );
}

function recognise(
  layout: Pick<Layout, "name">,
  traits: ModelTraits,
  activation: Activation,
): Recognition<QueriesPlan> | undefined {
  const { model } = traits;
  const boxes = findOutput(model, "pred_boxes", 3, FLOATS);
  const logits = findOutput(model, "logits", 3, FLOATS) ?? findOutput(model, "pred_logits", 3, FLOATS);
  const classes = logits?.shape[2] ?? -1;
  if (boxes === undefined || logits === undefined || boxes.shape[2] !== 4 || classes < 1) return undefined;
  if (!traits.forced && !fits(classes, activation, traits.classes)) return undefined;
  const sizeInputs = maskInputs(model);
  // RT-DETR and D-FINE take 0–1; DETR and those after it, which have a mask or 91 ids, ImageNet's mean and deviation.
  const isDetr = activation === "softmax" || sizeInputs.length > 0 || classes === COCO_91.length;
  const stretched = { ...YOLO_PREPROCESSING, fit: "stretch" } as const;
  return recognition(layout, traits, {
    outputs: [logits, boxes],
    preprocessing: isDetr ? { ...stretched, mean: IMAGENET_MEAN, std: IMAGENET_STD } : stretched,
    classes: activation === "softmax" ? classes - 1 : classes,
    needsNms: false,
    sizeInputs,
    plan: { kind: "queries", logits: logits.name, boxes: boxes.name, classes, activation },
  });
}

/** RT-DETR, D-FINE, Deformable DETR: a sigmoid a class. */
export const huggingFace: Layout<QueriesPlan> = {
  name: "hugging-face",
  summary: "outputs logits [N, queries, classes], sigmoid, and pred_boxes [N, queries, 4] in 0–1 (RT-DETR, D-FINE)",
  recognise: (traits: ModelTraits): Recognition<QueriesPlan> | undefined => recognise(huggingFace, traits, "sigmoid"),
  decode: decodeQueries,
};

/** DETR, YOLOS, Table Transformer: a softmax over the classes and "no object", which is last. */
export const huggingFaceSoftmax: Layout<QueriesPlan> = {
  name: "hugging-face-softmax",
  summary: 'outputs logits [N, queries, classes+1], softmax, "no object" last, and pred_boxes in 0–1 (DETR, YOLOS)',
  recognise: (traits: ModelTraits): Recognition<QueriesPlan> | undefined =>
    recognise(huggingFaceSoftmax, traits, "softmax"),
  decode: decodeQueries,
};
