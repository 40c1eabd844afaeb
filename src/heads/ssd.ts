/** @module Heads `ssd`, `ssd-pytorch` and `custom-vision`: single-shot detectors of the ONNX zoo, of pytorch-ssd and of Azure. */

import type { TensorInfo } from "../core/tensor.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_80, COCO_91, VOC_20 } from "../model/model-info.ts";
import { decodeDense } from "./dense.ts";
import { type ColumnsPlan, type DensePlan, defineHead, type Head, saying } from "./head.ts";
import { areBoxes, outputOf } from "./outputs.ts";
import { decodeColumns } from "./rows.ts";
import { labelsFromOne } from "./tensorflow.ts";
import { FLOATS, findOutput, INTEGERS, type ModelTraits } from "./traits.ts";

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
