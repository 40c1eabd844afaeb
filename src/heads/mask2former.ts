/** @module Head `mask2former`: queries of a class and a mask, without boxes, as transformers exports Mask2Former. */

import { BilinearAxis } from "../image/bilinear-axis.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, defineHead, type Head } from "./head.ts";
import type { MaskQueriesPlan } from "./host-plan.ts";
import { DETR_PREPROCESSING, maskInputs } from "./hugging-face.ts";
import { NumberSlice, outputTensor, sigmoid } from "./outputs.ts";
import { FLOATS, findOutput, isFloat } from "./traits.ts";

/** Cells that masks are enlarged to before they are looked at, whatever the model's input. */
const MASK2FORMER_SIDE = 384;

const ASSUMED =
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
      assumptions: [ASSUMED],
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
