/**
 * @module Heads of boxes as corners, before NMS: `yolov4` and `damo-yolo`, with the scores of all classes in another output, `damo-yolo-rows`
 * and `libreyolo`, with them beside, and `qualcomm`, with each anchor's best score and its class in two more.
 */

import type { DType, TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { decodeDense } from "./dense.ts";
import { densePlan, hasGridRows, isOfModelScope, MOST_CHOSEN, readClasses, stridesOf } from "./dense-reading.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts, naming, saying } from "./head.ts";
import { columnsOf, type PartsPlan } from "./host-plan.ts";
import { areBoxes, outputOf } from "./outputs.ts";
import type { ColumnsPlan, DensePlan } from "./plans.ts";
import { decodeColumns, decodeParts } from "./rows.ts";
import { FLOATS, findOutput, HOST_NUMBERS, isFloat, type ModelTraits } from "./traits.ts";

/** Stretched RGB levels as they are, which DAMO-YOLO wants. */
const PREPROCESSING: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1 };

/** The two outputs, of one dtype. */
interface SplitOutputs {
  readonly scores: TensorInfo;
  readonly boxes: TensorInfo;
}

/** Boxes as corners, and the scores of all classes, before NMS: stretched images, levels as they are where boxes are in pixels. */
function splitParts(
  traits: ModelTraits,
  { scores, boxes }: SplitOutputs,
  boxUnit: "pixels" | "fraction",
): ModelSpecParts<DensePlan> | undefined {
  const classes = scores.shape[2]!;
  if (classes < 1 || (traits.classes !== undefined && traits.classes !== classes)) return undefined;
  return {
    outputs: [boxes, scores],
    preprocessing: boxUnit === "pixels" ? PREPROCESSING : { ...PREPROCESSING, scale: 1 / 255 },
    classes,
    needsNms: true,
    plan: {
      kind: "dense",
      output: scores.name,
      order: "anchor-major",
      channels: classes,
      classes,
      classChannel: 0,
      score: "class",
      boxUnit,
      boxForm: "corners",
      boxes: boxes.name,
    },
  };
}

/**
 * As pytorch-YOLOv4 exports. `confs` is objectness × class already; images are stretched.
 *
 * @see https://github.com/Tianxiaomo/pytorch-YOLOv4 (tool/yolo_layer.py, tool/utils.py)
 */
export const yolov4: Head<DensePlan> = defineHead(
  "yolov4",
  "outputs boxes [N, rows, 1, 4]: x1, y1, x2, y2 in 0–1, and confs [N, rows, classes] (pytorch-YOLOv4)",
  decodeDense,
  (traits) => {
    const boxes = findOutput(traits.model, "boxes", 4, FLOATS);
    const scores = findOutput(traits.model, "confs", 3, FLOATS);
    if (boxes === undefined || scores?.dtype !== boxes.dtype) return undefined;
    if (boxes.shape[2] !== 1 || boxes.shape[3] !== 4) return undefined;
    return splitParts(traits, { scores, boxes }, "fraction");
  },
);

/** The two outputs, told apart by the four sides of a box; scores of four classes come first, as DAMO-YOLO writes them. */
export function splitOutputs({ outputs }: { readonly outputs: readonly TensorInfo[] }): SplitOutputs | undefined {
  const [a, b, ...others] = outputs;
  if (a === undefined || b === undefined || others.length > 0 || a.dtype !== b.dtype) return undefined;
  if (![a, b].every((info) => isFloat(info) && info.shape.length === 3 && info.shape[2]! > 0)) return undefined;
  if (a.shape[1] !== b.shape[1]) return undefined;
  if (b.shape[2] === 4) return { scores: a, boxes: b };
  return a.shape[2] === 4 ? { scores: b, boxes: a } : undefined;
}

/** What YOLO-NAS wants, whose input of bytes is normalised by the model itself. */
export function sayingOfYoloNas({ image }: ModelTraits): string {
  return saying(image.dtype === "u8" ? { fit: "letterbox" } : { fit: "letterbox", scale: 1 / 255 });
}

/**
 * As DAMO-YOLO exports; stretched RGB levels as they are. YOLO-NAS has such outputs with another pre-processing: it is never
 * recognised, but can be named.
 *
 * @see https://github.com/tinyvision/DAMO-YOLO (damo/base_models/heads/zero_head.py, tools/converter.py)
 */
export const damoYolo: Head<DensePlan> = defineHead(
  "damo-yolo",
  "two outputs before NMS: a probability a class [N, rows, classes], and x1, y1, x2, y2 in pixels [N, rows, 4]",
  decodeDense,
  (traits) => {
    const pair = splitOutputs(traits.model);
    if (pair === undefined) return undefined;
    // Its converter names the first output; the other keeps the number that the exporter gave it.
    const isSaid = traits.weightsOf === "damo-yolo" || (pair.scores.name === "output" && /^\d+$/.test(pair.boxes.name));
    if (!traits.forced) {
      if (!isSaid || traits.family !== undefined) return undefined;
      const rows = pair.scores.shape[1]!;
      if (rows >= 0 && stridesOf(rows, traits.shapesAt, 1) === undefined) return undefined;
    }
    const parts = splitParts(traits, pair, "pixels");
    const assumed = `DAMO-YOLO's pre-processing; YOLO-NAS's two outputs look alike: for it give ${sayingOfYoloNas(traits)}`;
    return parts && { ...parts, assumptions: isSaid ? [] : [assumed] };
  },
);

/** What is assumed where only the names of the tensors tell. */
const ASSUMED_OF_MODELSCOPE = `ModelScope's DAMO-YOLO, by the names "images" and "pred"; YOLO's rows look alike: for them give ${naming(["yolo-transposed", "yolox"])}`;

/**
 * As ModelScope exports DAMO-YOLO: its two outputs side by side.
 *
 * @see https://github.com/modelscope/modelscope (modelscope/exporters/cv/object_detection_damoyolo_exporter.py)
 */
export const damoYoloRows: Head<DensePlan> = defineHead(
  "damo-yolo-rows",
  'one output "pred" [N, rows, 4+classes]: x1, y1, x2, y2 in pixels, a probability a class, before NMS (DAMO-YOLO, by ModelScope)',
  decodeDense,
  (traits) => {
    const found = readClasses(traits, 4, 2);
    if (found === undefined) return undefined;
    const { reading, parts } = found;
    if (!traits.forced && (!hasGridRows(reading) || !isOfModelScope(reading, traits))) return undefined;
    const isSaid = traits.forced || traits.weightsOf === "damo-yolo";
    return {
      ...parts,
      preprocessing: PREPROCESSING,
      assumptions: isSaid ? [] : [ASSUMED_OF_MODELSCOPE],
      usualIou: 0.7,
      plan: { ...densePlan(reading, parts.classes, "class"), boxForm: "corners" },
    };
  },
);

/** Heads of its families whose pre-processing is known, by `model_family`; the others have outputs that look alike. */
const HEAD_OF: Readonly<Record<string, string>> = {
  yolo9: "libreyolo",
  yolo9_p2: "libreyolo",
  yolo9_e2e: "libreyolo",
  yolonas: "libreyolo",
  yolo7: "libreyolo",
  picodet: "libreyolo",
  ppyoloe: "libreyolo",
  rtmdet: "libreyolo",
  yolox: "yolox",
  rfdetr: "rf-detr",
  dfine: "hugging-face",
  deim: "hugging-face",
  rtdetr: "hugging-face",
  rtdetrv4: "hugging-face",
};

/** The family that LibreYOLO's metadata names; `undefined` if another exporter wrote the file. */
export function libreYoloFamily(metadata: Readonly<Record<string, string>>): string | undefined {
  return metadata.libreyolo_version === undefined ? undefined : (metadata.model_family ?? "").toLowerCase();
}

/** The one head that a family of LibreYOLO may have; `undefined` if it is not known. */
export function headOfLibreYolo(family: string): string | undefined {
  return Object.hasOwn(HEAD_OF, family) ? HEAD_OF[family] : undefined;
}

/** ImageNet's mean and deviation of levels, RGB. */
const MEAN = [123.675, 116.28, 103.53] as const;
const STD = [58.395, 57.12, 57.375] as const;

const STRETCHED: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1, mean: MEAN, std: STD };

const TOP_LEFT: Preprocessing = { ...YOLO_PREPROCESSING, fit: "letterbox-top-left" };

/** What is done to an image, by family; YOLOv9's weights tell themselves where it is padded. */
const PREPROCESSING_OF: Readonly<Record<string, Preprocessing>> = {
  yolo7: { ...TOP_LEFT, resize: "antialias" },
  yolonas: { ...YOLO_PREPROCESSING, resize: "antialias" },
  picodet: STRETCHED,
  ppyoloe: STRETCHED,
  rtmdet: {
    ...TOP_LEFT,
    resize: "antialias",
    colour: "BGR",
    scale: 1,
    mean: [103.53, 116.28, 123.675],
    std: [57.375, 57.12, 58.395],
  },
};

/** Where `letterbox_pad` says that the image lies: in the corner, or since version 1.6 in the middle. */
const PADDED: Readonly<Record<string, Preprocessing>> = { topleft: TOP_LEFT, center: YOLO_PREPROCESSING };

/** What the family wants done to an image; `undefined` if its metadata does not tell. */
function preprocessingOf(metadata: Readonly<Record<string, string>>): Preprocessing | undefined {
  const family = libreYoloFamily(metadata) ?? "";
  if (Object.hasOwn(PREPROCESSING_OF, family)) return PREPROCESSING_OF[family];
  return family === "" ? undefined : PADDED[metadata.letterbox_pad ?? ""];
}

const ASSUMED_OF_YOLO_NAS =
  "an image fills the input; LibreYOLO leaves two pixels at each end of an input of 640, which moves boxes by less than one of its pixels";

/** Boxes and then scores in two outputs, under names that mean the opposite. */
function findPair({ model }: ModelTraits): SplitOutputs | undefined {
  const pair = splitOutputs(model);
  // Of four classes nothing but the order tells.
  const [boxes, scores] = model.outputs;
  return pair?.scores.shape[2] === 4 ? { boxes: boxes!, scores: scores! } : pair;
}

/**
 * Boxes x1, y1, x2, y2 in input pixels; probabilities. YOLOv9 says since version 1.2 how an image is padded; the other families have
 * one way each. PP-YOLOE and YOLO-NAS have boxes and scores in two outputs. The end-to-end YOLOv9 has one box an object, without NMS;
 * of an anchor the best class counts.
 *
 * @see https://github.com/LibreYOLO/libreyolo (libreyolo/models, libreyolo/export/onnx.py)
 */
export const libreYolo: Head<DensePlan> = defineHead(
  "libreyolo",
  "one output [N, 4+classes, anchors] or turned round: x1, y1, x2, y2 in pixels, a probability a class (LibreYOLO)",
  decodeDense,
  (traits) => {
    const { metadata } = traits.model;
    const known = preprocessingOf(metadata);
    if (known === undefined && !traits.forced) return undefined;
    const preprocessing = known ?? TOP_LEFT;
    const family = libreYoloFamily(metadata);
    const pair = family === "ppyoloe" || family === "yolonas" ? findPair(traits) : undefined;
    const parts = pair && splitParts(traits, pair, "pixels");
    if (parts !== undefined) {
      return {
        ...parts,
        preprocessing,
        ...(family === "yolonas" ? { assumptions: [ASSUMED_OF_YOLO_NAS], usualIou: 0.7 } : {}),
      };
    }
    // Its poses and oriented boxes have other outputs.
    const found = family === "yolonas" ? undefined : readClasses(traits, 4);
    return (
      found && {
        ...found.parts,
        preprocessing,
        ...(family === "yolo9_e2e" ? { needsNms: false } : {}),
        plan: { ...densePlan(found.reading, found.parts.classes, "class"), boxForm: "corners" },
      }
    );
  },
);

/** Of classes that have lost their name: in floats they look like the scores. */
const BYTES_AND_INTEGERS: readonly DType[] = HOST_NUMBERS.filter((dtype) => !FLOATS.includes(dtype));

/** What the output with the classes is called. */
const CLASSES = /^(class_idx|classes|class_ids|labels)$/;

function decode(plan: ColumnsPlan | PartsPlan, input: DecodeInput, candidates: Candidates): void {
  if (plan.kind === "columns") decodeColumns(plan, input, candidates);
  else decodeParts(plan, input, candidates);
}

/**
 * YOLOv3 to v11, YOLOR and YOLOX of AI Hub, before NMS: corners in pixels; images of 0–1 in RGB, padded with black. Its newer exports
 * have the classes as bytes.
 *
 * @see https://github.com/qualcomm/ai-hub-models (qai_hub_models/models/templates/yolo)
 */
export const qualcomm: Head<ColumnsPlan | PartsPlan> = defineHead(
  "qualcomm",
  "outputs boxes [N, anchors, 4]: x1, y1, x2, y2 in pixels, scores [N, anchors], class_idx [N, anchors], before NMS (Qualcomm AI Hub)",
  decode,
  (traits) => {
    const { model, forced } = traits;
    const boxes = outputOf(traits, "boxes", 3, FLOATS, areBoxes);
    const scores = outputOf(traits, "scores", 2, FLOATS);
    const classes = findOutput(model, CLASSES, 2, HOST_NUMBERS) ?? outputOf(traits, CLASSES, 2, BYTES_AND_INTEGERS);
    if (boxes === undefined || scores === undefined || classes === undefined || boxes.shape[2] !== 4) return undefined;
    const rows = boxes.shape[1]!;
    // So few may be the rows of an NMS.
    if (!forced && rows <= MOST_CHOSEN && (classes.name !== "class_idx" || rows < 0)) return undefined;
    const isOfBytes = classes.dtype === "u8";
    const names = { boxes: boxes.name, scores: scores.name, classes: classes.name };
    const parts = { boxes: columnsOf(boxes, 4), scores: columnsOf(scores, 1), classes: columnsOf(classes, 1) };
    return {
      outputs: [boxes, scores, classes],
      preprocessing: { ...YOLO_PREPROCESSING, pad: [0, 0, 0] },
      needsNms: true,
      plan: isOfBytes ? { kind: "parts", ...parts } : { kind: "columns", ...names },
    };
  },
);
