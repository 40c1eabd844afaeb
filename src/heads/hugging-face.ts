/** @module Heads `hugging-face` and `hugging-face-softmax`: outputs logits and pred_boxes, as transformers exports. */

import type { TensorInfo } from "../core/tensor.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_80, COCO_91 } from "../model/labels.ts";
import { defineHead, type Head, type ModelSpecParts, type QueriesPlan, type SizeInput, saying } from "./head.ts";
import { libreYoloFamily } from "./libreyolo.ts";
import { decodeQueries } from "./queries.ts";
import { FLOATS, findOutput, type ModelTraits } from "./traits.ts";

/** Upstream, and the image processors of transformers, resize by Pillow's BILINEAR, or by torchvision's with antialias. */
export const RTDETR_PREPROCESSING: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", resize: "antialias" };

/** DETR's, and that of those after it. */
export const DETR_PREPROCESSING: Preprocessing = { ...RTDETR_PREPROCESSING, mean: IMAGENET_MEAN, std: IMAGENET_STD };

type Activation = QueriesPlan["activation"];

/** Queries of DETR, YOLOS and Table Transformer's kin. */
const DETR_QUERIES = 100;

/** True if the number of classes lets the head be: softmax has one more than there are names, for "no object". */
function fits({ shape }: TensorInfo, activation: Activation, names: number | undefined, isOfRtdetr: boolean): boolean {
  const [, queries, classes = 0] = shape;
  const known = activation === "softmax" ? classes - 1 : classes;
  if (names !== undefined) return known === names;
  // Without names: COCO's count settles it; any other count fits both, which is an error the caller must resolve.
  // DETR and YOLOS have 100 queries, RT-DETR and D-FINE 300: 79 classes and "no object" are as many logits.
  if (classes === COCO_80.length && queries === DETR_QUERIES && !isOfRtdetr) return true;
  if (classes === COCO_80.length || classes === COCO_91.length) return activation === "sigmoid";
  if (classes === COCO_91.length + 1) return activation === "softmax";
  return true;
}

/** The inputs that say which pixels are image, `pixel_mask`: all, as it is stretched. */
export function maskInputs({ inputs }: { readonly inputs: readonly TensorInfo[] }): SizeInput[] {
  return inputs.flatMap(({ name, dtype }) =>
    name === "pixel_mask" && (dtype === "i64" || dtype === "i32" || dtype === "f32")
      ? [{ name, dtype, content: "mask" }]
      : [],
  );
}

/** Further outputs of transformers' detectors: states, attentions and what their losses need. */
const STATES =
  /^(encoder_|decoder_|cross_)?(last_)?hidden_states?$|^(encoder_|decoder_|cross_)?attentions$|^intermediate_|^init(ial)?_reference_points$|^enc_|^auxiliary_outputs|^denoising_|^pred_masks$/;

/** Those that RT-DETR, D-FINE and their kin have beside the others. */
const STATES_OF_RTDETR = /^enc_topk_|^intermediate_(logits|predicted_corners)$|^initial_reference_points$/;

/** What is assumed of models that could be Conditional or Deformable DETR as well. */
const ASSUMED_OF_SIGMOID =
  "RT-DETR's pre-processing, levels in 0–1; Conditional, Deformable and DAB-DETR of own classes look alike and want ImageNet's " +
  `mean and deviation: for these give ${saying({ mean: IMAGENET_MEAN, std: IMAGENET_STD })}`;

/** Which family a model is of, by its inputs, classes and further outputs. */
function familyOf(
  states: readonly TensorInfo[],
  activation: Activation,
  classes: number,
  hasMask: boolean,
): "detr" | "rtdetr" | "unknown" {
  // DETR and those after it have a mask or 91 ids; RT-DETR and D-FINE are trained on COCO's 80.
  if (activation === "softmax" || hasMask || classes === COCO_91.length) return "detr";
  if (states.some(({ name }) => STATES_OF_RTDETR.test(name)) || classes === COCO_80.length) return "rtdetr";
  return states.length > 0 ? "detr" : "unknown";
}

function find(traits: ModelTraits, activation: Activation): ModelSpecParts<QueriesPlan> | undefined {
  const { model } = traits;
  const boxes = findOutput(model, "pred_boxes", 3, FLOATS);
  const logits = findOutput(model, "logits", 3, FLOATS) ?? findOutput(model, "pred_logits", 3, FLOATS);
  const classes = logits?.shape[2] ?? -1;
  if (boxes === undefined || logits === undefined || boxes.shape[2] !== 4 || classes < 1) return undefined;
  const states = model.outputs.filter(({ name }) => STATES.test(name));
  const isOfRtdetr = states.some(({ name }) => STATES_OF_RTDETR.test(name));
  if (!traits.forced && !fits(logits, activation, traits.classes, isOfRtdetr)) return undefined;
  const sizeInputs = maskInputs(model);
  // LibreYOLO's names tell the family: of those with such outputs its registry lets RT-DETR's kin pass.
  const isLibreYolo = libreYoloFamily(model.metadata) !== undefined;
  const family = isLibreYolo ? "rtdetr" : familyOf(states, activation, classes, sizeInputs.length > 0);
  return {
    outputs: [logits, boxes],
    auxiliary: states,
    // RT-DETR and D-FINE take 0–1, DETR and those after it ImageNet's mean and deviation.
    preprocessing: family === "detr" ? DETR_PREPROCESSING : RTDETR_PREPROCESSING,
    assumptions: family === "unknown" && !traits.forced ? [ASSUMED_OF_SIGMOID] : [],
    classes: activation === "softmax" ? classes - 1 : classes,
    needsNms: false,
    sizeInputs,
    plan: { kind: "queries", logits: logits.name, boxes: boxes.name, classes, activation },
  };
}

/** RT-DETR, D-FINE, Deformable DETR: a sigmoid a class. */
export const huggingFace: Head<QueriesPlan> = defineHead(
  "hugging-face",
  "outputs logits [N, queries, classes], sigmoid, and pred_boxes [N, queries, 4] in 0–1 (RT-DETR, D-FINE)",
  decodeQueries,
  (traits) => find(traits, "sigmoid"),
);

/** DETR, YOLOS, Table Transformer: a softmax over the classes and "no object", which is last. */
export const huggingFaceSoftmax: Head<QueriesPlan> = defineHead(
  "hugging-face-softmax",
  'outputs logits [N, queries, classes+1], softmax, "no object" last, and pred_boxes in 0–1 (DETR, YOLOS)',
  decodeQueries,
  (traits) => find(traits, "softmax"),
);
