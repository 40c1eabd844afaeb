/** @module Columns decoder: boxes, scores and class ids in tensors of their own; the CPU reference of its kernel. */

import type { Tensor } from "../../core/tensor.ts";
import type { Candidates } from "../candidates.ts";
import type { DecodeInput } from "../layout.ts";
import type { ColumnsPlan } from "../plan.ts";
import { NumberSlice } from "./number-slice.ts";
import { classIdOf, FLOATS, INTEGERS, NUMBERS, outputTensor } from "./output-tensor.ts";

const boxes: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();
const classes: NumberSlice = new NumberSlice();
const counts: NumberSlice = new NumberSlice();

function rowCount(plan: ColumnsPlan, input: DecodeInput, rows: number): number {
  if (plan.counts === undefined) return rows;
  const isFlat = input.outputs.get(plan.counts)?.shape.length === 1;
  const tensor = outputTensor(input, plan.counts, INTEGERS, input.index + 1, isFlat ? undefined : 1);
  counts.load(tensor, input.index, 1);
  return Math.min(rows, counts.data[counts.offset]!);
}

function load(slice: NumberSlice, tensor: Tensor, index: number, length: number): void {
  slice.load(tensor, index * length, length);
}

/**
 * Append the valid rows whose score reaches the threshold, in their order.
 *
 * @throws {ShapeError} If an output has another shape or dtype than the plan says
 * @throws {ModelError} If a class id is no whole number from 0 on
 */
export function decodeColumns(plan: ColumnsPlan, input: DecodeInput, candidates: Candidates): void {
  const { index } = input;
  const boxTensor = outputTensor(input, plan.boxes, FLOATS, input.index + 1, -1, 4);
  const rows = boxTensor.shape[1]!;
  load(boxes, boxTensor, index, rows * 4);
  load(scores, outputTensor(input, plan.scores, FLOATS, input.index + 1, rows), index, rows);
  load(classes, outputTensor(input, plan.classes, NUMBERS, input.index + 1, rows), index, rows);
  const threshold = Math.fround(input.threshold);
  const count = rowCount(plan, input, rows);
  const { data } = boxes;
  for (let row = 0; row < count; row++) {
    const score = scores.data[scores.offset + row]!;
    if (score < threshold) continue;
    const at = boxes.offset + row * 4;
    const classId = Number.isNaN(score) ? 0 : classIdOf(classes.data[classes.offset + row]!, plan.classes);
    candidates.push(data[at]!, data[at + 1]!, data[at + 2]!, data[at + 3]!, score, classId, row);
  }
}
