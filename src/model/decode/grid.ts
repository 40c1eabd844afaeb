/** @module Grid decoder: YOLOX's undecoded grids; the CPU reference of its kernel. */

import { cellCount } from "../anchors.ts";
import type { Candidates } from "../candidates.ts";
import type { DecodeInput } from "../layout.ts";
import type { GridPlan } from "../plan.ts";
import { NumberSlice } from "./number-slice.ts";
import { FLOATS, outputTensor } from "./output-tensor.ts";

const { fround } = Math;

const values: NumberSlice = new NumberSlice();

/** Append one cell's best class if its score reaches the threshold; a NaN that was read is counted when appended. */
function decodeCell(
  at: number,
  cell: number,
  column: number,
  row: number,
  stride: number,
  classes: number,
  threshold: number,
  candidates: Candidates,
): void {
  const { data } = values;
  const objectness = data[at + 4]!;
  if (objectness < threshold) return;
  let score = -1;
  let classId = 0;
  for (let c = 0; c < classes; c++) {
    const value = data[at + 5 + c]!;
    if (value > score) {
      score = value;
      classId = c;
    } else if (Number.isNaN(value)) score = value;
  }
  score = fround(objectness * score);
  if (score < threshold) return;
  const x = fround(fround(data[at]! + column) * stride);
  const y = fround(fround(data[at + 1]! + row) * stride);
  const halfWidth = fround(fround(fround(Math.exp(data[at + 2]!)) * stride) * 0.5);
  const halfHeight = fround(fround(fround(Math.exp(data[at + 3]!)) * stride) * 0.5);
  candidates.push(x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight, score, classId, cell);
}

/**
 * Append the cells whose objectness × best class reaches the threshold, grid by grid, row by row.
 *
 * @throws {ShapeError} If the output has another shape or dtype than the plan says, or other grids than the input's size
 */
export function decodeGrid(plan: GridPlan, input: DecodeInput, candidates: Candidates): void {
  const { classes, strides } = plan;
  const { inputWidth, inputHeight } = input;
  const channels = 5 + classes;
  const cells = cellCount(inputWidth, inputHeight, strides);
  const tensor = outputTensor(input, plan.output, FLOATS, input.index + 1, cells, channels);
  values.load(tensor, input.index * cells * channels, cells * channels);
  const threshold = fround(input.threshold);
  let at = values.offset;
  let cell = 0;
  for (let level = 0; level < strides.length; level++) {
    const stride = strides[level]!;
    const columns = Math.ceil(inputWidth / stride);
    const rows = Math.ceil(inputHeight / stride);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at += channels, cell++) {
        decodeCell(at, cell, column, row, stride, classes, threshold, candidates);
      }
    }
  }
}
