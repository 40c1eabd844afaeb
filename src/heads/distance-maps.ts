/** @module Heads `dfl-maps` and `dfl-maps-logits`: what YOLOv8 and its kin give before their distances are decoded, two or three maps a stride. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { type GridMap, readMaps } from "./anchor-maps.ts";
import { defineHead, type Head, type ModelSpecParts } from "./head.ts";
import { decodeDistanceMaps } from "./map-decoder.ts";
import type { DistanceMapsPlan } from "./map-plan.ts";
import type { ModelTraits } from "./traits.ts";

/** A stride's maps of distances and classes. */
interface DistancePair {
  readonly stride: number;
  readonly boxes: GridMap;
  readonly classes: GridMap;
  /** The sum of the classes, which is not read. */
  readonly sum: GridMap | undefined;
}

/** Bins a side in every head of YOLOv8 and those after it. */
const BINS = 16;

/** @param forced true: the caller named the head */
function pairOf(maps: readonly GridMap[], forced: boolean): DistancePair | undefined {
  const sums = maps.filter(({ numbers }) => numbers === 1);
  const sum = maps.length === 3 ? sums[0] : undefined;
  const [a, b, ...others] = maps.filter((map) => map !== sum);
  if (a === undefined || b === undefined || others.length > 0 || (maps.length === 3 && sum === undefined))
    return undefined;
  const { stride } = a;
  const areBoxes = ({ numbers }: GridMap): boolean => numbers === 4 * BINS;
  const isBare = sum !== undefined && (a.numbers === 4) !== (b.numbers === 4);
  // YOLOv6 of RKNN has the distances themselves.
  const [isA, isB] = isBare ? [a.numbers === 4, b.numbers === 4] : [areBoxes(a), areBoxes(b)];
  // As many classes as distances: nothing tells which is which but that every exporter gives the boxes first.
  if (isA === isB && !(isA && forced)) return undefined;
  const [boxes, classes] = isA ? [a, b] : [b, a];
  return { stride, boxes, classes, sum };
}

/** How the class maps are known to be logits: by the names of the convolutions they come from; or probabilities. */
function areLogits(pairs: readonly DistancePair[]): boolean | undefined {
  if (pairs.every(({ sum }) => sum !== undefined)) return false;
  if (pairs.every(({ classes }) => /sigmoid/i.test(classes.info.name))) return false;
  return pairs.every(({ classes }) => /conv/i.test(classes.info.name)) ? true : undefined;
}

function distanceParts(traits: ModelTraits, logits: boolean): ModelSpecParts<DistanceMapsPlan> | undefined {
  const maps = readMaps(traits);
  if (maps === undefined || maps.some(({ info }) => info.shape.length !== 4)) return undefined;
  const strides = [...new Set(maps.map(({ stride }) => stride))];
  const pairs = strides.map((stride) =>
    pairOf(
      maps.filter((map) => map.stride === stride),
      traits.forced,
    ),
  );
  if (strides.length < 2 || pairs.some((pair) => pair === undefined)) return undefined;
  const levels = pairs as DistancePair[];
  const { boxes, classes: first, sum } = levels[0]!;
  const isOne = levels.every(
    (one) =>
      one.boxes.numbers === boxes.numbers &&
      one.classes.numbers === first.numbers &&
      (one.sum === undefined) === (sum === undefined),
  );
  if (!isOne || (traits.classes !== undefined && traits.classes !== first.numbers)) return undefined;
  const known = areLogits(levels);
  if (!traits.forced && known !== undefined && known !== logits) return undefined;
  return {
    outputs: levels.flatMap((one) => [one.boxes.info, one.classes.info]),
    auxiliary: levels.flatMap((one) => (one.sum === undefined ? [] : [one.sum.info])),
    preprocessing: sum === undefined ? YOLO_PREPROCESSING : { ...YOLO_PREPROCESSING, pad: [0, 0, 0] },
    classes: first.numbers,
    needsNms: true,
    plan: {
      kind: "distance-maps",
      levels: levels.map((one) => ({
        stride: one.stride,
        classMap: one.classes.info.name,
        distanceMap: one.boxes.info.name,
      })),
      classes: first.numbers,
      bins: boxes.numbers / 4,
      order: boxes.order === "channels" ? "NCHW" : "NHWC",
      areLogits: logits,
      centre: 0.5,
    },
  };
}

/**
 * YOLOv8, 10, 11 and their kin before the distances are decoded, classes behind a sigmoid, as RKNN's forks export them: with a third
 * map for each stride, the sum of the classes, which only speeds up a search.
 *
 * @see https://github.com/airockchip/rknn_model_zoo (examples/yolov8/python/yolov8.py)
 */
export const dflMaps: Head<DistanceMapsPlan> = defineHead(
  "dfl-maps",
  "raw maps for each stride: distances [N, 64, h, w], probabilities [N, classes, h, w], perhaps their sum [N, 1, h, w] (RKNN)",
  decodeDistanceMaps,
  (traits) => distanceParts(traits, false),
);

/** The same, cut behind the convolutions as Hailo's compiler wants it: classes are logits. */
export const dflMapsLogits: Head<DistanceMapsPlan> = defineHead(
  "dfl-maps-logits",
  "as dfl-maps, classes as logits: maps of the last convolutions, NCHW or NHWC (YOLOv8 cut for Hailo)",
  decodeDistanceMaps,
  (traits) => distanceParts(traits, true),
);
