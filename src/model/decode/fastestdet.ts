/** @module FastestDet decoder: one grid of a single stride; the CPU reference of its kernel. */

import type { Candidates } from "../candidates.ts";
import type { DecodeInput } from "../layout.ts";
import type { FastestDetPlan } from "../plan.ts";
import { NumberSlice } from "./number-slice.ts";
import { FLOATS, outputTensor } from "./output-tensor.ts";

const { fround } = Math;

const values: NumberSlice = new NumberSlice();

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/**
 * Append the best class of every cell whose score reaches the threshold, row by row.
 *
 * @throws {ShapeError} If the output has another shape or dtype than the plan says
 */
export function decodeFastestDet(plan: FastestDetPlan, input: DecodeInput, candidates: Candidates): void {
  const { classes } = plan;
  const channels = 5 + classes;
  const tensor = outputTensor(input, plan.output, FLOATS, input.index + 1, channels, -1, -1);
  const rows = tensor.shape[2]!;
  const columns = tensor.shape[3]!;
  const cells = rows * columns;
  values.load(tensor, input.index * channels * cells, channels * cells);
  const { data, offset } = values;
  const threshold = fround(input.threshold);
  for (let cell = 0; cell < cells; cell++) {
    const at = offset + cell;
    let best = -1;
    let classId = 0;
    for (let c = 0; c < classes; c++) {
      const value = data[at + (5 + c) * cells]!;
      if (value > best) {
        best = value;
        classId = c;
      } else if (Number.isNaN(value)) best = value;
    }
    const score = fround(data[at]! ** 0.6 * best ** 0.4);
    if (score < threshold) continue;
    const x = ((cell % columns) + Math.tanh(data[at + cells]!)) / columns;
    const y = (Math.floor(cell / columns) + Math.tanh(data[at + 2 * cells]!)) / rows;
    const halfWidth = sigmoid(data[at + 3 * cells]!) / 2;
    const halfHeight = sigmoid(data[at + 4 * cells]!) / 2;
    candidates.push(
      (x - halfWidth) * input.inputWidth,
      (y - halfHeight) * input.inputHeight,
      (x + halfWidth) * input.inputWidth,
      (y + halfHeight) * input.inputHeight,
      score,
      classId,
      cell,
    );
  }
}
