/** @module Map decoder: what heads gave before their boxes were decoded: maps of anchors, and maps of distances. */

import { ModelError, message } from "../core/errors.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, naming } from "./head.ts";
import type { AnchorLevel, AnchorMapsPlan, DistanceLevel, DistanceMapsPlan } from "./map-plan.ts";
import { bestOf, NumberSlice, outputTensor, refuseOutput } from "./outputs.ts";
import { FLOATS } from "./traits.ts";

/** A map as it is read: where the image's numbers begin, and what lies between them. */
class MapSlice extends NumberSlice {
  /** Elements from one number of a cell to the next. */
  plane = 0;
  /** Elements from one anchor of a cell to the next. */
  anchor = 0;
  /** Elements from one cell to the next. */
  cell = 0;
}

const values: MapSlice = new MapSlice();
const distances: MapSlice = new MapSlice();

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** Below it a number is no probability, with room for the rounding of f16. */
const LOWEST = -0.001;
const HIGHEST = 1.001;

/** @throws {ModelError} Always. @param others heads that read such numbers */
function refuseRange(found: string, head: string, others: readonly string[]): never {
  const hint = `the sigmoid is the model's own or it is not; name the head by ${naming(others)}`;
  throw new ModelError(message(`decode the model's maps as head "${head}"`, found, hint), head);
}

const SCORES_ARE_LOGITS = "its scores are no probabilities, got";
const SCORES_ARE_PROBABILITIES = "no score lies below 0, as logits of an image without objects do";

/** Look at the map of a level. */
function loadAnchors(
  level: AnchorLevel,
  plan: AnchorMapsPlan,
  input: DecodeInput,
  columns: number,
  rows: number,
): void {
  const { output, anchors } = level;
  const numbers = 5 + plan.classes;
  const cells = columns * rows;
  const length = cells * anchors.length * numbers;
  const tensor = input.outputs.get(output);
  const shape = tensor?.shape ?? [];
  const isPlanar = plan.order === "channels";
  const isByAnchor = plan.order === "anchors";
  const first = isPlanar ? shape.length - 2 : isByAnchor ? 2 : 1;
  let volume = 1;
  for (let axis = 1; axis < shape.length; axis++) volume *= shape[axis]!;
  const fits =
    FLOATS.includes(tensor?.dtype ?? "u8") &&
    shape[0]! > input.index &&
    volume === length &&
    shape[first] === rows &&
    shape[first + 1] === columns;
  if (tensor === undefined || !fits) {
    const wanted = `a map of ${columns}x${rows} cells with ${anchors.length} x ${numbers} numbers each`;
    refuseOutput(output, wanted, tensor);
  }
  values.load(tensor, input.index * length, length);
  values.plane = isPlanar ? cells : 1;
  values.anchor = isPlanar || isByAnchor ? cells * numbers : numbers;
  values.cell = isPlanar ? 1 : isByAnchor ? numbers : numbers * anchors.length;
}

/** The softmax of the best of some logits. */
function shareOfBest(at: number, best: number, count: number, step: number): number {
  const { data } = values;
  let sum = 0;
  for (let c = 0, i = at; c < count; c++, i += step) sum += Math.exp(data[i]! - best);
  return 1 / sum;
}

/** The score of an anchor's best class, whose number is left in `bestClass`; 0 where objectness alone is too little. */
function scoreOf(at: number, plan: AnchorMapsPlan, threshold: number): number {
  const { classes, form, activated } = plan;
  const { data, plane } = values;
  const isRaw = activated === "nothing";
  const objectness = isRaw ? sigmoid(data[at + 4 * plane]!) : data[at + 4 * plane]!;
  if (objectness < threshold) return 0;
  bestClass = bestOf(data, at + 5 * plane, classes, plane);
  // YOLOv5 and v7 do not train a single class.
  if (classes === 1 && form === "yolov5") return objectness;
  const best = data[at + (5 + bestClass) * plane]!;
  if (form === "yolov2" || form === "custom-vision")
    return objectness * shareOfBest(at + 5 * plane, best, classes, plane);
  return objectness * (isRaw ? sigmoid(best) : best);
}

let bestClass = 0;

/** The heads that read a map of the same tensors otherwise, for messages. */
const RAW_OF_YOLOV5: readonly string[] = ["yolov5-maps"];
const SIGMOID_OF_YOLOV5: readonly string[] = ["yolov5-maps-sigmoid"];

/** @throws {ModelError} If the lowest or the highest objectness of an image cannot be what the plan says */
function refuseAnchors({ form, activated }: AnchorMapsPlan, lowest: number, highest: number): void {
  if (activated === "nothing" && lowest >= 0) {
    refuseRange(SCORES_ARE_PROBABILITIES, form === "yolov5" ? "yolov5-maps" : `${form}-maps`, SIGMOID_OF_YOLOV5);
  }
  if (activated !== "nothing" && (lowest < LOWEST || highest > HIGHEST)) {
    const got = lowest < LOWEST ? lowest : highest;
    refuseRange(`${SCORES_ARE_LOGITS} ${got}`, activated === "all" ? "yolov5-maps-sigmoid" : form, RAW_OF_YOLOV5);
  }
}

/** Append the anchors whose objectness × best class reaches the threshold, level by level, cell by cell. */
export function decodeAnchorMaps(plan: AnchorMapsPlan, input: DecodeInput, candidates: Candidates): void {
  const { form, activated } = plan;
  const threshold = Math.fround(input.threshold);
  const isYolov5 = form === "yolov5";
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  let source = 0;
  for (let at = 0; at < plan.levels.length; at++) {
    const level = plan.levels[at]!;
    const { stride, anchors, centreScale = 1 } = level;
    const columns = Math.ceil(input.inputWidth / stride);
    const rows = Math.ceil(input.inputHeight / stride);
    loadAnchors(level, plan, input, columns, rows);
    const { data, plane } = values;
    for (let cell = 0; cell < columns * rows; cell++) {
      for (let anchor = 0; anchor < anchors.length; anchor++, source++) {
        const first = values.offset + cell * values.cell + anchor * values.anchor;
        const objectness = data[first + 4 * plane]!;
        if (objectness < lowest) lowest = objectness;
        if (objectness > highest) highest = objectness;
        const score = scoreOf(first, plan, threshold);
        if (Math.fround(score) < threshold) continue;
        let x = data[first]!;
        let y = data[first + plane]!;
        let width = data[first + 2 * plane]!;
        let height = data[first + 3 * plane]!;
        if (form !== "yolox" && form !== "custom-vision") {
          const scale = isYolov5 ? 2 : centreScale;
          x = (activated === "all" ? x : sigmoid(x)) * scale - (scale - 1) / 2;
          y = (activated === "all" ? y : sigmoid(y)) * scale - (scale - 1) / 2;
        }
        if (isYolov5) {
          width = (2 * (activated === "all" ? width : sigmoid(width))) ** 2;
          height = (2 * (activated === "all" ? height : sigmoid(height))) ** 2;
        } else {
          width = Math.exp(width);
          height = Math.exp(height);
        }
        const column = cell % columns;
        x = (x + column) * stride;
        y = (y + (cell - column) / columns) * stride;
        width *= anchors[anchor]![0] / 2;
        height *= anchors[anchor]![1] / 2;
        candidates.push(x - width, y - height, x + width, y + height, score, bestClass, source);
      }
    }
  }
  refuseAnchors(plan, lowest, highest);
}

/** Look at a level's numbers of one kind. @param total cells of all levels @param first cells of the levels before it */
function loadDistances(
  slice: MapSlice,
  name: string,
  numbers: number,
  plan: DistanceMapsPlan,
  input: DecodeInput,
  columns: number,
  rows: number,
): void {
  const cells = columns * rows;
  const { index } = input;
  const isPlanar = plan.order === "NCHW";
  const map = isPlanar
    ? outputTensor(input, name, FLOATS, index + 1, numbers, rows, columns)
    : outputTensor(input, name, FLOATS, index + 1, rows, columns, numbers);
  slice.load(map, index * cells * numbers, cells * numbers);
  slice.plane = isPlanar ? cells : 1;
  slice.cell = isPlanar ? 1 : numbers;
}

/** A side's distance in strides. @param at its first bin */
function distanceOf(at: number, bins: number): number {
  const { data, plane } = distances;
  if (bins === 1) return data[at]!;
  let highest = data[at]!;
  for (let bin = 1; bin < bins; bin++) if (data[at + bin * plane]! > highest) highest = data[at + bin * plane]!;
  let sum = 0;
  let weighted = 0;
  for (let bin = 0; bin < bins; bin++) {
    const weight = Math.exp(data[at + bin * plane]! - highest);
    sum += weight;
    weighted += weight * bin;
  }
  return weighted / sum;
}

/** The range of the best scores of an image's cells. */
const range = { lowest: 0, highest: 0 };

/** Append the cells of a level, whose numbers were loaded. @param first cells of the levels before it */
function decodeDistances(
  { stride }: DistanceLevel,
  first: number,
  columns: number,
  cells: number,
  plan: DistanceMapsPlan,
  input: DecodeInput,
  candidates: Candidates,
): void {
  const { classes, bins, areLogits, centre } = plan;
  const threshold = Math.fround(input.threshold);
  const { data } = values;
  const side = bins * distances.plane;
  for (let cell = 0; cell < cells; cell++) {
    const at = values.offset + cell * values.cell;
    const classId = bestOf(data, at, classes, values.plane);
    const best = data[at + classId * values.plane]!;
    if (best < range.lowest) range.lowest = best;
    if (best > range.highest) range.highest = best;
    const score = areLogits ? sigmoid(best) : best;
    if (Math.fround(score) < threshold) continue;
    const from = distances.offset + cell * distances.cell;
    const column = cell % columns;
    const x = column + centre;
    const y = (cell - column) / columns + centre;
    candidates.push(
      (x - distanceOf(from, bins)) * stride,
      (y - distanceOf(from + side, bins)) * stride,
      (x + distanceOf(from + 2 * side, bins)) * stride,
      (y + distanceOf(from + 3 * side, bins)) * stride,
      score,
      classId,
      first + cell,
    );
  }
}

/** Have all rows of one tensor at hand, and a level's among them. */
function loadRows(plan: DistanceMapsPlan, input: DecodeInput, total: number, first: number): void {
  const { classes, bins, levels } = plan;
  const numbers = classes + 4 * bins;
  const tensor = outputTensor(input, levels[0]!.classMap, FLOATS, input.index + 1, total, numbers);
  values.load(tensor, (input.index * total + first) * numbers, (total - first) * numbers);
  distances.data = values.data;
  distances.offset = values.offset + classes;
  values.plane = distances.plane = 1;
  values.cell = distances.cell = numbers;
}

/** Append the best class of every cell whose score reaches the threshold, level by level, row by row. */
export function decodeDistanceMaps(plan: DistanceMapsPlan, input: DecodeInput, candidates: Candidates): void {
  const { levels, classes, bins, order, areLogits } = plan;
  const { inputWidth, inputHeight } = input;
  range.lowest = Number.POSITIVE_INFINITY;
  range.highest = Number.NEGATIVE_INFINITY;
  let total = 0;
  for (let at = 0; at < levels.length; at++) {
    total += Math.ceil(inputWidth / levels[at]!.stride) * Math.ceil(inputHeight / levels[at]!.stride);
  }
  let first = 0;
  for (let at = 0; at < levels.length; at++) {
    const level = levels[at]!;
    const columns = Math.ceil(inputWidth / level.stride);
    const rows = Math.ceil(inputHeight / level.stride);
    if (order === "rows") loadRows(plan, input, total, first);
    else {
      loadDistances(values, level.classMap, classes, plan, input, columns, rows);
      loadDistances(distances, level.distanceMap, 4 * bins, plan, input, columns, rows);
    }
    decodeDistances(level, first, columns, columns * rows, plan, input, candidates);
    first += columns * rows;
  }
  if (order === "rows") return;
  if (areLogits && range.lowest >= 0) refuseRange(SCORES_ARE_PROBABILITIES, "dfl-maps-logits", ["dfl-maps"]);
  if (!areLogits && (range.lowest < LOWEST || range.highest > HIGHEST)) {
    const got = range.lowest < LOWEST ? range.lowest : range.highest;
    refuseRange(`${SCORES_ARE_LOGITS} ${got}`, "dfl-maps", ["dfl-maps-logits"]);
  }
}
