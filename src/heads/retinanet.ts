/** @module Heads `retinanet` and `retinanet-rounded`: maps of probabilities and of offsets from anchors, as NVIDIA's RetinaNet exports them. */

import type { TensorInfo } from "../core/tensor.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeOffsetMaps } from "./anchor-decoder.ts";
import { readMaps } from "./anchor-maps.ts";
import { defineHead, type Head, type ModelSpecParts, naming } from "./head.ts";
import type { OffsetLevel, OffsetMapsPlan } from "./plans.ts";
import type { ModelTraits } from "./traits.ts";

/** Height over width of a cell's anchors, and their sizes in strides; the ratio changes first. */
const RATIOS: readonly number[] = [1, 2, 0.5];
const SCALES: readonly number[] = [0, 1, 2].map((third) => 4 * 2 ** (third / 3));
const ANCHORS_A_CELL = RATIOS.length * SCALES.length;

/** The nearest whole number; of two, the even one, as PyTorch rounds. */
function roundToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * A cell's anchors. Those of 2019 are rounded before they are scaled; later ones are not, and a pixel wider than their scale says,
 * since their last pixel counts.
 */
function anchorsOf(stride: number, isRounded: boolean): (readonly [width: number, height: number])[] {
  const rounded = isRounded ? roundToEven : (side: number): number => side;
  const last = isRounded ? 0 : 1;
  return SCALES.flatMap((scale) =>
    RATIOS.map((ratio) => {
      const width = rounded(Math.sqrt(stride ** 2 / ratio));
      return [width * scale + last, rounded(width * ratio) * scale + last] as const;
    }),
  );
}

/** Padding is 0 after the normalisation: the mean's level. */
const [RED, GREEN, BLUE] = IMAGENET_MEAN;

const RETINANET_PREPROCESSING: Preprocessing = {
  ...YOLO_PREPROCESSING,
  fit: "letterbox-top-left",
  resize: "antialias",
  mean: IMAGENET_MEAN,
  std: IMAGENET_STD,
  pad: [RED * 255, GREEN * 255, BLUE * 255],
};

/** Sides are padded to a multiple of the coarsest map's stride. */
const STRIDE = 128;

/** Of classes before those of boxes, each by the numbers of their names; as the model has them where these tell nothing. */
function ordered(outputs: readonly TensorInfo[]): TensorInfo[] {
  const numberOf = ({ name }: TensorInfo): number => Number(/\d+$/.exec(name)?.[0] ?? 0);
  const ofBoxes = ({ shape }: TensorInfo): boolean => shape[1] === 4 * ANCHORS_A_CELL;
  // Of four classes all maps have as many channels.
  const isTold = !outputs.every(ofBoxes);
  const areBoxes = (info: TensorInfo): number => Number(isTold ? ofBoxes(info) : /^box/i.test(info.name));
  return outputs.toSorted((a, b) => areBoxes(a) - areBoxes(b) || numberOf(a) - numberOf(b));
}

/** All maps of classes come first, then all of boxes, each finest first. */
function retinanetParts(traits: ModelTraits, isRounded: boolean): ModelSpecParts<OffsetMapsPlan> | undefined {
  const outputs = ordered(traits.model.outputs);
  const maps = readMaps(traits);
  const count = outputs.length / 2;
  if (maps === undefined || !Number.isInteger(count) || count < 2) return undefined;
  if (maps.some(({ info, order }) => info.shape.length !== 4 || order !== "channels")) return undefined;
  const classes = (outputs[0]!.shape[1] ?? 0) / ANCHORS_A_CELL;
  if (!Number.isInteger(classes) || classes < 1) return undefined;
  if (traits.classes !== undefined && traits.classes !== classes) return undefined;
  const levels: OffsetLevel[] = [];
  for (let at = 0; at < count; at++) {
    const classMap = maps.find(({ info }) => info === outputs[at])!;
    const boxMap = maps.find(({ info }) => info === outputs[count + at])!;
    const { stride } = classMap;
    if (boxMap.stride !== stride || stride <= (levels.at(-1)?.stride ?? 0)) return undefined;
    if (classMap.numbers !== classes * ANCHORS_A_CELL || boxMap.numbers !== 4 * ANCHORS_A_CELL) return undefined;
    const anchors = anchorsOf(stride, isRounded);
    levels.push({ stride, classMap: classMap.info.name, boxMap: boxMap.info.name, anchors });
  }
  return {
    outputs: levels.flatMap((_, at) => [outputs[at]!, outputs[count + at]!]),
    preprocessing: RETINANET_PREPROCESSING,
    classes,
    stride: STRIDE,
    needsNms: true,
    usualIou: 0.5,
    plan: { kind: "offset-maps", levels, classes, centre: isRounded ? 0 : 0.5 },
  };
}

/**
 * As `odtk export` writes it: the sigmoid is taken, NMS is not.
 *
 * @see https://github.com/NVIDIA/retinanet-examples (odtk/model.py, odtk/box.py)
 */
export const retinanet: Head<OffsetMapsPlan> = defineHead(
  "retinanet",
  "outputs score_1 … [N, 9×classes, h, w], probabilities, and box_1 … [N, 36, h, w], one of each a stride, before NMS (RetinaNet of NVIDIA's odtk)",
  decodeOffsetMaps,
  (traits) => {
    if (!traits.forced && !traits.model.outputs.every(({ name }) => /^(score|box)_\d+$/.test(name))) return undefined;
    return retinanetParts(traits, false);
  },
);

/** Of COCO's 80 classes, which the zoo's model has. */
const ZOO_CLASSES = 80;

/**
 * RetinaNet of the ONNX zoo, and what NVIDIA's repository exported in 2019, whose anchors are rounded.
 *
 * @see https://github.com/onnx/models (vision/object_detection_segmentation/retinanet)
 */
export const retinanetRounded: Head<OffsetMapsPlan> = defineHead(
  "retinanet-rounded",
  "as retinanet, with the rounded anchors of 2019; outputs output1 … output10, 80 classes (RetinaNet of the ONNX zoo)",
  decodeOffsetMaps,
  (traits) => {
    const { model, forced, image } = traits;
    const parts = retinanetParts(traits, true);
    if (parts === undefined || forced) return parts;
    const isZoo = image.name === "input" && ordered(model.outputs).every(({ name }, at) => name === `output${at + 1}`);
    if (!isZoo || parts.classes !== ZOO_CLASSES) return undefined;
    return { ...parts, assumptions: [`the anchors of 2019; for those of later models give ${naming(["retinanet"])}`] };
  },
);
