/**
 * @module Heads of distances in maps: `nanodet`, `nanodet-plus` and `picodet`, a class map and a map of distance bins for each stride, or rows
 * of both; `dfl-maps` and `dfl-maps-logits`, what YOLOv8 and its kin give before their distances are decoded, two or three maps a stride.
 */

import type { TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates } from "../model/rows.ts";
import { type GridMap, readMaps } from "./anchor-maps.ts";
import { cellCount, isNanodetPlus, readDense, USUAL_STRIDES } from "./dense-reading.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts } from "./head.ts";
import { decodeDistanceMaps } from "./map-decoder.ts";
import { bestOf, NumberSlice, outputTensor } from "./outputs.ts";
import { PADDLE_PREPROCESSING } from "./paddle.ts";
import type { DistanceBinsLevel, DistanceBinsPlan, DistanceMapsPlan } from "./plans.ts";
import { FLOATS, isFloat, type ModelTraits } from "./traits.ts";

/** Centred letterbox padded with black, BGR levels with the mean and deviation NanoDet trains with. */
const NANODET_PREPROCESSING: Preprocessing = {
  ...YOLO_PREPROCESSING,
  colour: "BGR",
  scale: 1,
  mean: [103.53, 116.28, 123.675],
  std: [57.375, 57.12, 58.395],
  pad: [0, 0, 0],
};

/** Bins a side of NanoDet's published models. */
const USUAL_BINS = 8;

/** Distances are named so, or else have the usual number of channels, which the classes have not. */
function isDistances({ name, shape }: TensorInfo, other: TensorInfo): boolean {
  const named = (text: string): boolean => /dis|reg|box/i.test(text);
  if (named(name) !== named(other.name)) return named(name);
  return shape[2] === 4 * USUAL_BINS && other.shape[2] !== shape[2];
}

/** The maps of so many cells: of classes, then of distances. */
function findLevel(maps: readonly TensorInfo[], cells: number): readonly [TensorInfo, TensorInfo] | undefined {
  const [a, b, ...others] = maps.filter((map) => map.shape[1] === cells);
  if (a === undefined || b === undefined || others.length > 0) return undefined;
  if (isDistances(a, b)) return [b, a];
  return isDistances(b, a) ? [a, b] : undefined;
}

/** The maps of each stride, told apart by their cells. */
function findMaps(
  traits: ModelTraits,
  strides: readonly number[],
): Pick<ModelSpecParts<DistanceBinsPlan>, "outputs" | "classes" | "needsNms" | "plan"> | undefined {
  const { outputs } = traits.model;
  const size = traits.image.fixedSize;
  if (size === undefined || outputs.length !== 2 * strides.length) return undefined;
  if (outputs.some((info) => !isFloat(info) || info.shape.length !== 3)) return undefined;
  const levels: DistanceBinsLevel[] = [];
  const found: TensorInfo[] = [];
  for (const stride of strides) {
    const level = findLevel(outputs, cellCount(size[0], size[1], [stride]));
    if (level === undefined) return undefined;
    levels.push({ stride, classMap: level[0].name, distanceMap: level[1].name });
    found.push(...level);
  }
  const classes = found[0]?.shape[2] ?? -1;
  const channels = found[1]?.shape[2] ?? -1;
  if (classes < 1 || channels < 8 || channels % 4 !== 0) return undefined;
  if (found.some((map, at) => map.shape[2] !== (at % 2 === 0 ? classes : channels))) return undefined;
  if (traits.classes !== undefined && traits.classes !== classes) return undefined;
  const plan = { kind: "distance-bins", levels, classes, bins: channels / 4 } as const;
  return { outputs: found, classes, needsNms: true, plan };
}

/** Three pairs of maps at strides 8, 16 and 32. NanoDet-Plus has one output and is another. */
export const nanodet: Head<DistanceBinsPlan> = defineHead(
  "nanodet",
  "six outputs, strides 8, 16, 32: class maps [N, cells, classes] and distance maps [N, cells, 4×bins] (NanoDet)",
  decodeDistanceBins,
  (traits) => {
    const found = findMaps(traits, USUAL_STRIDES);
    return found && { ...found, preprocessing: NANODET_PREPROCESSING };
  },
);

/** Four pairs, at stride 64 as well: PicoDet without its post-processing, as the layout models of PP-Structure are. */
export const picodet: Head<DistanceBinsPlan> = defineHead(
  "picodet",
  "eight outputs, strides 8, 16, 32, 64: class maps [N, cells, classes] and distance maps [N, cells, 4×bins] (PicoDet, before NMS)",
  decodeDistanceBins,
  (traits) => {
    const found = findMaps(traits, [...USUAL_STRIDES, 64]);
    return found && { ...found, preprocessing: PADDLE_PREPROCESSING, usualIou: 0.5 };
  },
);

/** Numbers of the distances, which follow the classes. */
const DISTANCES = 4 * USUAL_BINS;

/**
 * As NanoDet-Plus exports: stretched, BGR levels with the mean and deviation of NanoDet; distances from the corners of the cells.
 *
 * @see https://github.com/RangiLyu/nanodet (nanodet/model/head/nanodet_plus_head.py)
 */
export const nanodetPlus: Head<DistanceMapsPlan> = defineHead(
  "nanodet-plus",
  "one output [N, cells of strides 8, 16, 32, 64, classes + 32]: a probability a class, then bins of the distances (NanoDet-Plus)",
  decodeDistanceMaps,
  (traits) => {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || traits.model.outputs.length > 1) return undefined;
    if (traits.forced ? reading.rowKind !== "cells" : !isNanodetPlus(reading, traits)) return undefined;
    const { output, strides } = reading;
    const classes = reading.channels - DISTANCES;
    if (classes < 1 || (traits.classes !== undefined && traits.classes !== classes)) return undefined;
    const levels = strides.map((stride) => ({ stride, classMap: output.name, distanceMap: output.name }));
    return {
      outputs: [output],
      preprocessing: { ...NANODET_PREPROCESSING, fit: "stretch" },
      classes,
      needsNms: true,
      plan: { kind: "distance-maps", levels, classes, bins: USUAL_BINS, order: "rows", areLogits: false, centre: 0 },
    };
  },
);

const { fround } = Math;

const scores: NumberSlice = new NumberSlice();
const distances: NumberSlice = new NumberSlice();

/** Mean of the bins 0, 1, 2, … weighted by the softmax of their logits, in strides. */
function meanBin(at: number, bins: number): number {
  const { data } = distances;
  let highest = data[at]!;
  for (let bin = 1; bin < bins; bin++) if (data[at + bin]! > highest) highest = data[at + bin]!;
  let sum = 0;
  let weighted = 0;
  for (let bin = 0; bin < bins; bin++) {
    const weight = Math.exp(data[at + bin]! - highest);
    sum += weight;
    weighted += weight * bin;
  }
  return fround(weighted / sum);
}

/** @param first cells of the levels before it @returns the same for the next level */
function decodeLevel(
  level: DistanceBinsLevel,
  first: number,
  plan: DistanceBinsPlan,
  input: DecodeInput,
  candidates: Candidates,
): number {
  const { classes, bins } = plan;
  const { stride } = level;
  const columns = Math.ceil(input.inputWidth / stride);
  const cells = columns * Math.ceil(input.inputHeight / stride);
  const classMap = outputTensor(input, level.classMap, FLOATS, input.index + 1, cells, classes);
  const distanceMap = outputTensor(input, level.distanceMap, FLOATS, input.index + 1, cells, 4 * bins);
  scores.load(classMap, input.index * cells * classes, cells * classes);
  distances.load(distanceMap, input.index * cells * 4 * bins, cells * 4 * bins);
  const { data, offset } = scores;
  const threshold = fround(input.threshold);
  for (let cell = 0, at = offset; cell < cells; cell++, at += classes) {
    const classId = bestOf(data, at, classes, 1);
    const score = data[at + classId]!;
    if (score < threshold) continue;
    const x = ((cell % columns) + 0.5) * stride;
    const y = (Math.floor(cell / columns) + 0.5) * stride;
    const bin = distances.offset + cell * 4 * bins;
    candidates.push(
      x - fround(meanBin(bin, bins) * stride),
      y - fround(meanBin(bin + bins, bins) * stride),
      x + fround(meanBin(bin + 2 * bins, bins) * stride),
      y + fround(meanBin(bin + 3 * bins, bins) * stride),
      score,
      classId,
      first + cell,
    );
  }
  return first + cells;
}

/** Append the best class of every cell whose score reaches the threshold, level by level, row by row. */
export function decodeDistanceBins(plan: DistanceBinsPlan, input: DecodeInput, candidates: Candidates): void {
  let first = 0;
  for (let level = 0; level < plan.levels.length; level++) {
    first = decodeLevel(plan.levels[level]!, first, plan, input, candidates);
  }
}

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
