/**
 * @module Heads of models with an NMS inside, whose parts are outputs: `mmdet`, `mmrotate` and `mask-rcnn-mmdeploy`, rows of a box and a
 * score, and labels, as mmdeploy exports; `efficient-nms`, count, boxes, scores and classes of TensorRT's EfficientNMS and BatchedNMS;
 * `yolov3-onnx`, boxes, the scores of every class and the triples that were chosen.
 */

import type { TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import type { OpenMmlabFamily } from "../onnx/beside.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts, saying } from "./head.ts";
import { type ChosenPlan, columnsOf, mayBePatches, type PartsPlan } from "./host-plan.ts";
import { classIdOf, isNameless, NumberSlice, outputOf, outputTensor, refuseOutput } from "./outputs.ts";
import type { ColumnsPlan } from "./plans.ts";
import { decodeColumns, decodeParts } from "./rows.ts";
import { FLOATS, findOutput, INTEGERS, isFloat, type ModelTraits, NUMBERS } from "./traits.ts";
import { ASSUMED_OF_YOLO_NAS } from "./yolo.ts";

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
const RTMDET = {
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
const ORIENTED_COLUMNS = 6;

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
    const parts = readRows(traits, ORIENTED_COLUMNS);
    if (parts === undefined) return undefined;
    // MMYOLO's RTMDet-R is padded as MMRotate's.
    const weightsOf = traits.weightsOf === "mmyolo-rtmdet" ? "rtmdet" : traits.weightsOf;
    const extra = { output: parts.outputs[0]!.name, order: "anchor-major", channels: ORIENTED_COLUMNS } as const;
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

const ASSUMED_OF_MASK_RCNN =
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
      ...preprocessingOf(traits, ASSUMED_OF_MASK_RCNN),
      masks: { output: masks.name, rule: "mmdeploy" },
    };
  },
  "segment",
);

/** What only MMYOLO calls the classes. */
const LABELS_OF_MMYOLO = /^labels$/;

/** What exporters call the four outputs: count, boxes, scores, classes. */
const NAMES: readonly (readonly [count: RegExp, boxes: RegExp, scores: RegExp, classes: RegExp])[] = [
  [/^num_dets$/, /^det_boxes$/, /^det_scores$/, /^det_classes$/],
  // MMYOLO's, by its easydeploy.
  [/^num_dets$/, /^b?boxes$/, /^scores$/, LABELS_OF_MMYOLO],
  [/^num_detections$/, /^detection_boxes$/, /^detection_scores$/, /^detection_classes$/],
  [/^num_detections$/, /^nmsed_boxes$/, /^nmsed_scores$/, /^nmsed_classes$/],
  [/^num$/, /^boxes$/, /^scores$/, /^classes$/],
];

/** SuperGradients puts the number of the graph in front: `graph2_pred_boxes`. */
const NAMES_OF_YOLO_NAS = [
  /(^|_)num_predictions$/,
  /(^|_)pred_boxes$/,
  /(^|_)pred_scores$/,
  /(^|_)pred_classes$/,
] as const;

/** Of outputs of any names, where the caller named the head. */
const ANY_NAMES = [/./, /./, /score|conf|prob/i, /^(?!.*(score|conf|prob)).*(class|label|cls)/i] as const;

/** Where these are lost as well: the count and the classes in integers are told by their forms alone. */
function findUnnamed(outputs: readonly TensorInfo[]): readonly TensorInfo[] | undefined {
  const [isCount, ...others] = FORMS;
  const found = [isCount!, ...others.map((isForm) => (info: TensorInfo) => isForm(info) && !isCount!(info))].map(
    (isOne, at) => outputs.filter((info) => isNameless(info) && isOne(info) && (at < 3 || !isFloat(info))),
  );
  return found.every(({ length }) => length === 1) ? found.flat() : undefined;
}

/** What the four are, in the same order. */
const FORMS: readonly ((info: TensorInfo) => boolean)[] = [
  ({ dtype, shape }) => INTEGERS.includes(dtype) && (shape.length === 1 || (shape.length === 2 && shape[1] === 1)),
  (info) => isFloat(info) && info.shape.length === 3 && info.shape[2] === 4,
  (info) => isFloat(info) && info.shape.length === 2,
  (info) => (isFloat(info) || INTEGERS.includes(info.dtype)) && info.shape.length === 2,
];

/** Without metadata nothing tells which family the NMS was put behind. */
const ASSUMED_OF_NMS =
  "YOLO's pre-processing; DAMO-YOLO and others exported with this NMS look alike and want another: for DAMO-YOLO give " +
  saying({ fit: "stretch", scale: 1 });

/** MMYOLO puts one NMS behind all of its families. */
const ASSUMED_OF_MMYOLO =
  `YOLO's pre-processing, as MMYOLO's YOLOv5, v6, v7 and v8; its RTMDet and YOLOX look alike: for RTMDet give ${saying(RTMDET)}; for ` +
  `YOLOX ${saying({ fit: "letterbox-top-left", colour: "BGR", scale: 1 })}`;

function assumedOf(classes: string, isOfYoloNas: boolean): string {
  if (isOfYoloNas) return ASSUMED_OF_YOLO_NAS;
  return LABELS_OF_MMYOLO.test(classes) ? ASSUMED_OF_MMYOLO : ASSUMED_OF_NMS;
}

function findFour(outputs: readonly TensorInfo[], names: readonly RegExp[]): readonly TensorInfo[] | undefined {
  const found = FORMS.map((isOne, at) => outputs.find((info) => names[at]!.test(info.name) && isOne(info)));
  return found.every((info) => info !== undefined) ? found : undefined;
}

/**
 * Boxes x1, y1, x2, y2 in input pixels; rows past the count are undefined. Classes are whole numbers or floats.
 * TensorFlow's detectors have the third set of names with rows y1, x1, y2, x2: their input is NHWC, and they are refused.
 */
export const efficientNms: Head<ColumnsPlan> = defineHead(
  "efficient-nms",
  "outputs num_dets, det_boxes, det_scores, det_classes: [N, 1], [N, rows, 4], [N, rows], [N, rows], or an alias (EfficientNMS_TRT)",
  decodeColumns,
  (traits) => {
    const { model, image, forced } = traits;
    if (image.layout === "NHWC" && !forced) return undefined;
    const ofYoloNas = findFour(model.outputs, NAMES_OF_YOLO_NAS);
    const known = NAMES.map((names) => findFour(model.outputs, names)).find((found) => found !== undefined);
    const outputs =
      known ?? ofYoloNas ?? (forced ? (findFour(model.outputs, ANY_NAMES) ?? findUnnamed(model.outputs)) : undefined);
    if (outputs === undefined) return undefined;
    const [counts, boxes, scores, classes] = outputs.map(({ name }) => name) as [string, string, string, string];
    return {
      outputs,
      preprocessing: YOLO_PREPROCESSING,
      assumptions: traits.family !== undefined ? [] : [assumedOf(classes, outputs === ofYoloNas)],
      needsNms: false,
      plan: { kind: "columns", boxes, scores, classes, counts },
    };
  },
);

/** The input that wants the height and width of the image. */
const SIZE_INPUT = "image_shape";

function isTriples({ dtype, shape }: TensorInfo): boolean {
  const last = shape.at(-1);
  return INTEGERS.includes(dtype) && (shape.length === 2 || shape.length === 3) && (last === 3 || last === -1);
}

/**
 * YOLOv3 and Tiny YOLOv3 of the ONNX zoo, which keras2onnx made. Boxes are y1, x1, y2, x2 of the size that the second input tells,
 * which is the model's own.
 *
 * @see https://github.com/onnx/models (vision/object_detection_segmentation/yolov3, tiny-yolov3)
 */
export const yolov3Onnx: Head<ChosenPlan> = defineHead(
  "yolov3-onnx",
  "inputs image and image_shape [N, 2]; outputs boxes [N, boxes, 4], scores [N, classes, boxes], chosen triples [n, 3] (YOLOv3 of the ONNX zoo)",
  decodeChosen,
  (traits) => {
    const { inputs, outputs } = traits.model;
    const size = inputs.find(({ name, shape }) => shape.length === 2 && (traits.forced || name === SIZE_INPUT));
    if (size === undefined || outputs.length !== 3 || size.dtype !== "f32") return undefined;
    const triples = outputs.find(isTriples);
    const rows = outputs.filter((info) => isFloat(info) && info.shape.length === 3);
    const isBoxes = ({ name, shape }: TensorInfo): boolean => shape[2] === 4 || /box|ExpandDims_1:0$/i.test(name);
    const boxes = rows.find(isBoxes);
    const scores = rows.find((info) => info !== boxes);
    if (triples === undefined || boxes === undefined || scores === undefined) return undefined;
    const classes = scores.shape[1]!;
    if (classes > 0 && traits.classes !== undefined && traits.classes !== classes) return undefined;
    return {
      outputs: [boxes, scores, triples],
      sizeInputs: [{ name: size.name, dtype: "f32", content: "height-width" }],
      preprocessing: { ...YOLO_PREPROCESSING, resize: "bicubic", pad: [128, 128, 128] },
      ...(classes > 0 && { classes }),
      preferredSize: [416, 416],
      needsNms: false,
      plan: { kind: "chosen", boxes: boxes.name, scores: scores.name, indices: triples.name },
    };
  },
);

const boxes: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();
const chosen: NumberSlice = new NumberSlice();

/** Append the chosen boxes of the image whose score reaches the threshold, in the order in which they were chosen. */
function decodeChosen(plan: ChosenPlan, input: DecodeInput, candidates: Candidates): void {
  const { index } = input;
  const boxTensor = outputTensor(input, plan.boxes, FLOATS, index + 1, -1, 4);
  const rows = boxTensor.shape[1]!;
  boxes.load(boxTensor, index * rows * 4, rows * 4);
  const scoreTensor = outputTensor(input, plan.scores, FLOATS, index + 1, -1, rows);
  const classes = scoreTensor.shape[1]!;
  scores.load(scoreTensor, index * classes * rows, classes * rows);
  const isFlat = input.outputs.get(plan.indices)?.shape.length === 2;
  const triples = isFlat
    ? outputTensor(input, plan.indices, INTEGERS, 0, 3)
    : outputTensor(input, plan.indices, INTEGERS, 1, -1, 3);
  const count = triples.shape[isFlat ? 0 : 1]!;
  chosen.load(triples, 0, count * 3);
  const threshold = Math.fround(input.threshold);
  for (let at = chosen.offset, end = at + count * 3; at < end; at += 3) {
    if (chosen.data[at] !== index) continue;
    const classId = classIdOf(chosen.data[at + 1]!, plan.indices);
    const row = chosen.data[at + 2]!;
    if (classId >= classes || row < 0 || row >= rows) {
      refuseOutput(plan.indices, `numbers of ${classes} classes and ${rows} boxes`, triples);
    }
    const score = scores.data[scores.offset + classId * rows + row]!;
    if (score < threshold) continue;
    const box = boxes.offset + row * 4;
    const { data } = boxes;
    candidates.push(data[box + 1]!, data[box]!, data[box + 3]!, data[box + 2]!, score, classId, classId * rows + row);
  }
}
