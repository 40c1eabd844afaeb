/** @module Head `efficient-nms`: count, boxes, scores and classes, as TensorRT's EfficientNMS and BatchedNMS give. */

import type { TensorInfo } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { type ColumnsPlan, defineHead, type Head, saying } from "./head.ts";
import { RTMDET } from "./mmdeploy.ts";
import { isNameless } from "./outputs.ts";
import { decodeColumns } from "./rows.ts";
import { INTEGERS, isFloat } from "./traits.ts";
import { ASSUMED_OF_YOLO_NAS } from "./yolo-rows.ts";

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
const ASSUMED =
  "YOLO's pre-processing; DAMO-YOLO and others exported with this NMS look alike and want another: for DAMO-YOLO give " +
  saying({ fit: "stretch", scale: 1 });

/** MMYOLO puts one NMS behind all of its families. */
const ASSUMED_OF_MMYOLO =
  `YOLO's pre-processing, as MMYOLO's YOLOv5, v6, v7 and v8; its RTMDet and YOLOX look alike: for RTMDet give ${saying(RTMDET)}; for ` +
  `YOLOX ${saying({ fit: "letterbox-top-left", colour: "BGR", scale: 1 })}`;

function assumedOf(classes: string, isOfYoloNas: boolean): string {
  if (isOfYoloNas) return ASSUMED_OF_YOLO_NAS;
  return LABELS_OF_MMYOLO.test(classes) ? ASSUMED_OF_MMYOLO : ASSUMED;
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
