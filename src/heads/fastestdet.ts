/** @module Head `fastestdet`: one grid [N, 5+classes, rows, columns] at stride 16, as FastestDet exports. */

import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_80 } from "../model/model-info.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, defineHead, type Head } from "./head.ts";
import { bestOf, NumberSlice, outputTensor, sigmoid } from "./outputs.ts";
import type { FastestDetPlan } from "./plans.ts";
import { FLOATS, isFloat } from "./traits.ts";

const STRIDE = 16;

/** Stretched, BGR in 0–1. */
const FASTESTDET_PREPROCESSING: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", colour: "BGR" };

/** @see https://github.com/dog-qiuqiu/FastestDet */
export const fastestdet: Head<FastestDetPlan> = defineHead(
  "fastestdet",
  "one output [N, 5+classes, height/16, width/16]: objectness, offsets, a probability a class (FastestDet)",
  decodeFastestDet,
  (traits) => {
    const [output, ...others] = traits.model.outputs;
    if (output === undefined || others.length > 0 || !isFloat(output) || output.shape.length !== 4) return undefined;
    const [, channels = -1, rows = -1, columns = -1] = output.shape;
    const size = traits.image.fixedSize;
    if (size !== undefined && (columns * STRIDE !== size[0] || rows * STRIDE !== size[1])) return undefined;
    // A map of any depth may be something else, such as a segmentation: the classes must be known, or COCO's.
    const classes = traits.classes ?? (traits.forced ? channels - 5 : COCO_80.length);
    if (classes < 1 || channels !== 5 + classes) return undefined;
    return {
      outputs: [output],
      preprocessing: FASTESTDET_PREPROCESSING,
      classes,
      needsNms: true,
      plan: { kind: "fastestdet", output: output.name, classes },
    };
  },
);

const { fround } = Math;

const values: NumberSlice = new NumberSlice();

/** Append the best class of every cell whose score reaches the threshold, row by row. */
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
    const classId = bestOf(data, at + 5 * cells, classes, cells);
    const score = fround(data[at]! ** 0.6 * data[at + (5 + classId) * cells]! ** 0.4);
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
