/** @module Heads of maps of anchors: what YOLOv2 to v7 give before their boxes are decoded, a map for each stride. */

import { message, OptionError } from "../core/errors.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_80, VOC_20 } from "../model/model-info.ts";
import { decodeAnchorMaps } from "./anchor-decoder.ts";
import { ANCHORS, type AnchorsTaken, anchorsByLevel, usualAnchors } from "./anchors.ts";
import {
  defineHead,
  type Head,
  type ModelSpec,
  type ModelSpecParts,
  naming,
  type RecogniseOptions,
  saying,
} from "./head.ts";
import type { AnchorLevel, AnchorMapsPlan } from "./plans.ts";
import { customVisionPreprocessing } from "./ssd.ts";
import { isFloat, type ModelTraits } from "./traits.ts";

/** Input pixels a cell that maps may have. */
const STRIDES: readonly number[] = [4, 8, 16, 32, 64, 128];

/** An output that is a map of the input's cells: where these lie among its axes, and what is left: numbers of a cell. */
export interface GridMap {
  readonly info: TensorInfo;
  readonly stride: number;
  readonly order: AnchorMapsPlan["order"];
  /** Anchors, where they have an axis; else 1. */
  readonly anchors: number;
  readonly numbers: number;
}

function strideOf(rows: number, columns: number, [width, height]: readonly [number, number]): number | undefined {
  return STRIDES.find((stride) => Math.ceil(width / stride) === columns && Math.ceil(height / stride) === rows);
}

function readMap(info: TensorInfo, size: readonly [number, number]): GridMap | undefined {
  const [, a = -1, b = -1, c = -1, d = -1] = info.shape;
  if (!isFloat(info) || (info.shape.length !== 4 && info.shape.length !== 5)) return undefined;
  const isFlat = info.shape.length === 4;
  const late = strideOf(b, c, size);
  if (late !== undefined) {
    return isFlat
      ? { info, stride: late, order: "channels", anchors: 1, numbers: a }
      : { info, stride: late, order: "anchors", anchors: a, numbers: d };
  }
  const early = strideOf(a, b, size);
  if (early === undefined) return undefined;
  return { info, stride: early, order: "cells", anchors: isFlat ? 1 : c, numbers: isFlat ? c : d };
}

/** All outputs as maps, finest first; `undefined` if one is none. */
export function readMaps({ model, shapesAt }: ModelTraits): readonly GridMap[] | undefined {
  const maps = model.outputs.map((info) => readMap(info, shapesAt)).filter((map) => map !== undefined);
  if (maps.length === 0 || maps.length < model.outputs.length) return undefined;
  if (maps.some(({ order }) => order !== maps[0]!.order)) return undefined;
  return maps.toSorted((a, b) => a.stride - b.stride);
}

/** One map a stride, all with as many numbers. */
function readLevels(traits: ModelTraits): readonly GridMap[] | undefined {
  const maps = readMaps(traits);
  const [first] = maps ?? [];
  if (maps === undefined || first === undefined) return undefined;
  const isOne = maps.every(
    ({ stride, anchors, numbers, info }, at) =>
      (at === 0 || stride > maps[at - 1]!.stride) &&
      anchors === first.anchors &&
      numbers === first.numbers &&
      info.shape.length === first.info.shape.length,
  );
  return isOne ? maps : undefined;
}

/** What a head of anchors decides of its maps. */
interface AnchorRule {
  readonly form: AnchorMapsPlan["form"];
  readonly activated: AnchorMapsPlan["activated"];
  readonly anchors: AnchorsTaken;
  /** How far a centre may leave its cell, by level. */
  readonly centreScales?: readonly number[];
}

function anchorParts(
  traits: ModelTraits,
  maps: readonly GridMap[],
  { form, activated, anchors: taken, centreScales }: AnchorRule,
): Omit<ModelSpecParts<AnchorMapsPlan>, "assumptions"> | undefined {
  const shared = anchorsByLevel(taken.values, maps.length);
  if (shared === undefined) return undefined;
  const { info, anchors, numbers, order } = maps[0]!;
  const each = shared[0]!.length;
  const isSplit = info.shape.length === 5;
  if (isSplit && anchors !== each) return undefined;
  const classes = isSplit ? numbers - 5 : numbers / each - 5;
  if (!Number.isInteger(classes) || classes < 1) return undefined;
  if (traits.classes !== undefined && traits.classes !== classes) return undefined;
  const levels = maps.map(({ info: { name }, stride }, at): AnchorLevel => {
    const level = { stride, output: name, anchors: shared[at]! };
    return centreScales === undefined ? level : { ...level, centreScale: centreScales[at] ?? 1 };
  });
  return {
    outputs: maps.map((map) => map.info),
    preprocessing: YOLO_PREPROCESSING,
    classes,
    anchors: taken,
    needsNms: true,
    plan: { kind: "anchor-maps", levels, classes, order, form, activated },
  };
}

/** How a caller says which anchors a model has. */
export const SAY_ANCHORS: string =
  "give its anchors, by `anchors` (`--anchors`): those of a family, such as yolov5 or yolov7, or numbers; " +
  "or lay its .yaml or .cfg beside it, under the model's name";

/**
 * Of YOLOv5 (`Detect` in training mode) and v7 (without --grid). YOLOv3 of Ultralytics' repository and YOLOR have the same form.
 *
 * @see https://github.com/ultralytics/yolov5 (models/yolo.py, Detect.forward)
 */
const yolov5Maps: Head<AnchorMapsPlan> = defineHead(
  "yolov5-maps",
  "raw maps [N, anchors, h, w, 5+classes] or [N, anchors×(5+classes), h, w], one a stride, logits (YOLOv5 and v7 without their grid)",
  decodeAnchorMaps,
  (traits) => {
    const maps = readLevels(traits);
    if (maps === undefined || traits.anchors === undefined || maps.length < 2) return undefined;
    if (traits.anchors.hasNewCoords === true && !traits.forced) return undefined;
    const { order, info } = maps[0]!;
    if (order === "cells" && !traits.forced) return undefined;
    if (info.shape.length === 4 && maps[0]!.numbers < 18) return undefined;
    const parts = anchorParts(traits, maps, { form: "yolov5", activated: "nothing", anchors: traits.anchors });
    if (parts === undefined || traits.forced) return parts;
    const other = `sizes that are e^t × anchor look alike: for them give ${naming(["darknet-maps"])}`;
    return { ...parts, assumptions: [`YOLOv5's boxes, whose sizes are (2 × sigmoid)² × anchor; ${other}`] };
  },
);

/**
 * As RKNN's fork exports YOLOv5 and v7: maps of the convolutions behind a sigmoid.
 *
 * @see https://github.com/airockchip/rknn_model_zoo (examples/yolov5/python/yolov5.py)
 */
const yolov5MapsSigmoid: Head<AnchorMapsPlan> = defineHead(
  "yolov5-maps-sigmoid",
  "as yolov5-maps in [N, anchors×(5+classes), h, w], with the sigmoid taken by the model (RKNN's YOLOv5 and v7)",
  decodeAnchorMaps,
  (traits) => {
    const maps = readLevels(traits);
    if (maps === undefined || traits.anchors === undefined || maps.length < 2) return undefined;
    const isOfOthers = maps[0]!.info.shape.length === 5 || maps[0]!.order === "cells" || traits.anchors.hasNewCoords;
    if (isOfOthers && !traits.forced) return undefined;
    const parts = anchorParts(traits, maps, { form: "yolov5", activated: "all", anchors: traits.anchors });
    return parts && { ...parts, preprocessing: { ...YOLO_PREPROCESSING, pad: [0, 0, 0] } };
  },
);

const YOLOV4_SCALES: readonly number[] = [1.2, 1.1, 1.05];
const YOLOV4_TINY_SCALES: readonly number[] = [1.05, 1.05];

/** YOLOv4 lets centres leave their cells, as its `.cfg` says, or its anchors show; others do not. */
function scalesOf({ name, values, centreScales }: AnchorsTaken, levels: number): readonly number[] | undefined {
  if (centreScales?.length === levels) return centreScales;
  if (name === "yolov3-tiny-darknet") return undefined;
  if (values.join() === ANCHORS.yolov4!.join() && levels === 3) return YOLOV4_SCALES;
  return values.join() === ANCHORS["yolov4-tiny"]!.join() ? YOLOV4_TINY_SCALES : undefined;
}

/** Anchors of Darknet's models whose centres stay in their cells. */
const STAYING: readonly string[] = [ANCHORS.yolov3!.join(), ANCHORS["yolov3-tiny"]!.join()];

const ASSUMED_TO_STAY: string =
  "that centres stay in their cells, as YOLOv3's do; YOLOv4's leave them by its scale_x_y: lay its .cfg beside it, under the model's name";

/** Of `new_coords`: x × scale_x_y − (scale_x_y − 1) / 2 and (2 × x)² × anchor, which are YOLOv5's where that scale is 2. */
function scaledParts(
  traits: ModelTraits,
  maps: readonly GridMap[],
  anchors: AnchorsTaken,
): Omit<ModelSpecParts<AnchorMapsPlan>, "assumptions"> | undefined {
  if (anchors.centreScales?.some((scale) => scale !== 2) === true) return undefined;
  const parts = anchorParts(traits, maps, { form: "yolov5", activated: "all", anchors });
  return parts && { ...parts, preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" } };
}

/**
 * The convolutions of Darknet's YOLOv3 and v4, as converters of its weights give them.
 *
 * @see https://github.com/AlexeyAB/darknet (src/yolo_layer.c, get_yolo_box)
 */
const darknetMaps: Head<AnchorMapsPlan> = defineHead(
  "darknet-maps",
  "raw maps [N, anchors×(5+classes), h, w], one a stride, logits; sizes are e^t × anchor, by a .cfg with new_coords as in yolov5-maps-sigmoid (YOLOv3 and v4 of Darknet)",
  decodeAnchorMaps,
  (traits) => {
    const maps = readLevels(traits);
    const { anchors, forced } = traits;
    if (maps === undefined || anchors === undefined || maps.length < 2) return undefined;
    if (!forced && (maps[0]!.info.shape.length !== 4 || maps[0]!.order !== "channels")) return undefined;
    if (anchors.hasNewCoords === true) return scaledParts(traits, maps, anchors);
    const centreScales = scalesOf(anchors, maps.length);
    const parts = anchorParts(traits, maps, {
      form: "darknet",
      activated: "nothing",
      anchors,
      ...(centreScales && { centreScales }),
    });
    const isKnown =
      centreScales !== undefined || STAYING.includes(anchors.values.join()) || anchors.name === "yolov3-tiny-darknet";
    const assumptions = isKnown ? [] : [ASSUMED_TO_STAY];
    return parts && { ...parts, assumptions, preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" } };
  },
);

/** What TensorFlow calls the outputs of a Keras model. */
const IDENTITY = /^Identity(_\d+)?(:0)?$/;

/** Which of the two their anchors tell: by the scales of a `.cfg`, a family's name, or values that only it has. */
function tensorflowFamily({ anchors }: ModelTraits): "yolov3" | "yolov4" | undefined {
  if (anchors === undefined) return undefined;
  const { name = "", values, centreScales } = anchors;
  if (centreScales !== undefined) return centreScales.some((scale) => scale !== 1) ? "yolov4" : "yolov3";
  const isOf = (family: string): boolean => name.startsWith(family) || values.join() === ANCHORS[family]!.join();
  return (["yolov4", "yolov3"] as const).find(isOf);
}

/**
 * Levels [N, h, w, 3, 5+classes] of tensorflow-yolov4-tflite, whose scores the model has put through the sigmoid; or
 * [N, h, w, 3×(5+classes)] of tensorflow-yolov4, whose centres it has moved as well. Without their anchors nothing in a file tells
 * the two families apart.
 */
function tensorflowParts(
  traits: ModelTraits,
  family: "yolov3" | "yolov4",
): Omit<ModelSpecParts<AnchorMapsPlan>, "assumptions"> | undefined {
  const isNamed = traits.model.outputs.every(({ name, shape }) => IDENTITY.test(name) && shape.length === 5);
  if (!traits.forced && (!isNamed || (tensorflowFamily(traits) ?? family) !== family)) return undefined;
  const maps = readLevels(traits);
  if (maps === undefined || maps.length < 2 || maps[0]!.order !== "cells") return undefined;
  const ofTiny = family === "yolov3" ? "yolov3-tiny-darknet" : "yolov4-tiny";
  const anchors = traits.anchors ?? usualAnchors(maps.length === 2 ? ofTiny : family);
  const isMoved = maps[0]!.info.shape.length === 4;
  const scales = maps.length === 3 ? YOLOV4_SCALES : YOLOV4_TINY_SCALES;
  const centreScales = isMoved ? maps.map(() => 1) : scales;
  const rule = { form: "darknet", activated: isMoved ? "all" : "scores", anchors } as const;
  const parts = anchorParts(traits, maps, family === "yolov4" ? { ...rule, centreScales } : rule);
  const level = isMoved ? 255 : 128;
  return parts && { ...parts, preprocessing: { ...YOLO_PREPROCESSING, pad: [level, level, level] } };
}

/**
 * YOLOv4 of the ONNX zoo. Sizes are e^t × anchor, centres may leave their cells.
 *
 * @see https://github.com/onnx/models (vision/object_detection_segmentation/yolov4)
 */
const yolov4Maps: Head<AnchorMapsPlan> = defineHead(
  "yolov4-maps",
  "outputs Identity… [N, h, w, 3, 5+classes], one a stride: raw boxes, probabilities; name it, or its anchors; named, also [N, h, w, 3×(5+classes)] with moved centres (YOLOv4 of the ONNX zoo, tensorflow-yolov4)",
  decodeAnchorMaps,
  (traits) => tensorflowParts(traits, "yolov4"),
);

/** As `yolov4-maps`, of YOLOv3: centres stay in their cells. */
const yolov3Maps: Head<AnchorMapsPlan> = defineHead(
  "yolov3-maps",
  "as yolov4-maps, of YOLOv3, whose centres stay in their cells (YOLOv3 of tensorflow-yolov4)",
  decodeAnchorMaps,
  (traits) => tensorflowParts(traits, "yolov3"),
);

/**
 * YOLOv2 and Tiny YOLOv2 of the ONNX zoo: one map of five anchors, classes by softmax. Tiny YOLOv2 scales the levels itself.
 *
 * @see https://github.com/onnx/models (vision/object_detection_segmentation/tiny-yolov2)
 */
const yolov2Maps: Head<AnchorMapsPlan> = defineHead(
  "yolov2-maps",
  "one raw map [N, 5×(5+classes), h/32, w/32], logits, classes by softmax (Tiny YOLOv2 of the ONNX zoo, whose output is grid)",
  decodeAnchorMaps,
  (traits) => {
    const maps = readLevels(traits);
    const [map] = maps ?? [];
    if (maps?.length !== 1 || map?.order !== "channels" || map.stride !== 32) return undefined;
    const isTiny = map.info.name === "grid";
    if (!traits.forced && !isTiny) return undefined;
    const classes = map.numbers / 5 - 5;
    const anchors = traits.anchors ?? usualAnchors(classes === COCO_80.length ? "yolov2-coco" : "yolov2-voc");
    const parts = anchorParts(traits, maps, { form: "yolov2", activated: "nothing", anchors });
    return (
      parts && {
        ...parts,
        preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch", scale: isTiny ? 1 : 1 / 255 },
        ...(anchors.from === "head" &&
          classes !== VOC_20.length && { assumptions: [`the anchors ${anchors.name}; ${SAY_ANCHORS}`] }),
        ...(classes === VOC_20.length && { names: VOC_20 }),
      }
    );
  },
);

const ASSUMED_OF_CUSTOM_VISION: string =
  "centres that are no sigmoids, as Azure's samples read them; helpers of older exports take their sigmoid: for such a model give " +
  `${naming(["yolov2-maps"])} with \`anchors: "yolov2-coco"\` (\`--anchors yolov2-coco\`), and their \`preprocessing\``;

/** Widths and heights of Custom Vision's anchors, in cells of 32 pixels. */
const CUSTOM_VISION_ANCHORS: readonly number[] = [0.573, 0.677, 1.87, 2.06, 3.34, 5.47, 7.88, 3.53, 9.77, 9.17];

/**
 * Azure Custom Vision, domain General (compact): YOLOv2 whose centres are no sigmoids, before NMS.
 *
 * @see https://github.com/Azure-Samples/customvision-export-samples (samples/python/onnx/object_detection)
 */
const customVisionMaps: Head<AnchorMapsPlan> = defineHead(
  "custom-vision-maps",
  "one raw map model_outputs0 [N, 5×(5+classes), h/32, w/32], before NMS (Azure Custom Vision, compact)",
  decodeAnchorMaps,
  (traits) => {
    const maps = readLevels(traits);
    const [map] = maps ?? [];
    if (maps?.length !== 1 || map?.order !== "channels" || map.stride !== 32) return undefined;
    if (!traits.forced && map.info.name !== "model_outputs0") return undefined;
    const anchors = { values: CUSTOM_VISION_ANCHORS.map((side) => side * map.stride), from: "head" } as const;
    const parts = anchorParts(traits, maps, { form: "custom-vision", activated: "nothing", anchors });
    if (parts === undefined) return undefined;
    // Every model is of one's own, of 80 classes too: its names are in labels.txt.
    const names = Array.from({ length: parts.classes ?? 0 }, (_, id) => `class ${id}`);
    const { preprocessing, assumptions: ofLevels } = customVisionPreprocessing(traits);
    const assumptions = traits.forced ? ofLevels : [ASSUMED_OF_CUSTOM_VISION, ...ofLevels];
    return { ...parts, preprocessing, assumptions, names, usualIou: 0.45 };
  },
);

const ASSUMED_OF_RKNN_YOLOX: string =
  "images of RGB in the middle of black, as RKNN's script makes them; weights trained by Megvii's YOLOX saw BGR: for them give " +
  saying({ colour: "BGR" });

/** Numbers of a cell of YOLOX with COCO's classes. */
const COCO_WITH_OBJECTNESS = 85;

/**
 * YOLOX in maps, as RKNN's fork exports it: objectness and classes behind a sigmoid.
 *
 * @see https://github.com/airockchip/rknn_model_zoo (examples/yolox/python/yolox.py)
 */
const yoloxMaps: Head<AnchorMapsPlan> = defineHead(
  "yolox-maps",
  "three raw maps [N, 5+classes, h, w]: offsets in cells, objectness, probabilities (RKNN's YOLOX)",
  decodeAnchorMaps,
  (traits) => {
    const maps = readLevels(traits);
    if (maps === undefined || maps.length < 3 || maps[0]!.info.shape.length !== 4) return undefined;
    const { numbers, order } = maps[0]!;
    const isKnown = numbers === 5 + (traits.classes ?? COCO_WITH_OBJECTNESS - 5) && order === "channels";
    if (!traits.forced && !isKnown) return undefined;
    const anchors = { values: maps.flatMap(({ stride }) => [stride, stride]), from: "head" } as const;
    const found = anchorParts(traits, maps, { form: "yolox", activated: "scores", anchors });
    if (found === undefined) return undefined;
    const { anchors: _, ...parts } = found;
    const preprocessing = { ...YOLO_PREPROCESSING, scale: 1, pad: [0, 0, 0] } as const;
    return { ...parts, preprocessing, assumptions: [ASSUMED_OF_RKNN_YOLOX] };
  },
);

/** Heads that cannot be told, or read, without their anchors. */
export const ANCHORED_HEADS: readonly Head[] = [yolov5Maps, yolov5MapsSigmoid, darknetMaps];

/** Every head of maps of anchors. */
export const ANCHOR_MAP_HEADS: readonly Head[] = [
  yolov2Maps,
  customVisionMaps,
  yolov3Maps,
  yolov4Maps,
  ...ANCHORED_HEADS,
  yoloxMaps,
];

/** The heads that take anchors from the caller. */
const TAKING: readonly string[] = [
  ...[yolov2Maps, yolov3Maps, yolov4Maps, ...ANCHORED_HEADS].map(({ name }) => name),
  ...["efficientdet", "efficientdet-maps"],
];

/** @throws {OptionError} If the caller gives anchors to a model whose head reads none. One of the caller's heads may read them itself */
export function refuseUnreadAnchors(
  spec: Partial<Pick<ModelSpec, "head" | "alternatives" | "anchors">>,
  { anchors, heads = [], source = "the model" }: Pick<RecogniseOptions, "anchors" | "heads" | "source">,
): void {
  const { head, alternatives = [], anchors: taken } = spec;
  if (anchors === undefined || taken?.from === "option" || heads.some(({ name }) => name === head)) return;
  const others = alternatives.filter((name) => TAKING.includes(name));
  const otherwise = others.length === 0 ? "" : `, or name a head that reads them by ${naming(others)}`;
  const has = taken === undefined ? "reads no anchors" : "has anchors of its own";
  const found = head === undefined ? "it is no detector" : `its head ${JSON.stringify(head)} ${has}`;
  const hint = `leave \`anchors\` (\`--anchors\`) out${otherwise}`;
  throw new OptionError(message(`give anchors to ${source}`, found, hint), "anchors");
}
