/**
 * @module Heads of transformers' exports: `hugging-face` and `hugging-face-softmax`, outputs logits and pred_boxes, and `mask2former`, queries
 * of a class and a mask without boxes.
 */

import type { TensorInfo } from "../core/tensor.ts";
import { BilinearAxis } from "../image/bilinear-axis.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_80, COCO_91, type ModelInfo } from "../model/model-info.ts";
import type { Candidates } from "../model/rows.ts";
import type { DetrFamily } from "../onnx/beside.ts";
import { libreYoloFamily } from "./corners.ts";
import { MOST_CHOSEN } from "./dense-reading.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts, type SizeInput, saying } from "./head.ts";
import type { MaskQueriesPlan } from "./host-plan.ts";
import { areBoxes, NumberSlice, outputOf, outputTensor, sigmoid } from "./outputs.ts";
import type { QueriesPlan } from "./plans.ts";
import { decodeQueries } from "./rows.ts";
import { FLOATS, findOutput, isFloat, type ModelTraits } from "./traits.ts";

/** Upstream, and the image processors of transformers, resize by Pillow's BILINEAR, or by torchvision's with antialias. */
export const RTDETR_PREPROCESSING: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", resize: "antialias" };

/** DETR's, and that of those after it. */
export const DETR_PREPROCESSING: Preprocessing = { ...RTDETR_PREPROCESSING, mean: IMAGENET_MEAN, std: IMAGENET_STD };

/** True for DETR's masks as optimum exports them: without the boxes, which the network has. */
export function isOfMasksOnly({ outputs }: Pick<ModelInfo, "outputs">): boolean {
  const ranks = new Map(outputs.map(({ name, shape }) => [name, shape.length]));
  return ranks.get("logits") === 3 && ranks.get("pred_masks") === 4 && !ranks.has("pred_boxes");
}

/** What is said of such a model. */
export const OF_MASKS_ONLY = {
  found: "it gives masks of queries without their boxes, as optimum exports DETR's",
  hint: "export it by `torch.onnx.export` with the outputs logits, pred_boxes and pred_masks; for boxes only by `optimum-cli export onnx --task object-detection`",
} as const;

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
function maskInputs({ inputs }: { readonly inputs: readonly TensorInfo[] }): SizeInput[] {
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

/** What is assumed of models that could be of the other family as well, by what they are taken for. */
const ASSUMED_OF_SIGMOID: Readonly<Record<DetrFamily, string>> = {
  rtdetr:
    "RT-DETR's pre-processing, levels in 0–1; Conditional, Deformable and DAB-DETR look alike and want ImageNet's mean and " +
    `deviation: for these give ${saying({ mean: IMAGENET_MEAN, std: IMAGENET_STD })}, or put preprocessor_config.json beside it`,
  detr:
    "Conditional DETR's pre-processing, ImageNet's mean and deviation; RT-DETR and D-FINE of 91 classes look alike and want levels in " +
    `0–1: for these give ${saying({ mean: [0, 0, 0], std: [1, 1, 1] })}, or put preprocessor_config.json beside it`,
};

/** Which family a model is of, by its inputs, further outputs and weights; `undefined` if nothing tells. */
function familyOf(
  { weightsOf }: ModelTraits,
  states: readonly TensorInfo[],
  activation: Activation,
  hasMask: boolean,
): DetrFamily | undefined {
  if (activation === "softmax" || hasMask) return "detr";
  if (states.some(({ name }) => STATES_OF_RTDETR.test(name))) return "rtdetr";
  if (weightsOf === "detr" || weightsOf === "rtdetr") return weightsOf;
  return states.length > 0 ? "detr" : undefined;
}

/** The likelier family: DETR and those after it have COCO's 91 ids; RT-DETR and D-FINE are trained on COCO's 80. */
function likelierFamily(classes: number): DetrFamily {
  return classes === COCO_91.length ? "detr" : "rtdetr";
}

/** The scores of a model of queries, beside their boxes; a grid has more rows than there are queries. */
export function logitsOf(
  traits: ModelTraits,
  name: string | RegExp,
  boxes: TensorInfo | undefined,
): TensorInfo | undefined {
  const rows = boxes?.shape[1] ?? 0;
  return outputOf(traits, name, 3, FLOATS, (info) => info !== boxes && info.shape[1] === rows && rows <= MOST_CHOSEN);
}

function find(traits: ModelTraits, activation: Activation): ModelSpecParts<QueriesPlan> | undefined {
  const { model } = traits;
  const boxes = outputOf(traits, "pred_boxes", 3, FLOATS, areBoxes);
  const logits = logitsOf(traits, /^(pred_)?logits$/, boxes);
  const classes = logits?.shape[2] ?? -1;
  if (boxes === undefined || logits === undefined || boxes.shape[2] !== 4 || classes < 1) return undefined;
  const states = model.outputs.filter(({ name }) => STATES.test(name));
  const isOfRtdetr = states.some(({ name }) => STATES_OF_RTDETR.test(name));
  if (!traits.forced && !fits(logits, activation, traits.classes, isOfRtdetr)) return undefined;
  const sizeInputs = maskInputs(model);
  // LibreYOLO's names tell the family: of those with such outputs its registry lets RT-DETR's kin pass.
  const isLibreYolo = libreYoloFamily(model.metadata) !== undefined;
  const told = isLibreYolo ? "rtdetr" : familyOf(traits, states, activation, sizeInputs.length > 0);
  const family = told ?? likelierFamily(classes);
  return {
    outputs: [logits, boxes],
    auxiliary: states,
    // RT-DETR and D-FINE take 0–1, DETR and those after it ImageNet's mean and deviation.
    preprocessing: family === "detr" ? DETR_PREPROCESSING : RTDETR_PREPROCESSING,
    assumptions: told === undefined ? [ASSUMED_OF_SIGMOID[family]] : [],
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

/** Cells that masks are enlarged to before they are looked at, whatever the model's input. */
const MASK2FORMER_SIDE = 384;

const ASSUMED_OF_MASK2FORMER =
  "instances by Mask2Former: exports of MaskFormer, and of models for classes of pixels, look alike; of these masks differ in what " +
  "lies between their cells, or objects are regions of a class";

/**
 * Score: probability of the class × mean probability of the mask where it is; the box is the mask's. As
 * `post_process_instance_segmentation` has it: of all classes of all queries as many count as there are queries.
 */
export const mask2former: Head<MaskQueriesPlan> = defineHead(
  "mask2former",
  "outputs class_queries_logits [N, queries, classes+1], softmax, and masks_queries_logits [N, queries, height, width]",
  decodeMaskQueries,
  ({ model, classes: names }) => {
    const logits = findOutput(model, "class_queries_logits", 3, FLOATS);
    const masks = findOutput(model, "masks_queries_logits", 4, FLOATS);
    const classes = (logits?.shape[2] ?? 0) - 1;
    if (logits === undefined || masks === undefined || classes < 1) return undefined;
    if (names !== undefined && names !== classes) return undefined;
    return {
      outputs: [logits, masks],
      // States, attentions and what its losses need.
      auxiliary: model.outputs.filter(
        (info) => isFloat(info) && /hidden_states?$|attentions$|^auxiliary_/.test(info.name),
      ),
      preprocessing: DETR_PREPROCESSING,
      assumptions: [ASSUMED_OF_MASK2FORMER],
      sizeInputs: maskInputs(model),
      classes,
      needsNms: false,
      plan: { kind: "mask-queries", logits: logits.name, masks: masks.name, classes },
      masks: { output: masks.name, rule: "mask2former" },
    };
  },
  "segment",
);

const { fround } = Math;

const logits: NumberSlice = new NumberSlice();
const planes: NumberSlice = new NumberSlice();
const columns: BilinearAxis = new BilinearAxis();
const rows: BilinearAxis = new BilinearAxis();
/** A query's mask: mean probability of its cells, and what they lie in. */
const found = { score: 0, left: 0, top: 0, right: 0, bottom: 0 };

/** Look at a plane, enlarged. */
function look(data: Float32Array, at: number, width: number): void {
  let sum = 0;
  let count = 0;
  found.left = found.top = MASK2FORMER_SIDE;
  found.right = found.bottom = 0;
  for (let row = 0; row < MASK2FORMER_SIDE; row++) {
    const upper = at + rows.first[row]! * width;
    const lower = at + rows.second[row]! * width;
    const down = rows.weight[row]!;
    for (let column = 0; column < MASK2FORMER_SIDE; column++) {
      const left = columns.first[column]!;
      const right = columns.second[column]!;
      const across = columns.weight[column]!;
      const above = data[upper + left]! * (1 - across) + data[upper + right]! * across;
      const below = data[lower + left]! * (1 - across) + data[lower + right]! * across;
      const value = above * (1 - down) + below * down;
      if (!(value > 0)) continue;
      count += 1;
      sum += sigmoid(value);
      if (found.top > row) found.top = row;
      found.bottom = row + 1;
      if (found.left > column) found.left = column;
      if (found.right <= column) found.right = column + 1;
    }
  }
  found.score = sum / (count + 1e-6);
}

/** Probability of each class of each query, "no object" left out. */
let shares: Float32Array = new Float32Array(0);

/** Fill `shares`. @returns how many there are */
function weigh(data: Float32Array, from: number, queries: number, classes: number): number {
  const count = queries * classes;
  if (shares.length !== count) shares = new Float32Array(count);
  for (let query = 0, at = from, to = 0; query < queries; query++, at += classes + 1) {
    let highest = data[at]!;
    for (let c = 1; c <= classes; c++) if (data[at + c]! > highest) highest = data[at + c]!;
    let total = 0;
    for (let c = 0; c <= classes; c++) total += Math.exp(data[at + c]! - highest);
    for (let c = 0; c < classes; c++, to++) shares[to] = Math.exp(data[at + c]! - highest) / total;
  }
  return count;
}

/** The least share that counts: as many as there are queries do. */
function leastShare(count: number, queries: number, threshold: number): number {
  let reaching = 0;
  for (let at = 0; at < count; at++) if (shares[at]! >= threshold) reaching += 1;
  return reaching <= queries ? threshold : shares.toSorted()[count - queries]!;
}

/** Append each class of a query whose score reaches the threshold, with the box of the query's mask; one without is no object. */
function decodeMaskQueries(plan: MaskQueriesPlan, input: DecodeInput, candidates: Candidates): void {
  const { index } = input;
  const { classes } = plan;
  const tensor = outputTensor(input, plan.logits, FLOATS, index + 1, -1, classes + 1);
  const queries = tensor.shape[1]!;
  const masks = outputTensor(input, plan.masks, FLOATS, index + 1, queries, -1, -1);
  const [, , height = 0, width = 0] = masks.shape;
  logits.load(tensor, index * queries * (classes + 1), queries * (classes + 1));
  columns.set(0, MASK2FORMER_SIDE, 0, MASK2FORMER_SIDE, 0, width);
  rows.set(0, MASK2FORMER_SIDE, 0, MASK2FORMER_SIDE, 0, height);
  const scaleX = input.inputWidth / MASK2FORMER_SIDE;
  const scaleY = input.inputHeight / MASK2FORMER_SIDE;
  const threshold = fround(input.threshold);
  const count = weigh(logits.data, logits.offset, queries, classes);
  // No mask's mean exceeds 1.
  const least = leastShare(count, queries, threshold);
  let seen = -1;
  for (let at = 0; at < count; at++) {
    const share = shares[at]!;
    if (share < least) continue;
    const query = Math.floor(at / classes);
    if (seen !== query) {
      planes.load(masks, (index * queries + query) * height * width, height * width);
      look(planes.data, planes.offset, width);
      seen = query;
    }
    const score = fround(share * found.score);
    if (score < threshold) continue;
    const { left, top, right, bottom } = found;
    candidates.push(left * scaleX, top * scaleY, right * scaleX, bottom * scaleY, score, at % classes, query);
  }
}
