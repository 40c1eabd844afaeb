/**
 * @module Rows decoder: rows of a box, a score and a class as they stand, in columns of one or several outputs, and object queries with
 * their logits; the CPU reference of their kernels. Parts have none.
 */

import { ModelError, message } from "../core/errors.ts";
import type { TensorInfo } from "../core/tensor.ts";
import type { Candidates, DetectionBlock } from "../model/rows.ts";
import { pushBox } from "./dense.ts";
import type { DecodeInput } from "./head.ts";
import type { PartsPlan, RowColumns } from "./host-plan.ts";
import { HIGHEST, LOWEST } from "./map-decoder.ts";
import { bestOf, classIdOf, NumberSlice, outputTensor, refuseBetween, refuseOutput, sigmoid } from "./outputs.ts";
import type { ColumnsPlan, QueriesPlan, RowsPlan } from "./plans.ts";
import { FLOATS, HOST_NUMBERS, INTEGERS, NUMBERS } from "./traits.ts";

/** The plan of rows that begin with a box, a score and a class. */
export function rowsPlan({ name: output }: TensorInfo, columns: number): RowsPlan {
  return { kind: "rows", output, columns, boxColumn: 0, scoreColumn: 4, classColumn: 5 };
}

const { fround } = Math;

const values: NumberSlice = new NumberSlice();
const counts: NumberSlice = new NumberSlice();
const boxes: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();
const classes: NumberSlice = new NumberSlice();
const points: NumberSlice = new NumberSlice();
const logits: NumberSlice = new NumberSlice();

/** The rows of the image as the counts have them: rows before it, and its own, of the `rows` there are. */
const run = { first: 0, length: 0 };

function findRun(name: string, input: DecodeInput, rows: number): void {
  const lengths = outputTensor(input, name, INTEGERS, input.index + 1);
  counts.load(lengths, 0, input.index + 1);
  const { data, offset } = counts;
  run.first = 0;
  for (let image = 0; image < input.index; image++) run.first += data[offset + image]!;
  // What a model has below 0 is no count; the kernel's conversion to unsigned ends at 0 too.
  run.first = Math.max(0, run.first);
  run.length = Math.min(data[offset + input.index]!, rows - run.first);
}

/** Append the rows of the image whose score reaches the threshold, in their order. */
export function decodeRows(plan: RowsPlan, input: DecodeInput, candidates: Candidates): void {
  const { columns, boxColumn, scoreColumn, classColumn, batchColumn } = plan;
  const { boxForm = "corners", boxUnit = "pixels" } = plan;
  const isFlat = batchColumn !== undefined || plan.counts !== undefined;
  const tensor = isFlat
    ? outputTensor(input, plan.output, FLOATS, 0, columns)
    : outputTensor(input, plan.output, FLOATS, input.index + 1, -1, columns);
  run.length = tensor.shape[isFlat ? 0 : 1]!;
  run.first = isFlat ? 0 : input.index * run.length;
  if (plan.counts !== undefined) findRun(plan.counts, input, run.length);
  values.load(tensor, run.first * columns, Math.max(0, run.length) * columns);
  const { data, offset } = values;
  const threshold = fround(input.threshold);
  const firstSource = isFlat ? run.first : 0;
  for (let row = 0, at = offset; row < run.length; row++, at += columns) {
    if (batchColumn !== undefined && data[at + batchColumn]! !== input.index) continue;
    const score = data[at + scoreColumn]!;
    if (score < threshold) {
      refuseBetween(data[at + classColumn]!, plan.output);
      continue;
    }
    const box = at + boxColumn;
    // A row of NaN has no class either: it is appended as it is, and counted there.
    const classId = Number.isNaN(score) ? 0 : classIdOf(data[at + classColumn]!, plan.output);
    pushBox(boxForm, boxUnit, input, candidates, data, box, 1, score, classId, firstSource + row);
  }
}

/** How many of an image's rows are valid: as many as a tensor [N] or [N, 1] says, or all. */
function rowCount(
  { counts: name }: { readonly counts?: string | undefined },
  input: DecodeInput,
  rows: number,
): number {
  if (name === undefined) return rows;
  const isFlat = input.outputs.get(name)?.shape.length === 1;
  const tensor = outputTensor(input, name, NUMBERS, input.index + 1, isFlat ? undefined : 1);
  counts.load(tensor, input.index, 1);
  return Math.min(rows, counts.data[counts.offset]!);
}

/** True for a row that only fills a tensor up, as mmdeploy's do. */
function isFilling(id: number, score: number): boolean {
  return id === -1 && score === 0;
}

/** Classes and scores that were taken for each other: of objects of class 0 no row would ever pass. */
function refuseScore(id: number, output: string): void {
  if (id > 0) refuseBetween(id, output);
}

/** Append the valid rows whose score reaches the threshold, in their order. */
export function decodeColumns(plan: ColumnsPlan, input: DecodeInput, candidates: Candidates): void {
  const { index } = input;
  const { boxUnit = "pixels" } = plan;
  const boxTensor = outputTensor(input, plan.boxes, FLOATS, index + 1, -1, 4);
  const rows = boxTensor.shape[1]!;
  boxes.load(boxTensor, index * rows * 4, rows * 4);
  scores.load(outputTensor(input, plan.scores, FLOATS, index + 1, rows), index * rows, rows);
  classes.load(outputTensor(input, plan.classes, NUMBERS, index + 1, rows), index * rows, rows);
  const threshold = fround(input.threshold);
  const count = rowCount(plan, input, rows);
  const { data } = boxes;
  for (let row = 0; row < count; row++) {
    const score = scores.data[scores.offset + row]!;
    const id = classes.data[classes.offset + row]!;
    if (score < threshold) {
      refuseScore(id, plan.classes);
      continue;
    }
    const at = boxes.offset + row * 4;
    if (isFilling(id, score)) continue;
    const classId = Number.isNaN(score) ? 0 : classIdOf(id, plan.classes);
    pushBox("corners", boxUnit, input, candidates, data, at, 1, score, classId, row);
  }
}

/** A box as `pushBox` reads one. */
const box: Float32Array = new Float32Array(new ArrayBuffer(16));

/** Look at the numbers of the image's rows. @param rows how many there must be; -1 for any @returns how many there are */
function load(slice: NumberSlice, part: RowColumns, plan: PartsPlan, input: DecodeInput, rows = -1): number {
  const tensor = input.outputs.get(part.output);
  const shape = tensor?.shape ?? [];
  const axis = plan.isNumbered || plan.isSingle ? 0 : 1;
  const found = shape[axis] ?? -1;
  let width = 1;
  for (let at = axis + 1; at < shape.length; at++) width *= shape[at]!;
  const dtypes = part === plan.classes ? HOST_NUMBERS : FLOATS;
  const fits =
    found >= 0 && width === part.width && (rows < 0 || rows === found) && (axis === 0 || shape[0]! > input.index);
  if (tensor === undefined || !dtypes.includes(tensor.dtype) || !fits) {
    const wanted = axis === 0 ? `[?, ${part.width}]` : `[?, ${rows < 0 ? "?" : rows}, ${part.width}]`;
    return refuseOutput(part.output, `${dtypes.join(" or ")} ${wanted}`, tensor);
  }
  slice.load(tensor, axis === 0 ? 0 : input.index * found * width, found * width);
  return found;
}

/** Append the valid rows of the image whose score reaches the threshold, in their order. */
export function decodeParts(plan: PartsPlan, input: DecodeInput, candidates: Candidates): void {
  const rows = load(boxes, plan.boxes, plan, input);
  load(scores, plan.scores, plan, input, rows);
  if (plan.classes !== undefined) load(classes, plan.classes, plan, input, rows);
  const count = rowCount(plan, input, rows);
  const { boxForm = "corners", boxUnit = "pixels" } = plan;
  const threshold = fround(input.threshold);
  const x = plan.axes === "yx" ? 1 : 0;
  for (let row = 0; row < count; row++) {
    const score = scores.data[scores.offset + row * plan.scores.width + plan.scores.first]!;
    const at = boxes.offset + row * plan.boxes.width;
    if (plan.isNumbered && boxes.data[at] !== input.index) continue;
    const id = plan.classes && classes.data[classes.offset + row * plan.classes.width + plan.classes.first]!;
    if (score < threshold) {
      if (id !== undefined) refuseScore(id, plan.classes!.output);
      continue;
    }
    for (let side = 0; side < 4; side += 2) {
      box[side] = boxes.data[at + plan.boxes.first + side + x]!;
      box[side + 1] = boxes.data[at + plan.boxes.first + side + 1 - x]!;
    }
    if (id !== undefined && isFilling(id, score)) continue;
    const classId = id === undefined || Number.isNaN(score) ? 0 : classIdOf(id, plan.classes!.output);
    pushBox(boxForm, boxUnit, input, candidates, box, 0, 1, score, classId, row);
  }
}

/** Write the points of the kept rows: x, y in input pixels and the score of each. @param target f32 [rows, points × 3] */
export function decodePartPoints(
  plan: PartsPlan,
  input: DecodeInput,
  block: DetectionBlock,
  target: Float32Array,
): void {
  const { points: part, pointScores, pointCount = 0, arePointLogits = false, boxUnit, axes } = plan;
  if (part === undefined) return;
  const rows = load(points, part, plan, input);
  if (pointScores !== undefined) load(scores, pointScores, plan, input, rows);
  const numbers = pointScores === undefined || arePointLogits ? 3 : 2;
  const scaleX = boxUnit === "fraction" ? input.inputWidth : 1;
  const scaleY = boxUnit === "fraction" ? input.inputHeight : 1;
  const x = axes === "yx" ? 1 : 0;
  for (let row = 0, to = 0; row < block.count; row++) {
    const source = block.sources[row]!;
    let from = points.offset + source * part.width + part.first;
    for (let point = 0; point < pointCount; point++, from += numbers, to += 3) {
      target[to] = points.data[from + x]! * scaleX;
      target[to + 1] = points.data[from + 1 - x]! * scaleY;
      const score = pointScores && scores.data[scores.offset + source * pointScores.width + point]!;
      if (score === undefined) target[to + 2] = points.data[from + 2]!;
      else target[to + 2] = arePointLogits ? sigmoid(score) : score;
    }
  }
}

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
