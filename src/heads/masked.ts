/** @module Masked heads: heads of detectors whose models have masks as well, and `mask-rcnn`. */

import type { TensorInfo } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_91 } from "../model/labels.ts";
import { MASK_CHANNELS, prototypesOf } from "./dense-reading.ts";
import { type DecodePlan, type DensePlan, defineHead, type Head, type ModelSpec, saying } from "./head.ts";
import { columnsOf, type PartsPlan } from "./host-plan.ts";
import { huggingFace, huggingFaceSoftmax } from "./hugging-face.ts";
import { decodeParts } from "./parts.ts";
import { rfDetr } from "./rf-detr.ts";
import { FLOATS, findOutput, INTEGERS, isFloat, isSingleImage, type ModelTraits } from "./traits.ts";
import { yoloObjectness, yoloTransposed } from "./yolo.ts";

type Masks = Pick<ModelSpec, "extras" | "masks">;

/**
 * A head with the masks of its models.
 *
 * @param other that such models may have as well: one that both fit has neither by itself
 */
function masked<Plan extends DecodePlan>(
  head: Head<Plan>,
  other: Head | undefined,
  find: (traits: ModelTraits, plan: Plan) => Masks | undefined,
): Head<Plan> {
  return {
    ...head,
    task: "segment",
    recognise(traits) {
      const spec = head.recognise(traits);
      const masks = spec && find(traits, spec.plan);
      if (spec === undefined || masks === undefined) return undefined;
      return !traits.forced && other?.recognise(traits) !== undefined ? undefined : { ...spec, ...masks };
    },
  };
}

/** Masks of prototypes, whose coefficients come after the classes of a row. */
function prototypes(rule: "ultralytics" | "yolov5") {
  return ({ model }: ModelTraits, plan: DensePlan): Masks | undefined => {
    const { output, order, channels } = plan;
    const first = plan.classChannel + plan.classes;
    const info = prototypesOf(model);
    if (info === undefined || channels !== first + MASK_CHANNELS) return undefined;
    const extra = { name: "coefficients", output, order, channels, first, length: MASK_CHANNELS } as const;
    return { extras: [extra], masks: { output: info.name, rule } };
  };
}

/** Masks of queries, a plane each. */
function planes(name: string) {
  return ({ model }: ModelTraits): Masks | undefined => {
    const info = findOutput(model, name, 4, FLOATS);
    return info && { masks: { output: info.name, rule: "logits" } };
  };
}

/** Heads of detectors for models that have masks as well. */
export const MASKED_HEADS: readonly Head[] = [
  masked(yoloObjectness, yoloTransposed, prototypes("yolov5")),
  masked(yoloTransposed, yoloObjectness, prototypes("ultralytics")),
  masked(rfDetr, undefined, planes("masks")),
  masked(huggingFace, huggingFaceSoftmax, planes("pred_masks")),
  masked(huggingFaceSoftmax, huggingFace, planes("pred_masks")),
];

/** True for masks that may be patches under boxes, or pasted into the input already; a side may be open. */
export function mayBePatches({ shape }: TensorInfo, [width, height]: readonly [number, number]): boolean {
  const [, , down = -1, across = -1] = shape;
  const isPasted = (down < 0 || down === height) && (across < 0 || across === width);
  return isPasted || (Math.max(down, across) <= LARGEST_PATCH && (down === across || Math.min(down, across) < 0));
}

/** Side of the largest patch; most are 28 cells wide. */
export const LARGEST_PATCH = 64;

const ASSUMED_OF_TORCHVISION =
  "torchvision's Mask R-CNN, which normalises and resizes images itself and numbers COCO's classes from 1 on: where it was " +
  `exported without, give ${saying({ mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] })}, and \`labels\` for other classes`;

/** As torchvision exports, for a batch of one image: what is found is told by ranks and dtypes, as outputs may have any names. */
export const maskRcnn: Head<PartsPlan> = defineHead(
  "mask-rcnn",
  "input [3, height, width] or [1, 3, …]; outputs boxes [n, 4] in pixels, labels [n], scores [n], masks [n, 1, 28, 28] or pasted (torchvision)",
  decodeParts,
  ({ model, image, shapesAt }) => {
    const { outputs } = model;
    const ofRank = (rank: number, isOf: (info: TensorInfo) => boolean): TensorInfo | undefined => {
      const found = outputs.filter((info) => info.shape.length === rank && isOf(info));
      return found.length === 1 ? found[0] : undefined;
    };
    const boxes = ofRank(2, (info) => isFloat(info) && info.shape[1] === 4);
    const labels = ofRank(1, ({ dtype }) => INTEGERS.includes(dtype));
    const scores = ofRank(1, isFloat);
    const masks = ofRank(4, (info) => isFloat(info) && Math.abs(info.shape[1]!) === 1);
    if (boxes === undefined || labels === undefined || scores === undefined || masks === undefined) return undefined;
    const { shape = [] } = model.inputs.find(({ name }) => name === image.name) ?? {};
    const isSingle = isSingleImage(shape) || shape[0] === 1;
    if (!isSingle || outputs.length !== 4 || !mayBePatches(masks, shapesAt)) return undefined;
    return {
      outputs: [boxes, labels, scores, masks],
      preprocessing: { ...YOLO_PREPROCESSING, pad: [0, 0, 0] },
      assumptions: [ASSUMED_OF_TORCHVISION],
      names: COCO_91,
      needsNms: false,
      plan: {
        kind: "parts",
        boxes: columnsOf(boxes, 4),
        scores: columnsOf(scores, 1),
        classes: columnsOf(labels, 1),
        isSingle: true,
      },
      masks: { output: masks.name, rule: "torchvision" },
    };
  },
  "segment",
);
