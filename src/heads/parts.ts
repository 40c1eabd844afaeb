/** @module Parts decoder: rows whose boxes, scores, classes and points are columns of one or several outputs. */

import type { Candidates, DetectionBlock } from "../model/rows.ts";
import { pushBox } from "./dense.ts";
import type { DecodeInput } from "./head.ts";
import type { PartsPlan, RowColumns } from "./host-plan.ts";
import { classIdOf, NumberSlice, refuseOutput, sigmoid } from "./outputs.ts";
import { isFilling, rowCount } from "./rows.ts";
import { FLOATS, HOST_NUMBERS } from "./traits.ts";

const boxes: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();
const classes: NumberSlice = new NumberSlice();
const points: NumberSlice = new NumberSlice();
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
  const threshold = Math.fround(input.threshold);
  const x = plan.axes === "yx" ? 1 : 0;
  for (let row = 0; row < count; row++) {
    const score = scores.data[scores.offset + row * plan.scores.width + plan.scores.first]!;
    const at = boxes.offset + row * plan.boxes.width;
    if (score < threshold || (plan.isNumbered && boxes.data[at] !== input.index)) continue;
    for (let side = 0; side < 4; side += 2) {
      box[side] = boxes.data[at + plan.boxes.first + side + x]!;
      box[side + 1] = boxes.data[at + plan.boxes.first + side + 1 - x]!;
    }
    const id = plan.classes && classes.data[classes.offset + row * plan.classes.width + plan.classes.first]!;
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
