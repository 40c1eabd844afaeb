/** @module Heads `yolox` and `yolox-decoded`: [N, cells, 5+classes], as YOLOX exports without and with its decoder. */

import { ModelError, message } from "../core/errors.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { decodeDense } from "./dense.ts";
import {
  cellCount,
  type DenseReading,
  densePlan,
  hasGridRows,
  isDeepStream,
  isNanodetPlus,
  isOfModelScope,
  readClasses,
} from "./dense-reading.ts";
import { type DecodeInput, defineHead, type Head, naming } from "./head.ts";
import { bestOf, NumberSlice, outputTensor } from "./outputs.ts";
import type { DensePlan, GridPlan } from "./plans.ts";
import { FLOATS, type ModelTraits } from "./traits.ts";

/** Top-left letterbox padded with 114, BGR levels 0–255 as they are. */
const YOLOX_PREPROCESSING: Preprocessing = {
  ...YOLO_PREPROCESSING,
  fit: "letterbox-top-left",
  colour: "BGR",
  scale: 1,
};

/** COCO's 80 classes without objectness. */
const COCO_WITHOUT_OBJECTNESS = 84;

/** YOLOX writes no metadata; `outputs` is YOLOv6's name, and `output0` with open axes YOLOv5's. */
function fits(reading: DenseReading, traits: ModelTraits): boolean {
  const { output, channels } = reading;
  if (!hasGridRows(reading)) return false;
  if (
    traits.family !== undefined ||
    isDeepStream(reading, traits) ||
    isNanodetPlus(reading, traits) ||
    isOfModelScope(reading, traits) ||
    output.name === "outputs"
  )
    return false;
  if (reading.rows < 0 && output.name === "output0") return false;
  return traits.classes !== undefined || channels !== COCO_WITHOUT_OBJECTNESS;
}

/** Undecoded: offsets and logarithms of sizes in strides. What YOLOX's export does by default. */
export const yolox: Head<GridPlan> = defineHead(
  "yolox",
  "one output [N, cells, 5+classes], undecoded: offsets in cells, objectness, a probability a class (YOLOX)",
  decodeGrid,
  (traits) => {
    const found = readClasses(traits, 5, 2);
    if (found === undefined || found.reading.hasMasks) return undefined;
    const { reading, parts } = found;
    if (!traits.forced && !fits(reading, traits)) return undefined;
    const { output, strides } = reading;
    const plan: GridPlan = { kind: "grid", output: output.name, classes: parts.classes, strides };
    return { ...parts, auxiliary: [], preprocessing: YOLOX_PREPROCESSING, plan };
  },
);

/** Exported with `--decode_in_inference`: boxes in pixels. Nothing in the file tells it from `yolox`: name it. */
export const yoloxDecoded: Head<DensePlan> = defineHead(
  "yolox-decoded",
  "as yolox, exported with --decode_in_inference: boxes in pixels; never recognised, name it",
  decodeDense,
  (traits) => {
    const found = traits.forced ? readClasses(traits, 5, 2) : undefined;
    if (found === undefined) return undefined;
    const plan = densePlan(found.reading, found.parts.classes, "product");
    return { ...found.parts, auxiliary: [], preprocessing: YOLOX_PREPROCESSING, plan };
  },
);

const { fround } = Math;

/** The head of such rows without objectness, YOLOv8's turned round; its file reads this one. */
const YOLO_TRANSPOSED = "yolo-transposed";

/** The one head that has such a grid. */
const HEAD = "yolox";

const values: NumberSlice = new NumberSlice();

/** Largest logarithm of a size in cells: a box of e^9 cells is larger than any image. */
const MAX_LOGARITHM = 9;

/** @throws {ModelError} Always: no grid of offsets and logarithms holds the value, the tensor has decoded boxes */
export function refuseDecoded(value: number, head: string): never {
  const found = `it must hold offsets in cells and logarithms of sizes, which are small, got ${value}`;
  const hint = `the model was exported with its decoding (YOLOX: --decode_in_inference); name the head by ${naming([yoloxDecoded.name])}; if it has no objectness, by ${naming([YOLO_TRANSPOSED])}`;
  throw new ModelError(message(`decode the model's output as head "${head}"`, found, hint), head);
}

/** True for the logarithm of a size that is none; what is infinite is dropped, and counted, as everywhere. */
function isTooLarge(logarithm: number): boolean {
  return logarithm > MAX_LOGARITHM && logarithm < Number.POSITIVE_INFINITY;
}

/** True if a centre, in cells, lies further out than the grid is long. */
function isFarOut(centre: number, cells: number): boolean {
  return (centre < -cells || centre > 2 * cells) && Number.isFinite(centre);
}

/** Append one cell's best class if its score reaches the threshold; a NaN that was read is counted when appended. */
function decodeCell(
  at: number,
  cell: number,
  column: number,
  row: number,
  columns: number,
  rows: number,
  stride: number,
  classes: number,
  threshold: number,
  candidates: Candidates,
): void {
  const { data } = values;
  const objectness = data[at + 4]!;
  if (objectness < threshold) return;
  const classId = bestOf(data, at + 5, classes, 1);
  const score = fround(objectness * data[at + 5 + classId]!);
  if (score < threshold) return;
  const centreX = fround(data[at]! + column);
  const centreY = fround(data[at + 1]! + row);
  if (isTooLarge(data[at + 2]!)) refuseDecoded(data[at + 2]!, HEAD);
  if (isTooLarge(data[at + 3]!)) refuseDecoded(data[at + 3]!, HEAD);
  if (isFarOut(centreX, columns)) refuseDecoded(data[at]!, HEAD);
  if (isFarOut(centreY, rows)) refuseDecoded(data[at + 1]!, HEAD);
  const x = fround(centreX * stride);
  const y = fround(centreY * stride);
  const halfWidth = fround(fround(fround(Math.exp(data[at + 2]!)) * stride) * 0.5);
  const halfHeight = fround(fround(fround(Math.exp(data[at + 3]!)) * stride) * 0.5);
  candidates.push(x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight, score, classId, cell);
}

/** Plans of whose model an image was seen, and not refused: what is refused once is refused again. */
const seen = new WeakSet<GridPlan>();

/**
 * Look at every cell of a model's first image: where nothing reaches the threshold, as what is no objectness may never do, sizes in pixels
 * still show that the rows are decoded.
 *
 * @throws {ModelError} If most sizes are no logarithms
 */
function checkFirst(plan: GridPlan, data: Float32Array, at: number, cells: number, channels: number): void {
  if (seen.has(plan)) return;
  let count = 0;
  let width = 0;
  for (let cell = 0, i = at + 2; cell < cells; cell++, i += channels) {
    if (!isTooLarge(data[i]!)) continue;
    width = data[i]!;
    count += 1;
  }
  if (count * 2 > cells) refuseDecoded(width, HEAD);
  seen.add(plan);
}

/** Append the cells whose objectness × best class reaches the threshold, grid by grid, row by row. */
export function decodeGrid(plan: GridPlan, input: DecodeInput, candidates: Candidates): void {
  const { classes, strides } = plan;
  const { inputWidth, inputHeight } = input;
  const channels = 5 + classes;
  const cells = cellCount(inputWidth, inputHeight, strides);
  const tensor = outputTensor(input, plan.output, FLOATS, input.index + 1, cells, channels);
  values.load(tensor, input.index * cells * channels, cells * channels);
  if (input.isOfChance !== true) checkFirst(plan, values.data, values.offset, cells, channels);
  const threshold = fround(input.threshold);
  let at = values.offset;
  let cell = 0;
  for (let level = 0; level < strides.length; level++) {
    const stride = strides[level]!;
    const columns = Math.ceil(inputWidth / stride);
    const rows = Math.ceil(inputHeight / stride);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at += channels, cell++) {
        decodeCell(at, cell, column, row, columns, rows, stride, classes, threshold, candidates);
      }
    }
  }
}
