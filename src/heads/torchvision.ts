/** @module Heads `torchvision`, `mask-rcnn` and `keypoint-rcnn`: the objects of one image, as torchvision's detectors give them. */

import type { TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_91 } from "../model/model-info.ts";
import { defineHead, type Head, saying } from "./head.ts";
import { columnsOf, type PartsPlan } from "./host-plan.ts";
import { isSingleImage } from "./image-input.ts";
import { mayBePatches } from "./masked.ts";
import { decodeParts } from "./parts.ts";
import { INTEGERS, isFloat, type ModelTraits } from "./traits.ts";

/** Levels in 0–1: the models normalise and resize images themselves. */
const PREPROCESSING: Preprocessing = { ...YOLO_PREPROCESSING, pad: [0, 0, 0] };

const UNNORMALISED = saying({ mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] });

/** @param model and what it numbers how */
function assumed(model: string): string {
  return `torchvision's ${model}, with the normalisation inside: where it was exported without, give ${UNNORMALISED}`;
}

/** What is assumed where nothing tells the classes. */
const OF_COCO = {
  names: COCO_91,
  assumedNames: "COCO's class names, numbered from 1 on, as the model does not tell its own: give `labels`, from 0 on",
} as const;

/** The only output of its rank and kind: they may have any names. */
function only(
  outputs: readonly TensorInfo[],
  rank: number,
  isOf: (info: TensorInfo) => boolean,
): TensorInfo | undefined {
  const [found, ...others] = outputs.filter((info) => info.shape.length === rank && isOf(info));
  return others.length === 0 ? found : undefined;
}

/** The boxes, classes and scores of the only image that a model takes. */
function findObjects({ model, image }: ModelTraits) {
  const boxes = only(model.outputs, 2, (info) => isFloat(info) && info.shape[1] === 4);
  const labels = only(model.outputs, 1, ({ dtype }) => INTEGERS.includes(dtype));
  const scores = only(model.outputs, 1, isFloat);
  const { shape = [] } = model.inputs.find(({ name }) => name === image.name) ?? {};
  if (boxes === undefined || labels === undefined || scores === undefined) return undefined;
  if (!isSingleImage(shape) && shape[0] !== 1) return undefined;
  return {
    outputs: [boxes, labels, scores],
    preprocessing: PREPROCESSING,
    needsNms: false,
    plan: {
      kind: "parts",
      boxes: columnsOf(boxes, 4),
      scores: columnsOf(scores, 1),
      classes: columnsOf(labels, 1),
      isSingle: true,
    },
  } as const;
}

/** Where its sides are open an input is as large as its image, to the pixel: the model resizes it once, and nothing is padded. */
const IMAGE_SIZED = { isImageSized: true, stride: 1 } as const;

/** Faster R-CNN, RetinaNet, FCOS, SSD and SSDLite; their NMS is inside. */
export const torchvision: Head<PartsPlan> = defineHead(
  "torchvision",
  "input [3, height, width] or [1, 3, …]; outputs boxes [n, 4] in pixels, labels [n] in integers, scores [n]; no NMS (torchvision)",
  decodeParts,
  (traits) => {
    const found = findObjects(traits);
    if (found === undefined || traits.model.outputs.length !== 3) return undefined;
    return {
      ...found,
      ...IMAGE_SIZED,
      assumptions: [assumed("way of detectors")],
      ...(traits.names === undefined ? OF_COCO : {}),
    };
  },
);

/** With masks under the boxes, or pasted into the input. */
export const maskRcnn: Head<PartsPlan> = defineHead(
  "mask-rcnn",
  "input [3, height, width] or [1, 3, …]; outputs boxes [n, 4] in pixels, labels [n], scores [n], masks [n, 1, 28, 28] or pasted (torchvision)",
  decodeParts,
  (traits) => {
    const found = findObjects(traits);
    const masks = only(traits.model.outputs, 4, (info) => isFloat(info) && Math.abs(info.shape[1]!) === 1);
    if (found === undefined || masks === undefined) return undefined;
    if (traits.model.outputs.length !== 4 || !mayBePatches(masks, traits.shapesAt)) return undefined;
    return {
      ...found,
      outputs: [...found.outputs, masks],
      assumptions: [assumed("Mask R-CNN")],
      ...(traits.names === undefined ? OF_COCO : {}),
      masks: { output: masks.name, rule: "torchvision" },
    };
  },
  "segment",
);

/** Points of COCO's people. */
const COCO_POINTS = 17;

/**
 * With the points [n, points, 3] of people, whose third number is always 1, and is not read: `keypoints_scores` [n, points], the
 * logits of the heatmaps' peaks, tell good points from bad ones. Their sigmoid is a point's score.
 */
export const keypointRcnn: Head<PartsPlan> = defineHead(
  "keypoint-rcnn",
  "as torchvision, with points [n, points, 3] and their scores [n, points] (torchvision's Keypoint R-CNN)",
  decodeParts,
  (traits) => {
    const found = findObjects(traits);
    const points = only(
      traits.model.outputs,
      3,
      ({ shape, dtype }) => dtype === "f32" && (shape[2] === 3 || shape[2] === -1),
    );
    const scores = only(traits.model.outputs, 2, (info) => isFloat(info) && info.shape[1] === points?.shape[1]);
    if (found === undefined || points === undefined || scores === undefined) return undefined;
    if (traits.model.outputs.length !== 5) return undefined;
    // Traced, its axes are open.
    const count = points.shape[1]! > 0 ? points.shape[1]! : COCO_POINTS;
    return {
      ...found,
      ...IMAGE_SIZED,
      outputs: [...found.outputs, points, scores],
      assumptions: [assumed("Keypoint R-CNN, whose people are of class 1")],
      names: ["", "person"],
      keypoints: { count, numbers: 3, names: [] },
      plan: {
        ...found.plan,
        points: columnsOf(points, count * 3),
        pointCount: count,
        pointScores: columnsOf(scores, count),
        arePointLogits: true,
      },
    };
  },
  "pose",
);
