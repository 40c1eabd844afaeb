/** @module Push box: appends a box that a model gives as a centre or corners, in pixels or fractions. */

import type { Candidates } from "../candidates.ts";
import type { DecodeInput } from "../layout.ts";
import type { BoxForm } from "../plan.ts";

const { fround } = Math;

/**
 * Append a box. Every operation is rounded to f32, in this order, as the kernels do.
 *
 * @param at where its four numbers begin; from one to the next it is `step` elements
 */
export function pushBox(
  form: BoxForm,
  unit: "pixels" | "fraction",
  input: DecodeInput,
  candidates: Candidates,
  data: Float32Array,
  at: number,
  step: number,
  score: number,
  classId: number,
  source: number,
): void {
  let x1 = data[at]!;
  let y1 = data[at + step]!;
  let x2 = data[at + 2 * step]!;
  let y2 = data[at + 3 * step]!;
  if (form === "centre") {
    const x = x1;
    const y = y1;
    const halfWidth = fround(x2 * 0.5);
    const halfHeight = fround(y2 * 0.5);
    x1 = fround(x - halfWidth);
    y1 = fround(y - halfHeight);
    x2 = fround(x + halfWidth);
    y2 = fround(y + halfHeight);
  }
  if (unit === "fraction") {
    x1 = fround(x1 * input.inputWidth);
    y1 = fround(y1 * input.inputHeight);
    x2 = fround(x2 * input.inputWidth);
    y2 = fround(y2 * input.inputHeight);
  }
  candidates.push(x1, y1, x2, y2, score, classId, source);
}
