/** @module Head `mask2former`: queries of a class and a mask, without boxes, as transformers exports Mask2Former. */

import { BilinearAxis } from "../image/bilinear-axis.ts";
import { IMAGENET_MEAN, IMAGENET_STD, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, defineHead, type Head } from "./head.ts";
import type { MaskQueriesPlan } from "./host-plan.ts";
import { maskInputs } from "./hugging-face.ts";
import { NumberSlice, outputTensor } from "./outputs.ts";
import { FLOATS, findOutput, isFloat } from "./traits.ts";

/** Cells that masks are enlarged to before they are looked at, whatever the model's input. */
export const MASK2FORMER_SIDE = 384;

/** Further outputs: states, attentions and what its losses need. */
const STATES = /hidden_states?$|attentions$|^auxiliary_/;

const ASSUMED =
  "instances by Mask2Former: exports of MaskFormer, and of models for classes of pixels, look alike; of these masks differ in what " +
  "lies between their cells, or objects are regions of a class";

/**
 * Score: probability of the class × mean probability of the mask where it is; the box is the mask's. As
 * `post_process_instance_segmentation`, whose best queries × classes are the caller's maximum count here.
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
      auxiliary: model.outputs.filter((info) => isFloat(info) && STATES.test(info.name)),
      preprocessing: {
        ...YOLO_PREPROCESSING,
        fit: "stretch",
        resize: "antialias",
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
      },
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
  found.left = MASK2FORMER_SIDE;
  found.top = MASK2FORMER_SIDE;
  found.right = 0;
  found.bottom = 0;
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
      sum += 1 / (1 + Math.exp(-value));
      if (found.top > row) found.top = row;
      found.bottom = row + 1;
      if (found.left > column) found.left = column;
      if (found.right <= column) found.right = column + 1;
    }
  }
  found.score = sum / (count + 1e-6);
}

/** Append each class of a query whose score reaches the threshold, with the box of the query's mask; one without is no object. */
function decodeMaskQueries(plan: MaskQueriesPlan, input: DecodeInput, candidates: Candidates): void {
  const { index } = input;
  const channels = plan.classes + 1;
  const tensor = outputTensor(input, plan.logits, FLOATS, index + 1, -1, channels);
  const queries = tensor.shape[1]!;
  const masks = outputTensor(input, plan.masks, FLOATS, index + 1, queries, -1, -1);
  const [, , height = 0, width = 0] = masks.shape;
  logits.load(tensor, index * queries * channels, queries * channels);
  columns.set(0, MASK2FORMER_SIDE, 0, MASK2FORMER_SIDE, 0, width);
  rows.set(0, MASK2FORMER_SIDE, 0, MASK2FORMER_SIDE, 0, height);
  const scaleX = input.inputWidth / MASK2FORMER_SIDE;
  const scaleY = input.inputHeight / MASK2FORMER_SIDE;
  const { data } = logits;
  const threshold = fround(input.threshold);
  for (let query = 0, at = logits.offset; query < queries; query++, at += channels) {
    let highest = data[at]!;
    for (let c = 1; c < channels; c++) if (data[at + c]! > highest) highest = data[at + c]!;
    let total = 0;
    for (let c = 0; c < channels; c++) total += Math.exp(data[at + c]! - highest);
    let isSeen = false;
    for (let classId = 0; classId < plan.classes; classId++) {
      const share = Math.exp(data[at + classId]! - highest) / total;
      // No mask's mean exceeds 1.
      if (share < threshold) continue;
      if (!isSeen) {
        planes.load(masks, (index * queries + query) * height * width, height * width);
        look(planes.data, planes.offset, width);
        isSeen = true;
      }
      const score = fround(share * found.score);
      if (score < threshold) continue;
      const { left, top, right, bottom } = found;
      candidates.push(left * scaleX, top * scaleY, right * scaleX, bottom * scaleY, score, classId, query);
    }
  }
}
