/** @module Head `yolact`: offsets from priors, a probability a class, coefficients and prototypes, before NMS. */

import type { TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts } from "./head.ts";
import type { PriorsPlan } from "./host-plan.ts";
import { NumberSlice, outputTensor } from "./outputs.ts";
import { FLOATS, isFloat, type ModelTraits } from "./traits.ts";

/** Stretched RGB levels with the mean and deviation that YOLACT trains with. */
const YOLACT_PREPROCESSING: Preprocessing = {
  ...YOLO_PREPROCESSING,
  fit: "stretch",
  scale: 1,
  mean: [123.68, 116.78, 103.94],
  std: [58.4, 57.12, 57.38],
};

/** The only output; of several, the only one that is called so. */
function onlyOf(found: readonly TensorInfo[], called: RegExp): TensorInfo | undefined {
  const named = found.length > 1 ? found.filter(({ name }) => called.test(name)) : found;
  return named.length === 1 ? named[0] : undefined;
}

function find({ model, classes: names }: ModelTraits): ModelSpecParts<PriorsPlan> | undefined {
  const { outputs } = model;
  if (outputs.length !== 5 || !outputs.every(isFloat)) return undefined;
  const priors = outputs.find(({ shape }) => shape.length === 2 && shape[1] === 4);
  const rows = outputs.filter(({ shape }) => shape.length === 3 && shape[1] === priors?.shape[0]);
  const prototypes = outputs.find((info) => info !== priors && !rows.includes(info));
  const channels = prototypes?.shape.at(-1) ?? -1;
  if (priors === undefined || prototypes === undefined || rows.length !== 3 || channels < 1) return undefined;
  const ofWidth = (width: number): TensorInfo[] => rows.filter(({ shape }) => shape[2] === width);
  const boxes = onlyOf(ofWidth(4), /loc|box/i);
  const others = ofWidth(channels).filter((info) => info !== boxes);
  const coefficients = onlyOf(others, /mask|coef/i);
  const scores = rows.find((info) => info !== boxes && info !== coefficients);
  const classes = (scores?.shape[2] ?? 0) - 1;
  if (boxes === undefined || coefficients === undefined || scores === undefined || classes < 1) return undefined;
  if (names !== undefined && names !== classes) return undefined;
  const { name: output } = coefficients;
  return {
    outputs: [boxes, scores, coefficients, priors, prototypes],
    preprocessing: YOLACT_PREPROCESSING,
    classes,
    needsNms: true,
    usualIou: 0.5,
    plan: { kind: "priors", boxes: boxes.name, scores: scores.name, priors: priors.name, classes },
    extras: [{ name: "coefficients", output, order: "anchor-major", channels, first: 0, length: channels }],
    masks: { output: prototypes.name, rule: "yolact" },
  };
}

/**
 * As YOLACT exports before its NMS. Every class of a prior that reaches the threshold is a candidate, as there; NMS is the
 * greedy one, where upstream's fast one lets suppressed boxes suppress others.
 *
 * @see https://github.com/dbolya/yolact (layers/functions/detection.py, layers/output_utils.py)
 */
export const yolact: Head<PriorsPlan> = defineHead(
  "yolact",
  "outputs of priors [P, 4]: offsets [N, P, 4], probabilities [N, P, 1+classes], coefficients [N, P, K]; prototypes […, h, w, K]",
  decodePriors,
  find,
  "segment",
);

const { fround } = Math;

/** What offsets of centres and of sizes are multiplied by. */
const CENTRE_VARIANCE = fround(0.1);
const SIZE_VARIANCE = fround(0.2);

const offsets: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();
const priors: NumberSlice = new NumberSlice();

/** Append the classes of every prior whose probability reaches the threshold, prior by prior. */
function decodePriors(plan: PriorsPlan, input: DecodeInput, candidates: Candidates): void {
  const { index, inputWidth, inputHeight } = input;
  const channels = plan.classes + 1;
  const table = outputTensor(input, plan.priors, FLOATS, 0, 4);
  const count = table.shape[0]!;
  priors.load(table, 0, count * 4);
  offsets.load(outputTensor(input, plan.boxes, FLOATS, index + 1, count, 4), index * count * 4, count * 4);
  const tensor = outputTensor(input, plan.scores, FLOATS, index + 1, count, channels);
  scores.load(tensor, index * count * channels, count * channels);
  const threshold = fround(input.threshold);
  for (let row = 0, at = scores.offset; row < count; row++, at += channels) {
    // The first is the background.
    for (let classId = 0; classId < plan.classes; classId++) {
      const score = scores.data[at + 1 + classId]!;
      if (score < threshold) continue;
      const prior = priors.offset + row * 4;
      const offset = offsets.offset + row * 4;
      const priorWidth = priors.data[prior + 2]!;
      const priorHeight = priors.data[prior + 3]!;
      const x = priors.data[prior]! + offsets.data[offset]! * CENTRE_VARIANCE * priorWidth;
      const y = priors.data[prior + 1]! + offsets.data[offset + 1]! * CENTRE_VARIANCE * priorHeight;
      const halfWidth = (priorWidth * Math.exp(offsets.data[offset + 2]! * SIZE_VARIANCE)) / 2;
      const halfHeight = (priorHeight * Math.exp(offsets.data[offset + 3]! * SIZE_VARIANCE)) / 2;
      candidates.push(
        (x - halfWidth) * inputWidth,
        (y - halfHeight) * inputHeight,
        (x + halfWidth) * inputWidth,
        (y + halfHeight) * inputHeight,
        score,
        classId,
        row,
      );
    }
  }
}
