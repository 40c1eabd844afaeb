/** @module Rows decoder: finished rows of a box, a score and a class; the CPU reference of its kernel. */

import type { TensorInfo } from "../core/tensor.ts";
import type { Candidates } from "../model/rows.ts";
import { pushBox } from "./dense.ts";
import type { ColumnsPlan, DecodeInput, RowsPlan } from "./head.ts";
import { classIdOf, NumberSlice, outputTensor, refuseBetween } from "./outputs.ts";
import { FLOATS, INTEGERS, NUMBERS } from "./traits.ts";

/** The plan of rows that begin with a box, a score and a class. */
export function rowsPlan({ name: output }: TensorInfo, columns: number): RowsPlan {
  return { kind: "rows", output, columns, boxColumn: 0, scoreColumn: 4, classColumn: 5 };
}

const values: NumberSlice = new NumberSlice();
const counts: NumberSlice = new NumberSlice();

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
  const threshold = Math.fround(input.threshold);
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

const boxes: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();
const classes: NumberSlice = new NumberSlice();

/** How many of an image's rows are valid: as many as a tensor [N] or [N, 1] says, or all. */
export function rowCount(
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
export function isFilling(id: number, score: number): boolean {
  return id === -1 && score === 0;
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
  const threshold = Math.fround(input.threshold);
  const count = rowCount(plan, input, rows);
  const { data } = boxes;
  for (let row = 0; row < count; row++) {
    const score = scores.data[scores.offset + row]!;
    if (score < threshold) continue;
    const at = boxes.offset + row * 4;
    const id = classes.data[classes.offset + row]!;
    if (isFilling(id, score)) continue;
    const classId = Number.isNaN(score) ? 0 : classIdOf(id, plan.classes);
    pushBox("corners", boxUnit, input, candidates, data, at, 1, score, classId, row);
  }
}
