/** @module Heads `paddle-rtdetr`, `paddle-detection`, `ppyoloe-raw` and `ppyoloe-planes`: PaddleDetection's detectors, with their NMS and without. */

import type { TensorInfo } from "../core/tensor.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { decodeDense, pushBox } from "./dense.ts";
import { densePlan, hasGridRows, isOfPaddle, readClasses, stridesOf } from "./dense-reading.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts, type SizeInput, saying } from "./head.ts";
import type { PlanesPlan } from "./host-plan.ts";
import { bestOf, NumberSlice, outputTensor } from "./outputs.ts";
import type { DensePlan, RowsPlan } from "./plans.ts";
import { decodeRows } from "./rows.ts";
import { FLOATS, INTEGERS, isFloat, type ModelTraits } from "./traits.ts";

/** Stretched, as PaddleDetection's detectors with a grid are. */
const STRETCHED: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch" };

/** With ImageNet's mean and deviation, as most of them want. */
export const PADDLE_PREPROCESSING: Preprocessing = { ...STRETCHED, mean: IMAGENET_MEAN, std: IMAGENET_STD };

const ASSUMED =
  "stretched RGB with ImageNet's mean and deviation, as PP-YOLOE, PicoDet, PP-YOLO and YOLOv3 are trained; the file does not tell: " +
  `for PP-YOLOE+ give ${saying({ mean: 0, std: 1 })}; for Faster R-CNN ${saying({ fit: "letterbox-top-left" })}`;

/** `im_shape` is the input's height and width, `scale_factor` says that the source has that size as well. */
function sizeInputs(traits: ModelTraits): SizeInput[] | undefined {
  const contents = { im_shape: "height-width", scale_factor: "ones" } as const;
  const found: SizeInput[] = [];
  for (const { name, dtype } of traits.model.inputs) {
    if (name === "im_shape" || name === "scale_factor") {
      if (dtype !== "f32") return undefined;
      found.push({ name, dtype, content: contents[name] });
    }
  }
  return found.some((input) => input.name === "scale_factor") ? found : undefined;
}

/**
 * True for those that are not RT-DETR: their rows come out of NMS, and many do not take `im_shape`. `undefined` where the outputs were
 * renamed and their number is open: nothing tells then, as NMS's number always is.
 */
function hasNms(sizes: readonly SizeInput[], outputs: readonly TensorInfo[]): boolean | undefined {
  if (!sizes.some(({ name }) => name === "im_shape") || outputs.some(({ name }) => /nms/i.test(name))) return true;
  const isOfRtdetr = ({ name, shape }: TensorInfo): boolean =>
    /^(reshape|tile|save_infer_model)/.test(name) || (shape.length === 2 && shape[0]! > 0);
  return outputs.some(isOfRtdetr) ? false : undefined;
}

/** Rows class, score, x1, y1, x2, y2 in pixels of the size that was told; final; images follow one another. */
function findRows(traits: ModelTraits, isRtdetr: boolean): ModelSpecParts<RowsPlan> | undefined {
  const { outputs } = traits.model;
  const rows = outputs.find((info) => isFloat(info) && info.shape.length === 2 && info.shape[1] === 6);
  const counts = outputs.find((info) => INTEGERS.includes(info.dtype) && info.shape.length === 1);
  const sizes = sizeInputs(traits);
  if (rows === undefined || counts === undefined || sizes === undefined || outputs.length !== 2) return undefined;
  if (!traits.forced && hasNms(sizes, outputs) === isRtdetr) return undefined;
  return {
    outputs: [rows, counts],
    preprocessing: STRETCHED,
    needsNms: false,
    sizeInputs: sizes,
    plan: {
      kind: "rows",
      output: rows.name,
      columns: 6,
      boxColumn: 2,
      scoreColumn: 1,
      classColumn: 0,
      counts: counts.name,
    },
  };
}

/** RT-DETR and RT-DETRv3. */
export const paddleRtdetr: Head<RowsPlan> = defineHead(
  "paddle-rtdetr",
  "inputs image, scale_factor, im_shape; outputs [rows, 6] of reshape: class, score, x1, y1, x2, y2, and [N] counts of tile; stretched, 0–1 (RT-DETR)",
  decodeRows,
  (traits) => findRows(traits, true),
);

/** PP-YOLOE, PicoDet, PP-YOLO, YOLOv3 and others with their NMS inside: `multiclass_nms3`, `matrix_nms`. */
export const paddleDetection: Head<RowsPlan> = defineHead(
  "paddle-detection",
  "as paddle-rtdetr without im_shape, or with outputs of a multiclass_nms or matrix_nms; ImageNet's mean (PP-YOLOE, PicoDet)",
  decodeRows,
  (traits) => {
    const found = findRows(traits, false);
    return found && { ...found, preprocessing: PADDLE_PREPROCESSING, assumptions: [ASSUMED] };
  },
);

/** Exported with `exclude_post_process=True`: corners in pixels, then a probability a class, before NMS. */
export const ppyoloeRaw: Head<DensePlan> = defineHead(
  "ppyoloe-raw",
  'one output [N, anchors, 4+classes] of an input "image": x1, y1, x2, y2 in pixels, before NMS (PP-YOLOE, exclude_post_process)',
  decodeDense,
  (traits) => {
    const found = readClasses(traits, 4, 2);
    if (found === undefined) return undefined;
    const { reading, parts } = found;
    if (!traits.forced && (!hasGridRows(reading) || !isOfPaddle(reading.output, traits))) return undefined;
    return {
      ...parts,
      preprocessing: PADDLE_PREPROCESSING,
      assumptions: [ASSUMED],
      usualIou: 0.7,
      plan: { ...densePlan(reading, parts.classes, "class"), boxForm: "corners" },
    };
  },
);

/** Exported without NMS: `exclude_nms=True`, of PicoDet `export.nms=False`. */
export const ppyoloePlanes: Head<PlanesPlan> = defineHead(
  "ppyoloe-planes",
  'outputs [N, anchors, 4]: x1, y1, x2, y2 in pixels, and [N, classes, anchors] of an input "image", before NMS (PP-YOLOE, PicoDet)',
  decodePlanes,
  (traits) => {
    const { outputs } = traits.model;
    if (outputs.length !== 2 || outputs.some((info) => !isFloat(info) || info.shape.length !== 3)) return undefined;
    const boxes = outputs.find(({ shape }) => shape[2] === 4);
    const scores = outputs.find((info) => info !== boxes);
    const [, classes = -1, anchors] = scores?.shape ?? [];
    if (boxes === undefined || scores === undefined || boxes.shape[1] !== anchors || classes < 1) return undefined;
    if (traits.classes !== undefined && traits.classes !== classes) return undefined;
    if (!traits.forced) {
      if (traits.image.name !== "image" || traits.family !== undefined) return undefined;
      if (anchors! >= 0 && stridesOf(anchors!, traits.shapesAt, 1) === undefined) return undefined;
    }
    return {
      outputs: [boxes, scores],
      preprocessing: PADDLE_PREPROCESSING,
      assumptions: [ASSUMED],
      classes,
      needsNms: true,
      usualIou: 0.7,
      sizeInputs: sizeInputs(traits) ?? [],
      plan: { kind: "planes", boxes: boxes.name, scores: scores.name, classes },
    };
  },
);

const boxes: NumberSlice = new NumberSlice();
const scores: NumberSlice = new NumberSlice();

/** Append the best class of every anchor whose score reaches the threshold, in the order of the anchors. */
function decodePlanes(plan: PlanesPlan, input: DecodeInput, candidates: Candidates): void {
  const { classes } = plan;
  const { index } = input;
  const planes = outputTensor(input, plan.scores, FLOATS, index + 1, classes, -1);
  const anchors = planes.shape[2]!;
  scores.load(planes, index * classes * anchors, classes * anchors);
  boxes.load(outputTensor(input, plan.boxes, FLOATS, index + 1, anchors, 4), index * anchors * 4, anchors * 4);
  const threshold = Math.fround(input.threshold);
  for (let anchor = 0; anchor < anchors; anchor++) {
    const at = scores.offset + anchor;
    const classId = bestOf(scores.data, at, classes, anchors);
    const score = scores.data[at + classId * anchors]!;
    if (score < threshold) continue;
    pushBox("corners", "pixels", input, candidates, boxes.data, boxes.offset + anchor * 4, 1, score, classId, anchor);
  }
}
