/** @module Heads `mmdet`, `mmrotate` and `mask-rcnn-mmdeploy`: rows of a box and a score, and labels, as mmdeploy exports. */

import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { OpenMmlabFamily } from "../onnx/beside.ts";
import { defineHead, type Head, type ModelSpecParts, saying } from "./head.ts";
import { columnsOf, type PartsPlan } from "./host-plan.ts";
import { mayBePatches } from "./masked.ts";
import { outputOf } from "./outputs.ts";
import { decodeParts } from "./parts.ts";
import { FLOATS, findOutput, type ModelTraits, NUMBERS } from "./traits.ts";

const MEAN = [123.675, 116.28, 103.53] as const;
const STD = [58.395, 57.12, 57.375] as const;

/** Levels of RGB with ImageNet's mean and deviation, padded right and below with what becomes 0. */
const PREPROCESSING: Preprocessing = {
  ...YOLO_PREPROCESSING,
  fit: "letterbox-top-left",
  scale: 1,
  mean: MEAN,
  std: STD,
  pad: MEAN,
};

/** What RTMDet wants, of levels as they are. */
export const RTMDET = {
  colour: "BGR",
  scale: 1,
  mean: [103.53, 116.28, 123.675],
  std: [57.375, 57.12, 58.395],
  pad: 114,
} as const;

const { scale: _, ...rtmdet } = RTMDET;
const BGR = saying(rtmdet);

const YOLOV3: Preprocessing = { ...YOLO_PREPROCESSING, fit: "letterbox-top-left", pad: [0, 0, 0] };

/** What a family wants that the names of a model's weights tell, where it is not `PREPROCESSING`. */
const OF_FAMILY: Readonly<Record<OpenMmlabFamily, Preprocessing>> = {
  rtmdet: { ...PREPROCESSING, ...RTMDET, pad: [114, 114, 114] },
  yolox: { ...YOLO_PREPROCESSING, fit: "letterbox-top-left", colour: "BGR", scale: 1 },
  yolov3: YOLOV3,
  "yolov3-some": YOLOV3,
  // Of Caffe's ResNet.
  fcos: {
    ...PREPROCESSING,
    colour: "BGR",
    mean: [102.9801, 115.9465, 122.7717],
    std: [1, 1, 1],
    pad: [102.9801, 115.9465, 122.7717],
  },
  ssd: { ...PREPROCESSING, fit: "stretch" },
  "ssd-vgg": { ...PREPROCESSING, fit: "stretch", std: [1, 1, 1] },
  mmyolo: YOLO_PREPROCESSING,
  "mmyolo-rtmdet": { ...PREPROCESSING, ...RTMDET, fit: "letterbox", pad: [114, 114, 114] },
  "mmyolo-ppyoloe": { ...YOLO_PREPROCESSING, fit: "stretch" },
};

/** What of it its weights do not tell. */
const ASSUMED_OF_FAMILY: Readonly<Partial<Record<OpenMmlabFamily, string>>> = {
  "yolov3-some": `levels in 0 to 1, as YOLOv3 with Darknet wants; for YOLOv3 with MobileNetV2 give ${saying({ scale: 1, mean: MEAN, std: STD, pad: MEAN })}`,
  fcos:
    "Caffe's BGR levels, as FCOS with ResNet-50 and 101 wants; for FCOS with ResNeXt give " +
    saying({ colour: "RGB", mean: MEAN, std: STD }),
  "mmyolo-ppyoloe": `levels in 0 to 1, as PP-YOLOE+ wants; for PP-YOLOE give ${saying({ scale: 1, mean: MEAN, std: STD })}`,
};

const ASSUMED_OF_FIT =
  "images keep their ratio, as MMDetection tests its models; mmdeploy's own tools stretch them to an input of fixed size: for that give " +
  saying({ fit: "stretch" });

/** The pre-processing of a model, and what of it is assumed. @param assumed what is where its weights do not tell the family */
function preprocessingOf(
  { weightsOf, image }: Pick<ModelTraits, "weightsOf" | "image">,
  assumed: string,
): Pick<ModelSpecParts<PartsPlan>, "preprocessing" | "assumptions"> {
  const family =
    weightsOf !== undefined && Object.hasOwn(OF_FAMILY, weightsOf) ? (weightsOf as OpenMmlabFamily) : undefined;
  const preprocessing = family === undefined ? PREPROCESSING : OF_FAMILY[family];
  const ofLevels = family === undefined ? assumed : ASSUMED_OF_FAMILY[family];
  const ofFit =
    image.fixedSize !== undefined && preprocessing.fit === "letterbox-top-left" ? ASSUMED_OF_FIT : undefined;
  return { preprocessing, assumptions: [ofLevels, ofFit].filter((one) => one !== undefined) };
}

/** @param columns of a row: those of a box, then the score */
function readRows(
  traits: ModelTraits,
  columns: number,
): Pick<ModelSpecParts<PartsPlan>, "outputs" | "needsNms" | "plan"> | undefined {
  const dets = outputOf(traits, "dets", 3, FLOATS, ({ shape }) => shape[2] === columns);
  const labels = outputOf(traits, "labels", 2, NUMBERS);
  if (dets?.shape[2] !== columns || labels === undefined) return undefined;
  return {
    outputs: [dets, labels],
    needsNms: false,
    plan: {
      kind: "parts",
      boxes: columnsOf(dets, columns),
      scores: columnsOf(dets, columns, columns - 1),
      classes: columnsOf(labels, 1),
    },
  };
}

const ASSUMED_OF_MMROTATE = `RGB with ImageNet's mean and deviation, as most of MMRotate; for RTMDet-R give ${BGR}`;

/** Numbers of a row: centre, width, height, angle and score. */
const COLUMNS = 6;

/**
 * Angles are in radians, clockwise on the screen, in all of its versions (oc, le90, le135): these differ in their range only.
 * Padding comes after ImageNet's mean is subtracted, and is 0.
 *
 * @see https://github.com/open-mmlab/mmdeploy (docs/en/04-supported-codebases/mmrotate.md)
 */
export const mmrotate: Head<PartsPlan> = defineHead(
  "mmrotate",
  "outputs dets [N, rows, 6]: cx, cy, w, h in pixels, angle, score, and labels [N, rows]; no NMS (MMRotate, by mmdeploy)",
  decodeParts,
  (traits) => {
    const parts = readRows(traits, COLUMNS);
    if (parts === undefined) return undefined;
    // MMYOLO's RTMDet-R is padded as MMRotate's.
    const weightsOf = traits.weightsOf === "mmyolo-rtmdet" ? "rtmdet" : traits.weightsOf;
    const extra = { output: parts.outputs[0]!.name, order: "anchor-major", channels: COLUMNS } as const;
    return {
      ...parts,
      ...preprocessingOf({ ...traits, weightsOf }, ASSUMED_OF_MMROTATE),
      // A file does not tell its classes, and they are hardly ever COCO's.
      names: [],
      extras: [
        { ...extra, name: "sides", first: 0, length: 4 },
        { ...extra, name: "angles", first: 4, length: 1 },
      ],
      plan: { ...parts.plan, boxForm: "centre" },
    };
  },
  "obb",
);

const ASSUMED_OF_MMDET =
  "RGB with ImageNet's mean and deviation, as Faster R-CNN, RetinaNet, ATSS and most of MMDetection; mmdeploy's exports look alike: for " +
  `RTMDet give ${BGR}; for YOLOX ${saying({ colour: "BGR", mean: 0, std: 1, pad: 114 })}`;

/** As mmdeploy exports mmdet's detectors, and mmyolo's. Rows that only fill the tensor have the score 0. */
export const mmdet: Head<PartsPlan> = defineHead(
  "mmdet",
  "outputs dets [N, rows, 5]: x1, y1, x2, y2 in pixels, score, and labels [N, rows]; no NMS (MMDetection, by mmdeploy)",
  decodeParts,
  (traits) => {
    const parts = readRows(traits, 5);
    return parts && { ...parts, ...preprocessingOf(traits, ASSUMED_OF_MMDET) };
  },
);

const ASSUMED =
  "Mask R-CNN's pre-processing; mmdeploy's exports of RTMDet-Ins, SOLO and others look alike: for RTMDet-Ins give " +
  BGR;

/** As mmdeploy exports mmdet's Mask R-CNN, Cascade Mask R-CNN and their kin. */
export const maskRcnnMmdeploy: Head<PartsPlan> = defineHead(
  "mask-rcnn-mmdeploy",
  "outputs dets [N, n, 5]: x1, y1, x2, y2 in pixels, score, labels [N, n], masks [N, n, 28, 28] or pasted (mmdeploy)",
  decodeParts,
  (traits) => {
    const { model, shapesAt } = traits;
    const parts = readRows(traits, 5);
    const masks = findOutput(model, "masks", 4, FLOATS);
    if (parts === undefined || masks === undefined || !mayBePatches(masks, shapesAt)) return undefined;
    return {
      ...parts,
      outputs: [...parts.outputs, masks],
      ...preprocessingOf(traits, ASSUMED),
      masks: { output: masks.name, rule: "mmdeploy" },
    };
  },
  "segment",
);
