/**
 * @module Heads of two frameworks' own detectors, NMS and all: `torchvision`, `mask-rcnn` and `keypoint-rcnn`, the objects of one image;
 * `tf-detection`, `tf-detection-masks`, `tflite-detection` and `combined-nms` of TensorFlow.
 */

import type { DType, TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_91, type ModelInfo } from "../model/model-info.ts";
import { defineHead, type Head, type ModelSpecParts, saying } from "./head.ts";
import { columnsOf, mayBePatches, type PartsPlan } from "./host-plan.ts";
import { isSingleImage } from "./image-input.ts";
import { decodeParts } from "./rows.ts";
import { FLOATS, findOutput, INTEGERS, isFloat, type ModelTraits, NUMBERS } from "./traits.ts";

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

/** Levels as they are: the graph normalises them. */
const LEVELS: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1, pad: [0, 0, 0] };

/** What files call a class that is never found. */
const BACKGROUND = /^(_*background_*|\?+|n\/a|)$/i;

/** Names of classes that are numbered from 1 on. */
export function labelsFromOne(names: readonly string[]): readonly string[] {
  return BACKGROUND.test(names[0] ?? "") ? names : ["", ...names];
}

/** Names of classes that are numbered from 0 on, without the background that label files begin with. */
function labelsFromZero(names: readonly string[]): readonly string[] {
  return BACKGROUND.test(names[0] ?? "") ? names.slice(1) : names;
}

/** Output of this name, as `tf2onnx` has it from a saved model or a frozen graph. */
function named(model: ModelInfo, name: string, rank: number): TensorInfo | undefined {
  return findOutput(model, new RegExp(`^${name}(:0)?$`), rank, FLOATS);
}

/** Outputs that exporters add and that change nothing: what was found before NMS, and stages in between. */
const FURTHER =
  /^(raw_detection_(boxes|scores)|detection_(multiclass_scores|anchor_indices|features|keypoints|keypoint_scores)|anchors|final_anchors|image_shape|num_proposals|mask_predictions|(raw_)?proposal_boxes(_normalized)?|proposal_scores|refined_box_encodings|class_predictions_with_background|rpn_.*|box_classifier_features)(:0)?$/;

const ASSUMED_OF_FIT =
  "the image stretched to the input, as SSD's fixed_shape_resizer does; EfficientDet and Faster R-CNN keep the ratio: give " +
  saying({ fit: "letterbox-top-left", pad: 0 });

const ASSUMED_NAMES =
  "COCO's class names, as the model does not tell its own: give `labels`, of which the first is that of class ";

/** Boxes as fractions, each part in an output of its own. */
function planOf(parts: Readonly<Record<"boxes" | "scores" | "classes" | "count", TensorInfo>>): PartsPlan {
  return {
    kind: "parts",
    boxes: columnsOf(parts.boxes, 4),
    scores: columnsOf(parts.scores, 1),
    classes: columnsOf(parts.classes, 1),
    counts: parts.count.name,
    axes: "yx",
    boxUnit: "fraction",
  };
}

/**
 * Ids of classes, 0 included, which is nobody's: as many as there are scores of a row, or one more where the background has none, as with
 * EfficientDet. The numbers of COCO's tell, or names that begin with the background; else it has one.
 */
function idsOf(scores: number, names: readonly string[] | undefined): number {
  const isWithout = names !== undefined && BACKGROUND.test(names[0] ?? "") && names.length === scores + 1;
  return isWithout || scores === COCO_91.length - 1 ? scores + 1 : scores;
}

function readDetections(traits: ModelTraits, masks: TensorInfo | undefined): ModelSpecParts<PartsPlan> | undefined {
  const { model, image, names, forced } = traits;
  const boxes = named(model, "detection_boxes", 3);
  const scores = named(model, "detection_scores", 2);
  const classes = findOutput(model, /^detection_classes(:0)?$/, 2, forced ? NUMBERS : FLOATS);
  const count = findOutput(model, /^num_detections(:0)?$/, 1, forced ? NUMBERS : FLOATS);
  if (boxes?.shape[2] !== 4 || scores === undefined || classes === undefined || count === undefined) return undefined;
  const ofClasses = named(model, "detection_multiclass_scores", 3)?.shape[2] ?? -1;
  const labels = labelsFromOne(names ?? COCO_91);
  const ids = idsOf(ofClasses, names);
  if (names !== undefined && ofClasses > 0 && labels.length !== ids) return undefined;
  const isOfCoco = ofClasses < 0 || ids === COCO_91.length;
  return {
    outputs: [boxes, classes, scores, count, ...(masks === undefined ? [] : [masks])],
    auxiliary: model.outputs.filter(({ name }) => FURTHER.test(name)),
    preprocessing: LEVELS,
    assumptions: [...(image.fixedSize === undefined ? [] : [ASSUMED_OF_FIT])],
    ...(ofClasses > 0 ? { classes: ids } : {}),
    ...(names !== undefined || isOfCoco ? { labels } : {}),
    ...(names === undefined && isOfCoco ? { assumedNames: `${ASSUMED_NAMES}1` } : {}),
    needsNms: false,
    // The graph resizes images by its own rule.
    isImageSized: true,
    stride: 1,
    plan: planOf({ boxes, scores, classes, count }),
    ...(masks === undefined ? {} : { masks: { output: masks.name, rule: "tensorflow" } as const }),
  };
}

/**
 * TensorFlow's Object Detection API: SSD, EfficientDet, CenterNet and Faster R-CNN. Classes are numbered from 1 on, in floats; so is
 * the count, which tells it from EfficientNMS with the same names. An input of open size takes each image as it is.
 *
 * @see https://github.com/tensorflow/models (research/object_detection/exporter_lib_v2.py)
 */
export const tfDetection: Head<PartsPlan> = defineHead(
  "tf-detection",
  "outputs detection_boxes [N, n, 4]: y1, x1, y2, x2 in 0–1, detection_classes and detection_scores [N, n], num_detections [N] in floats (TensorFlow Object Detection API)",
  decodeParts,
  (traits) => readDetections(traits, undefined),
);

/** Those with masks: probabilities in patches under the boxes, or pasted into the input. */
export const tfDetectionMasks: Head<PartsPlan> = defineHead(
  "tf-detection-masks",
  "as tf-detection, and detection_masks [N, n, height, width] (Mask R-CNN of the TensorFlow Object Detection API)",
  decodeParts,
  (traits) => {
    const masks = named(traits.model, "detection_masks", 4);
    if (masks === undefined || !mayBePatches(masks, traits.shapesAt)) return undefined;
    return readDetections(traits, masks);
  },
  "segment",
);

/** How `tf2onnx --tflite` calls the outputs of TFLite's post-processing. */
const TFLITE = /^(TFLite_Detection_PostProcess|StatefulPartitionedCall)(?::(\d+))?$/;

/**
 * Boxes, classes, scores and count. Their numbers follow one another from the boxes to the count, upwards or downwards by the
 * converter's version: 0 to 3, 31 to 34, 3 to 0.
 */
function tfliteOutputs({ outputs }: ModelInfo): readonly TensorInfo[] | undefined {
  const boxes = outputs.find((info) => info.shape.length === 3 && info.shape[2] === 4);
  const count = outputs.find(({ shape }) => shape.length === 1);
  const numberOf = ({ name }: TensorInfo): number => Number(TFLITE.exec(name)?.[2] ?? 0);
  if (boxes === undefined || count === undefined || outputs.length !== 4) return undefined;
  if (!outputs.every((info) => TFLITE.test(info.name) && isFloat(info))) return undefined;
  const step = (numberOf(count) - numberOf(boxes)) / 3;
  if (Math.abs(step) !== 1) return undefined;
  const rows = [1, 2].map((at) =>
    outputs.find((info) => info.shape.length === 2 && numberOf(info) === numberOf(boxes) + at * step),
  );
  const [classes, scores] = rows;
  return classes && scores && [boxes, classes, scores, count];
}

const ASSUMED_OF_LEVELS =
  "levels from -1 to 1, as SSD MobileNet of TFLite has them; for EfficientDet-Lite in floats give " +
  saying({ scale: 1, mean: 127, std: 128 });

/** Detectors of TFLite: SSD MobileNet and EfficientDet-Lite of Model Maker. Classes are numbered from 0 on. */
export const tfliteDetection: Head<PartsPlan> = defineHead(
  "tflite-detection",
  "outputs TFLite_Detection_PostProcess, :1, :2, :3 or StatefulPartitionedCall:3, :2, :1, :0: boxes [N, n, 4] y1, x1, y2, x2 in 0–1, classes, scores, count (tf2onnx --tflite)",
  decodeParts,
  ({ model, image, names }) => {
    const outputs = tfliteOutputs(model);
    if (outputs === undefined) return undefined;
    const [boxes, classes, scores, count] = outputs as [TensorInfo, TensorInfo, TensorInfo, TensorInfo];
    return {
      outputs,
      preprocessing: { ...LEVELS, scale: 1 / 127.5, mean: [1, 1, 1] },
      assumptions: [...(image.dtype === "u8" ? [] : [ASSUMED_OF_LEVELS])],
      labels: labelsFromZero(names ?? COCO_91),
      ...(names === undefined ? { assumedNames: `${ASSUMED_NAMES}0` } : {}),
      needsNms: false,
      plan: planOf({ boxes, scores, classes, count }),
    };
  },
);

/** What several outputs of one layer are called: by its name, then `_1`, `_2`, `_3`; those of a node `:0` to `:3`. */
const NUMBERED = /^(.*?)(?:[_:](\d+))?(?::0)?$/;

/** The layer of `yolov3-tf2`, of its forks and kin, whose boxes have x before y. */
const YOLO_NMS = "yolo_nms";

/** Layers of the function itself, which takes boxes in either order. */
const COMBINED_NMS = /combined_?non_?max_?suppression$/i;

/** The layer, and its boxes, scores, classes and count, numbered one after the other. */
function combinedOutputs({ outputs }: ModelInfo): readonly [layer: string, ...TensorInfo[]] | undefined {
  const numbered = (info: TensorInfo): readonly [string, number] => {
    const [, layer = "", number = "0"] = NUMBERED.exec(info.name)!;
    return [layer, Number(number)];
  };
  const boxes = outputs.find((info) => isFloat(info) && info.shape.length === 3 && info.shape[2] === 4);
  if (boxes === undefined) return undefined;
  const [layer, first] = numbered(boxes);
  const find = (step: number, rank: number, dtypes: readonly DType[]): TensorInfo | undefined =>
    outputs.find((info) => {
      const [own, number] = numbered(info);
      return own === layer && number === first + step && info.shape.length === rank && dtypes.includes(info.dtype);
    });
  const [scores, classes, count] = [find(1, 2, FLOATS), find(2, 2, NUMBERS), find(3, 1, NUMBERS)];
  return scores && classes && count && [layer, boxes, scores, classes, count];
}

const ASSUMED_OF_NMS =
  "levels in 0 to 1 of an image that is stretched to the input; YOLOv5's exports keep its ratio: give " +
  saying({ fit: "letterbox" });

/** @param axes left out: x before y @param isOwn true for layers whose boxes have that order, or may have it */
function combinedNmsOf(
  name: string,
  summary: string,
  axes: PartsPlan["axes"],
  isOwn: (layer: string) => boolean,
): Head<PartsPlan> {
  return defineHead(name, summary, decodeParts, ({ model, forced }) => {
    const [layer, boxes, scores, classes, count] = combinedOutputs(model) ?? [];
    if (layer === undefined || !(forced || isOwn(layer))) return undefined;
    const { axes: _, ...plan } = planOf({ boxes: boxes!, scores: scores!, classes: classes!, count: count! });
    return {
      outputs: [boxes!, scores!, classes!, count!],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" },
      assumptions: layer === YOLO_NMS ? [] : [ASSUMED_OF_NMS],
      ...(layer === YOLO_NMS ? { preferredSize: [416, 416] as const } : {}),
      needsNms: false,
      plan: axes === undefined ? plan : { ...plan, axes },
    };
  });
}

/**
 * TensorFlow's combined NMS over boxes with x before y, as YOLOv3 of `yolov3-tf2` and its kin. The function keeps the order of what it is
 * given, and boxes with y before x look alike: unless the layer tells, the caller says which.
 */
export const combinedNms: Head<PartsPlan> = combinedNmsOf(
  "combined-nms",
  "outputs yolo_nms, _1, _2, _3, or named after another layer: boxes [N, n, 4] x1, y1, x2, y2 in 0–1, scores and classes [N, n], count [N] (YOLOv3 of yolov3-tf2)",
  undefined,
  (layer) => layer === YOLO_NMS || COMBINED_NMS.test(layer),
);

/** The same over boxes with y before x, as TensorFlow's own functions have them. */
export const combinedNmsYx: Head<PartsPlan> = combinedNmsOf(
  "combined-nms-yx",
  "as combined-nms, with boxes y1, x1, y2, x2 in 0–1 (TensorFlow's combined_non_max_suppression)",
  "yx",
  (layer) => COMBINED_NMS.test(layer),
);
