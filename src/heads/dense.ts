/** @module Dense decoder: a row an anchor, with a box and one probability a class; the CPU reference of its kernel. */

import { ModelError, message } from "../core/errors.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, naming } from "./head.ts";
import { bestOf, NumberSlice, outputTensor } from "./outputs.ts";
import type { DensePlan, RawBoxForm } from "./plans.ts";
import { FLOATS } from "./traits.ts";

const { fround } = Math;

const values: NumberSlice = new NumberSlice();
const boxes: NumberSlice = new NumberSlice();
/** Best score of each anchor; -1 if none reached the threshold, NaN if a class was NaN. */
let best: Float32Array = new Float32Array(0);
let bestClass: Int32Array = new Int32Array(0);

/** Take a class score of at least the threshold, or NaN, which sticks. The first of equal scores stays. */
function meet(anchor: number, score: number, classId: number): void {
  if (score > best[anchor]!) {
    best[anchor] = score;
    bestClass[anchor] = classId;
  } else if (Number.isNaN(score)) best[anchor] = score;
}

/**
 * The first group of four values, from `at` on, that are not all below the threshold; NaN is not. This loop is most of the
 * decoder's time, and by itself it takes up to two fifths less than with the groups' work inside it.
 *
 * @param end `at` and a multiple of 4
 * @returns `end` if there is none
 */
export function skipFours(data: Float32Array, at: number, end: number, threshold: number): number {
  let i = at;
  for (; i < end; i += 4) {
    if (data[i]! < threshold && data[i + 1]! < threshold && data[i + 2]! < threshold && data[i + 3]! < threshold)
      continue;
    break;
  }
  return i;
}

/** Fill `best` from [classes, anchors]: class by class, so that memory is read in its order. */
function scanChannelMajor(data: Float32Array, at: number, classes: number, anchors: number, threshold: number): void {
  for (let classId = 0, row = at; classId < classes; classId++, row += anchors) {
    const end = row + anchors;
    const whole = end - (anchors % 4);
    for (let i = row; i < end; ) {
      const four = skipFours(data, i, whole, threshold);
      // Up to three are left over behind the last four.
      const last = Math.min(four + 4, end);
      for (i = four; i < last; i++) {
        const score = data[i]!;
        if (!(score < threshold)) meet(i - row, score, classId);
      }
    }
  }
}

/** No probability is below 0; room for the rounding of quantised models. */
const LOWEST_PROBABILITY = -0.05;

/** Plans of whose model an image was seen, and not refused: what is refused once is refused again. */
const seen = new WeakSet<DensePlan>();

/** As far from 1 as what is written as 1 may come. */
const MOST_ROUNDING = 0.01;

/**
 * Look at every row of a model's first image: what is below 0 there is no probability, though it hardly ever reaches a threshold.
 * The kernels look at those of every image, as they read them anyway.
 *
 * @param at    where the first class of the first row lies
 * @param row   elements from a row to the next
 * @param plane elements from a class to the next
 * @throws {ModelError} If a class is below 0, or objectness is not the 1 that it is in such a model
 */
function checkFirst(plan: DensePlan, data: Float32Array, at: number, rows: number, row: number, plane: number): void {
  if (plan.isObjectnessOne) {
    for (let n = 0, i = at - plane; n < rows; n++, i += row) {
      if (Math.abs(data[i]! - 1) > MOST_ROUNDING) refuseObjectness(plan, `${data[i]!} in row ${n}`);
    }
  }
  for (let classId = 0; classId < plan.classes; classId++) {
    for (let n = 0, i = at + classId * plane; n < rows; n++, i += row) {
      if (data[i]! < LOWEST_PROBABILITY) refuseNegative(plan, classId);
    }
  }
}

/** Fewer boxes than the smallest grids have may all be large ones. */
const FEWEST_BOXES = 64;

/** A box reaches up to 15 cells of 8 pixels to each side: in inputs that are no longer, all may be larger than where they are. */
const LONGEST_BOX = 256;

/** Where a box begins so far to the right, or below, a width or height that is larger than that would reach far beyond the input. */
const FAR = 0.75;

/**
 * Look at every box of a model's first image. Of corners the second is to the right of the first and below it in all of them; of a
 * centre, width and height these are larger than that only where a box is.
 *
 * @param at    where the first box begins
 * @param row   elements from a box to the next
 * @param plane elements from one of its numbers to the next
 * @throws {ModelError} If what is read as centres, widths and heights are corners
 */
function checkForm(
  plan: DensePlan,
  { inputWidth, inputHeight }: DecodeInput,
  { data }: NumberSlice,
  at: number,
  rows: number,
  row: number,
  plane: number,
): void {
  if ((plan.boxForm ?? "centre") !== "centre" || plan.score !== "class") return;
  if (Math.max(inputWidth, inputHeight) <= LONGEST_BOX) return;
  const [right, below] = plan.boxUnit === "fraction" ? [FAR, FAR] : [FAR * inputWidth, FAR * inputHeight];
  let count = 0;
  let furthestX = 0;
  let furthestY = 0;
  for (let n = 0, i = at; n < rows; n++, i += row) {
    const [x, y, third, fourth] = [data[i]!, data[i + plane]!, data[i + 2 * plane]!, data[i + 3 * plane]!];
    // What is no number tells nothing.
    if (!(third >= x && fourth >= y)) return;
    if (third === 0 && fourth === 0) continue;
    count += 1;
    furthestX = Math.max(furthestX, x);
    furthestY = Math.max(furthestY, y);
  }
  if (count < FEWEST_BOXES || furthestX < right || furthestY < below) return;
  const found = "its boxes are read as centre, width and height, and all of them are corners";
  const isChannelMajor = plan.order === "channel-major";
  const names = isChannelMajor ? ["libreyolo"] : ["libreyolo", "damo-yolo-rows", "ppyoloe-raw"];
  const hint = `name the head by ${naming(names)}, and give the \`preprocessing\` where the model wants another`;
  throw new ModelError(message(`decode output ${JSON.stringify(plan.output)}`, found, hint), plan.output, {
    readings: names,
  });
}

/** @throws {ModelError} Always: the rows are not YOLOv6's. @param objectness what is where 1 must be */
function refuseObjectness({ output }: DensePlan, objectness: string): never {
  const found = `channel 4 is ${objectness}, and YOLOv6, which calls its output so, writes 1 there`;
  const [classesOnly, ...others] = ["yolo-transposed", "yolox", "yolox-decoded", "yolo-objectness"] as const;
  const hint = `if it is the first class, name the head by ${naming([classesOnly])}; if it is objectness, by ${naming(others)}`;
  throw new ModelError(message(`decode output ${JSON.stringify(output)}`, found, hint), output, {
    readings: [classesOnly, ...others],
  });
}

/**
 * @param classId the first that is no probability; -1 for objectness that is not the 1 it must be
 * @throws {ModelError} Always
 */
export function refuseNegative(plan: DensePlan, classId: number): never {
  if (classId < 0) refuseObjectness(plan, "another number");
  const { output, classes, classChannel, boxes } = plan;
  const found = `channel ${classChannel + classId} goes below 0, and no probability does`;
  const isLast = classId === classes - 1 && classes > 1 && classChannel === 4 && boxes === undefined;
  const hint = isLast
    ? "the last channel may be the angle of turned boxes: load it with `OrientedDetector` (`--task obb`)"
    : "the channels from there on may be the coefficients of masks, the points of a pose, or logits: give `labels` " +
      "(`--labels FILE`), or the `task` (`--task`); else export it with probabilities";
  throw new ModelError(message(`decode output ${JSON.stringify(output)}`, found, hint), output);
}

function decodeChannelMajor(plan: DensePlan, input: DecodeInput, candidates: Candidates): void {
  const tensor = outputTensor(input, plan.output, FLOATS, input.index + 1, plan.channels, -1);
  const anchors = tensor.shape[2]!;
  const needed = (plan.classChannel + plan.classes) * anchors;
  values.load(tensor, input.index * plan.channels * anchors, needed);
  const { data, offset } = values;
  const { boxForm = "centre", boxUnit } = plan;
  if (input.isOfChance !== true && !seen.has(plan)) {
    checkFirst(plan, data, offset + plan.classChannel * anchors, anchors, 1, anchors);
    checkForm(plan, input, values, offset, anchors, 1, anchors);
    seen.add(plan);
  }
  if (best.length < anchors) {
    best = new Float32Array(anchors);
    bestClass = new Int32Array(anchors);
  }
  best.fill(-1, 0, anchors);
  const threshold = fround(input.threshold);
  scanChannelMajor(data, offset + plan.classChannel * anchors, plan.classes, anchors, threshold);
  for (let anchor = 0; anchor < anchors; anchor++) {
    const score = best[anchor]!;
    if (score === -1) continue;
    pushBox(boxForm, boxUnit, input, candidates, data, offset + anchor, anchors, score, bestClass[anchor]!, anchor);
  }
}

const BOX_NUMBERS = 4;

/** Have the boxes of all anchors at hand: in the rows themselves, or in a tensor of their own. */
function loadBoxes(plan: DensePlan, input: DecodeInput, anchors: number): void {
  if (plan.boxes === undefined) {
    boxes.data = values.data;
    boxes.offset = values.offset;
    return;
  }
  const isFlat = input.outputs.get(plan.boxes)?.shape.length === 3;
  const tensor = isFlat
    ? outputTensor(input, plan.boxes, FLOATS, input.index + 1, anchors, BOX_NUMBERS)
    : outputTensor(input, plan.boxes, FLOATS, input.index + 1, anchors, 1, BOX_NUMBERS);
  boxes.load(tensor, input.index * anchors * BOX_NUMBERS, anchors * BOX_NUMBERS);
}

function decodeAnchorMajor(plan: DensePlan, input: DecodeInput, candidates: Candidates): void {
  const tensor = outputTensor(input, plan.output, FLOATS, input.index + 1, -1, plan.channels);
  const anchors = tensor.shape[1]!;
  const { channels, classes, classChannel, score: rule, boxForm = "centre" } = plan;
  values.load(tensor, input.index * anchors * channels, anchors * channels);
  const { data, offset } = values;
  loadBoxes(plan, input, anchors);
  const boxStep = plan.boxes === undefined ? channels : BOX_NUMBERS;
  if (input.isOfChance !== true && !seen.has(plan)) {
    checkFirst(plan, data, offset + classChannel, anchors, channels, 1);
    checkForm(plan, input, boxes, boxes.offset, anchors, boxStep, 1);
    seen.add(plan);
  }
  const threshold = fround(input.threshold);
  for (let anchor = 0, at = offset; anchor < anchors; anchor++, at += channels) {
    const objectness = rule === "class" ? 1 : data[at + 4]!;
    // No class exceeds 1, so that a lower objectness decides. NaN passes, and is counted when it is appended.
    if (objectness < threshold) continue;
    let classId = bestOf(data, at + classChannel, classes, 1);
    let score = data[at + classChannel + classId]!;
    if (rule === "objectness") {
      // The score does not show a NaN here: the class is the best one before it.
      if (Number.isNaN(score)) classId = bestOf(data, at + classChannel, classId, 1);
      score = objectness;
    } else if (rule === "product") score = fround(objectness * score);
    if (score < threshold) continue;
    const box = boxes.offset + anchor * boxStep;
    pushBox(boxForm, plan.boxUnit, input, candidates, boxes.data, box, 1, score, classId, anchor);
  }
}

/**
 * Append the best class of every anchor whose score reaches the threshold, in the order of the anchors. An anchor with
 * a NaN among the values that were read is dropped and counted.
 */
export function decodeDense(plan: DensePlan, input: DecodeInput, candidates: Candidates): void {
  if (plan.order === "channel-major") decodeChannelMajor(plan, input, candidates);
  else decodeAnchorMajor(plan, input, candidates);
}

/**
 * Append a box. Every operation is rounded to f32, in this order, as the kernels do.
 *
 * @param at where its four numbers begin; from one to the next it is `step` elements
 */
export function pushBox(
  form: RawBoxForm,
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
