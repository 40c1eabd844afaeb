/** @module Queries decoder: logits and boxes of object queries; the CPU reference of its kernel. */

import { ModelError, message } from "../core/errors.ts";
import type { Candidates } from "../model/rows.ts";
import type { DecodeInput, QueriesPlan } from "./head.ts";
import { HIGHEST, LOWEST } from "./map-decoder.ts";
import { bestOf, NumberSlice, outputTensor, sigmoid } from "./outputs.ts";
import { FLOATS } from "./traits.ts";

const { fround } = Math;

const logits: NumberSlice = new NumberSlice();
const boxes: NumberSlice = new NumberSlice();

function pushQuery(input: DecodeInput, candidates: Candidates, query: number, score: number, classId: number): void {
  const { data, offset } = boxes;
  const at = offset + query * 4;
  const { inputWidth, inputHeight } = input;
  const halfWidth = fround(data[at + 2]! * 0.5);
  const halfHeight = fround(data[at + 3]! * 0.5);
  candidates.push(
    fround(data[at]! - halfWidth) * inputWidth,
    fround(data[at + 1]! - halfHeight) * inputHeight,
    fround(data[at]! + halfWidth) * inputWidth,
    fround(data[at + 1]! + halfHeight) * inputHeight,
    score,
    classId,
    query,
  );
}

/** Every class of every query is a candidate. */
function decodeSigmoid(classes: number, queries: number, input: DecodeInput, candidates: Candidates): void {
  const { data, offset } = logits;
  const threshold = fround(input.threshold);
  // Most logits are ruled out without an exponential. The margin keeps those that rounding could lift over the
  // threshold; beyond 8, where f32 has few values left below 1, it would not do.
  const surely = Math.min(8, Math.log(threshold / (1 - threshold))) - 1e-3;
  for (let query = 0, at = offset; query < queries; query++) {
    for (let classId = 0; classId < classes; classId++, at++) {
      const logit = data[at]!;
      if (logit < surely) continue;
      const score = fround(sigmoid(logit));
      if (score < threshold) continue;
      pushQuery(input, candidates, query, score, classId);
    }
  }
}

/** The best class of a query, the last one apart, is its candidate. */
function decodeSoftmax(classes: number, queries: number, input: DecodeInput, candidates: Candidates): void {
  const { data, offset } = logits;
  const threshold = fround(input.threshold);
  for (let query = 0, at = offset; query < queries; query++, at += classes) {
    const classId = bestOf(data, at, classes - 1, 1);
    const highest = Math.max(data[at + classId]!, data[at + classes - 1]!);
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += Math.exp(data[at + c]! - highest);
    const score = fround(Math.exp(data[at + classId]! - highest) / sum);
    if (score < threshold) continue;
    pushQuery(input, candidates, query, score, classId);
  }
}

/** @throws {ModelError} Always: what a model gives as logits has been put through the sigmoid, or the softmax. @param found what shows it */
export function refuseProbabilities(found: string): never {
  const hint =
    "it takes the sigmoid or softmax itself; export it without, or read it by a head of your own: `defineHead`, docs/models.md";
  throw new ModelError(message("read the scores of the model's queries as logits", found, hint), "logits");
}

/** Found where no logit of an image lies where only logits do. */
export const ONLY_PROBABILITIES = "all lie from 0 to 1, as probabilities do";

/** Logits of an image lie to both sides of 0: most of its queries see nothing. */
function refuseSquashed(length: number): void {
  const { data, offset } = logits;
  let hasPositive = false;
  // The first of a model's own logits ends it.
  for (let at = offset; at < offset + length; at++) {
    const value = data[at]!;
    if (!(value >= LOWEST && value <= HIGHEST)) return;
    hasPositive ||= value > -LOWEST;
  }
  if (hasPositive) refuseProbabilities(ONLY_PROBABILITIES);
}

/** Append the candidates whose probability reaches the threshold, query by query. */
export function decodeQueries(plan: QueriesPlan, input: DecodeInput, candidates: Candidates): void {
  const tensor = outputTensor(input, plan.logits, FLOATS, input.index + 1, -1, plan.classes);
  const queries = tensor.shape[1]!;
  const boxTensor = outputTensor(input, plan.boxes, FLOATS, input.index + 1, queries, 4);
  logits.load(tensor, input.index * queries * plan.classes, queries * plan.classes);
  boxes.load(boxTensor, input.index * queries * 4, queries * 4);
  refuseSquashed(queries * plan.classes);
  if (plan.activation === "sigmoid") decodeSigmoid(plan.classes, queries, input, candidates);
  else decodeSoftmax(plan.classes, queries, input, candidates);
}
