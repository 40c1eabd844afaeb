/** @module Distance-bins decoder: NanoDet's class and distance maps; the CPU reference of its kernel. */

import type { Candidates } from "../candidates.ts";
import type { DecodeInput } from "../layout.ts";
import type { DistanceBinsLevel, DistanceBinsPlan } from "../plan.ts";
import { NumberSlice } from "./number-slice.ts";
import { FLOATS, outputTensor } from "./output-tensor.ts";

const { fround } = Math;

const scores: NumberSlice = new NumberSlice();
const distances: NumberSlice = new NumberSlice();

/** Mean of the bins 0, 1, 2, … weighted by the softmax of their logits, in strides. */
function meanBin(at: number, bins: number): number {
  const { data } = distances;
  let highest = data[at]!;
  for (let bin = 1; bin < bins; bin++) if (data[at + bin]! > highest) highest = data[at + bin]!;
  let sum = 0;
  let weighted = 0;
  for (let bin = 0; bin < bins; bin++) {
    const weight = Math.exp(data[at + bin]! - highest);
    sum += weight;
    weighted += weight * bin;
  }
  return fround(weighted / sum);
}

/** @param first cells of the levels before it @returns the same for the next level */
function decodeLevel(
  level: DistanceBinsLevel,
  first: number,
  plan: DistanceBinsPlan,
  input: DecodeInput,
  candidates: Candidates,
): number {
  const { classes, bins } = plan;
  const { stride } = level;
  const columns = Math.ceil(input.inputWidth / stride);
  const cells = columns * Math.ceil(input.inputHeight / stride);
  const classMap = outputTensor(input, level.classMap, FLOATS, input.index + 1, cells, classes);
  const distanceMap = outputTensor(input, level.distanceMap, FLOATS, input.index + 1, cells, 4 * bins);
  scores.load(classMap, input.index * cells * classes, cells * classes);
  distances.load(distanceMap, input.index * cells * 4 * bins, cells * 4 * bins);
  const { data, offset } = scores;
  const threshold = fround(input.threshold);
  for (let cell = 0, at = offset; cell < cells; cell++, at += classes) {
    let score = -1;
    let classId = 0;
    for (let c = 0; c < classes; c++) {
      const value = data[at + c]!;
      if (value > score) {
        score = value;
        classId = c;
      } else if (Number.isNaN(value)) score = value;
    }
    if (score < threshold) continue;
    const x = ((cell % columns) + 0.5) * stride;
    const y = (Math.floor(cell / columns) + 0.5) * stride;
    const bin = distances.offset + cell * 4 * bins;
    candidates.push(
      x - fround(meanBin(bin, bins) * stride),
      y - fround(meanBin(bin + bins, bins) * stride),
      x + fround(meanBin(bin + 2 * bins, bins) * stride),
      y + fround(meanBin(bin + 3 * bins, bins) * stride),
      score,
      classId,
      first + cell,
    );
  }
  return first + cells;
}

/**
 * Append the best class of every cell whose score reaches the threshold, level by level, row by row.
 *
 * @throws {ShapeError} If an output has another shape or dtype than the plan says, or other cells than the input's size
 */
export function decodeDistanceBins(plan: DistanceBinsPlan, input: DecodeInput, candidates: Candidates): void {
  let first = 0;
  for (let level = 0; level < plan.levels.length; level++) {
    first = decodeLevel(plan.levels[level]!, first, plan, input, candidates);
  }
}
