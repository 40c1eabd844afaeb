/**
 * @module Heads of single-shot detectors beside YOLO: `ssd`, `ssd-pytorch` and `custom-vision` of the ONNX zoo, of pytorch-ssd and of Azure,
 * and `yolact`: offsets from priors, a probability a class, coefficients and prototypes, before NMS.
 */

import type { TensorInfo } from "../core/tensor.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_80, COCO_91, VOC_20 } from "../model/model-info.ts";
import type { Candidates } from "../model/rows.ts";
import { decodeDense } from "./dense.ts";
import { labelsFromOne } from "./frameworks.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts, saying } from "./head.ts";
import type { PriorsPlan } from "./host-plan.ts";
import { areBoxes, NumberSlice, outputOf, outputTensor } from "./outputs.ts";
import type { ColumnsPlan, DensePlan } from "./plans.ts";
import { decodeColumns } from "./rows.ts";
import { FLOATS, findOutput, INTEGERS, isFloat, type ModelTraits } from "./traits.ts";

/** The only size that the zoo's models have. */
const ZOO_SIDE = 1200;

/**
 * ssd-10 and ssd-12 of the ONNX zoo, MLPerf's SSD-ResNet34; COCO's 80 classes from 1 on.
 *
 * @see https://github.com/onnx/models (vision/object_detection_segmentation/ssd)
 */
export const ssd: Head<ColumnsPlan> = defineHead(
  "ssd",
  "outputs bboxes [N, n, 4]: x1, y1, x2, y2 in 0–1, labels [N, n] from 1 on, scores [N, n], input 1200x1200; no NMS (SSD of the ONNX zoo)",
  decodeColumns,
  (traits) => {
    const { image, names, forced } = traits;
    const boxes = outputOf(traits, "bboxes", 3, FLOATS, areBoxes);
    const classes = outputOf(traits, "labels", 2, INTEGERS);
    const scores = outputOf(traits, "scores", 2, FLOATS);
    if (boxes === undefined || classes === undefined || scores === undefined) return undefined;
    // Other exporters use these names for boxes in pixels.
    if (!forced && image.fixedSize?.some((side) => side !== ZOO_SIDE) !== false) return undefined;
    return {
      outputs: [boxes, classes, scores],
      preprocessing: {
        ...YOLO_PREPROCESSING,
        fit: "stretch",
        resize: "antialias",
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
      },
      labels: labelsFromOne(names ?? COCO_80),
      needsNms: false,
      plan: { kind: "columns", boxes: boxes.name, scores: scores.name, classes: classes.name, boxUnit: "fraction" },
    };
  },
);

/** Priors of pytorch-ssd's networks at an input's size: MobileNet's six maps from a 16th on, six a cell, and those of RFB and slim. */
function knownPriors([width, height]: readonly [number, number]): readonly number[] {
  const cells = (stride: number): number => Math.ceil(width / stride) * Math.ceil(height / stride);
  let [columns, rows, mobile] = [Math.ceil(width / 16), Math.ceil(height / 16), 0];
  for (let level = 0; level < 6; level++) {
    mobile += columns * rows * 6;
    [columns, rows] = [Math.ceil(columns / 2), Math.ceil(rows / 2)];
  }
  const faces = cells(8) * 3 + (cells(16) + cells(32)) * 2 + cells(64) * 3;
  return width === 300 && height === 300 ? [mobile, faces, VGG_PRIORS] : [mobile, faces];
}

/** Of VGG16-SSD at 300x300. */
const VGG_PRIORS = 8732;

/** Class names by how many there are, where a model tells none. */
const PYTORCH_NAMES: ReadonlyMap<number, readonly string[]> = new Map([
  [1, ["face"]],
  [VOC_20.length, VOC_20],
  [COCO_91.length - 1, COCO_91.slice(1)],
]);

/**
 * As pytorch-ssd exports, which jetson-inference trains with, and Ultra-Light-Fast-Generic-Face-Detector: probabilities of which
 * the first is the background's, and decoded boxes. As in detectNet, the best class of a prior counts.
 *
 * @see https://github.com/dusty-nv/pytorch-ssd (onnx_export.py, vision/ssd/config/mobilenetv1_ssd_config.py)
 */
export const ssdPytorch: Head<DensePlan> = defineHead(
  "ssd-pytorch",
  "outputs scores [N, priors, 1+classes] with the background first, and boxes [N, priors, 4]: x1, y1, x2, y2 in 0–1 (pytorch-ssd, jetson-inference)",
  decodeDense,
  (traits) => {
    const { names, forced, shapesAt } = traits;
    const boxes = outputOf(traits, "boxes", 3, FLOATS, areBoxes);
    const scores = outputOf(traits, "scores", 3, FLOATS, (info) => info !== boxes && info.shape[1] === boxes?.shape[1]);
    if (boxes?.shape[2] !== 4 || scores === undefined || scores.dtype !== boxes.dtype) return undefined;
    const [, priors = -1, channels = -1] = scores.shape;
    const classes = channels - 1;
    if (classes < 1 || (!forced && !knownPriors(shapesAt).includes(priors))) return undefined;
    // Label files have the background first, and need not.
    const own = names?.length === channels ? names.slice(1) : names;
    if (own !== undefined && own.length !== classes) return undefined;
    const known = PYTORCH_NAMES.get(classes);
    return {
      outputs: [boxes, scores],
      preprocessing: {
        ...YOLO_PREPROCESSING,
        fit: "stretch",
        scale: 1 / 128,
        mean: [127 / 128, 127 / 128, 127 / 128],
      },
      assumptions:
        own !== undefined || known === undefined
          ? []
          : [
              `the class names ${known[0]}, ${known.length > 1 ? "…" : "and no other"}, by their number: give \`labels\` for others`,
            ],
      classes,
      labels: own ?? known ?? Array.from({ length: classes }, (_, id) => `class ${id}`),
      needsNms: true,
      usualIou: 0.45,
      plan: {
        kind: "dense",
        output: scores.name,
        order: "anchor-major",
        channels,
        classes,
        classChannel: 1,
        score: "class",
        boxUnit: "fraction",
        boxForm: "corners",
        boxes: boxes.name,
      },
    };
  },
);

const NO_RANGE =
  "RGB in 0–1, as Custom Vision's sample does where a file does not tell; for levels as they are give " +
  saying({ scale: 1 });

/** What the metadata of a Custom Vision export says of colours and levels; its sample resizes by Pillow's usual filter. */
export function customVisionPreprocessing({ model: { metadata } }: ModelTraits): {
  readonly preprocessing: Preprocessing;
  readonly assumptions: readonly string[];
} {
  const { "Image.BitmapPixelFormat": format, "Image.NominalPixelRange": range } = metadata;
  return {
    preprocessing: {
      ...YOLO_PREPROCESSING,
      fit: "stretch",
      resize: "bicubic",
      colour: /^bgr/i.test(format ?? "") ? "BGR" : "RGB",
      scale: /^NominalRange_0_255$/i.test(range ?? "") ? 1 : 1 / 255,
    },
    assumptions: format === undefined && range === undefined ? [NO_RANGE] : [],
  };
}

/** The three outputs of this export. */
function customVisionOutputs({ model }: ModelTraits): readonly TensorInfo[] | undefined {
  const boxes = findOutput(model, "detected_boxes", 3, FLOATS);
  const classes = findOutput(model, "detected_classes", 2, [...INTEGERS, ...FLOATS]);
  const scores = findOutput(model, "detected_scores", 2, FLOATS);
  if (boxes?.shape[2] !== 4 || classes === undefined || scores === undefined) return undefined;
  return [boxes, classes, scores];
}

/**
 * Azure Custom Vision, domain General (compact) [S1], with its NMS inside.
 *
 * @see https://github.com/Azure-Samples/customvision-export-samples (samples/python/onnx/object_detection_s1)
 */
export const customVision: Head<ColumnsPlan> = defineHead(
  "custom-vision",
  "outputs detected_boxes [N, n, 4]: x1, y1, x2, y2 in 0–1, detected_classes and detected_scores [N, n]; no NMS (Azure Custom Vision, compact [S1])",
  decodeColumns,
  (traits) => {
    const outputs = customVisionOutputs(traits);
    if (outputs === undefined) return undefined;
    const [boxes, classes, scores] = outputs.map(({ name }) => name) as [string, string, string];
    return {
      outputs,
      ...customVisionPreprocessing(traits),
      // Every model is of one's own: its names are in labels.txt.
      names: [],
      needsNms: false,
      plan: { kind: "columns", boxes, scores, classes, boxUnit: "fraction" },
    };
  },
);

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

function yolactParts({ model, classes: names }: ModelTraits): ModelSpecParts<PriorsPlan> | undefined {
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
  yolactParts,
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
