/** @module Anchor decoder: maps of anchors: YOLOv2 to v7 and YOLOX before their boxes are worked out, and RetinaNet's offsets. */

import { ModelError, message } from "../core/errors.ts";
import type { Candidates } from "../model/rows.ts";
import { type DecodeInput, naming } from "./head.ts";
import { HIGHEST, LOWEST, MapSlice, refuseRange, SCORES_ARE_LOGITS, SCORES_ARE_PROBABILITIES } from "./map-decoder.ts";
import { bestOf, NumberSlice, outputTensor, refuseOutput, sigmoid } from "./outputs.ts";
import type { AnchorLevel, AnchorMapsPlan, OffsetLevel, OffsetMapsPlan } from "./plans.ts";
import { FLOATS } from "./traits.ts";

/** Where x, y, w and h are, and where objectness and classes: of one map or of three. */
const sides: MapSlice = new MapSlice();
const objectness: MapSlice = new MapSlice();
const classes: MapSlice = new MapSlice();

/** Numbers of an anchor. */
export function anchorNumbers({ classes: count, numbers = 5 + count }: AnchorMapsPlan): number {
  return numbers;
}

/** Look at a part of the map that is loaded. @param number the first of an anchor's */
function look(slice: MapSlice, number: number): void {
  slice.data = sides.data;
  slice.offset = sides.offset + number * sides.plane;
  slice.plane = sides.plane;
  slice.anchor = sides.anchor;
  slice.cell = sides.cell;
}

/** Look at the map of a level. */
function loadAnchors(
  level: AnchorLevel,
  plan: AnchorMapsPlan,
  input: DecodeInput,
  columns: number,
  rows: number,
): void {
  const { output, anchors, objectnessMap, classMap } = level;
  const cells = columns * rows;
  if (objectnessMap !== undefined && classMap !== undefined) {
    const { length } = anchors;
    sides.loadPlanes(output, input, 4 * length, undefined, columns, rows);
    objectness.loadPlanes(objectnessMap, input, length, undefined, columns, rows);
    classes.loadPlanes(classMap, input, plan.classes * length, undefined, columns, rows);
    sides.anchor = 4 * cells;
    objectness.anchor = cells;
    classes.anchor = plan.classes * cells;
    return;
  }
  const numbers = anchorNumbers(plan);
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
  sides.load(tensor, input.index * length, length);
  sides.plane = isPlanar ? cells : 1;
  sides.anchor = isPlanar || isByAnchor ? cells * numbers : numbers;
  sides.cell = isPlanar ? 1 : isByAnchor ? numbers : numbers * anchors.length;
  look(objectness, 4);
  look(classes, 5);
}

/** The softmax of the best of some logits. */
function shareOfBest(at: number, best: number, count: number): number {
  const { data, plane } = classes;
  let sum = 0;
  for (let c = 0, i = at; c < count; c++, i += plane) sum += Math.exp(data[i]! - best);
  return 1 / sum;
}

/** The score of an anchor's best class, whose number is left in `bestClass`; 0 where objectness alone is too little. */
function scoreOf(cell: number, anchor: number, given: number, plan: AnchorMapsPlan, threshold: number): number {
  const { classes: count, form, activated } = plan;
  const isRaw = activated === "nothing";
  const objectScore = isRaw ? sigmoid(given) : given;
  if (objectScore < threshold) return 0;
  const { data, plane } = classes;
  const at = classes.offset + cell * classes.cell + anchor * classes.anchor;
  bestClass = bestOf(data, at, count, plane);
  // YOLOv5 and v7 do not train a single class.
  if (count === 1 && form === "yolov5") return objectScore;
  const best = data[at + bestClass * plane]!;
  if (form === "yolov2" || form === "custom-vision") return objectScore * shareOfBest(at, best, count);
  return objectScore * (isRaw ? sigmoid(best) : best);
}

let bestClass = 0;

/** The heads that read a map of the same tensors otherwise, for messages. */
const RAW_OF_YOLOV5: readonly string[] = ["yolov5-maps"];
const RAW_OF_DARKNET: readonly string[] = ["darknet-maps"];
const SIGMOID_OF_YOLOV5: readonly string[] = ["yolov5-maps-sigmoid"];

/**
 * @param value an objectness that is no probability; `undefined` where all of an image are, and should not be
 * @throws {ModelError} Always
 */
export function refuseAnchors({ form, activated, levels }: AnchorMapsPlan, value: number | undefined): never {
  // YOLOv2's five anchors a cell, and their softmax, are in no other head.
  const isOfYolov2 = form === "yolov2" || form === "custom-vision";
  if (activated === "nothing")
    refuseRange(
      SCORES_ARE_PROBABILITIES,
      form === "yolov5" ? "yolov5-maps" : `${form}-maps`,
      isOfYolov2 ? [] : SIGMOID_OF_YOLOV5,
    );
  const found = `${SCORES_ARE_LOGITS} ${value}`;
  if (activated === "all" && form === "yolov5") refuseRange(found, "yolov5-maps-sigmoid", RAW_OF_YOLOV5);
  // No other head has RKNN's three maps.
  if (form === "yolox")
    refuseRange(found, "yolox-maps", [], "export it with the sigmoid of objectness and classes, as RKNN's script does");
  const isYolov4 = levels.some(({ centreScale }) => centreScale !== undefined);
  refuseRange(found, isYolov4 ? "yolov4-maps" : "yolov3-maps", RAW_OF_DARKNET);
}

/** The range of objectness in an image. */
const range = { lowest: 0, highest: 0 };

/** Append the anchors of a level, whose numbers were loaded. @param first candidates of the levels before it */
function pushAnchors(
  { stride, anchors, centreScale = 1 }: AnchorLevel,
  first: number,
  columns: number,
  cells: number,
  plan: AnchorMapsPlan,
  threshold: number,
  candidates: Candidates,
): void {
  const { form, activated, counted } = plan;
  const isYolov5 = form === "yolov5";
  const isAnchorFirst = counted === "anchors";
  const count = anchors.length;
  const { data, plane } = sides;
  for (let index = 0; index < cells * count; index++) {
    const anchor = isAnchorFirst ? Math.floor(index / cells) : index % count;
    const cell = isAnchorFirst ? index - anchor * cells : (index - anchor) / count;
    const given = objectness.data[objectness.offset + cell * objectness.cell + anchor * objectness.anchor]!;
    if (given < range.lowest) range.lowest = given;
    if (given > range.highest) range.highest = given;
    const score = scoreOf(cell, anchor, given, plan, threshold);
    if (Math.fround(score) < threshold) continue;
    const at = sides.offset + cell * sides.cell + anchor * sides.anchor;
    let x = data[at]!;
    let y = data[at + plane]!;
    let width = data[at + 2 * plane]!;
    let height = data[at + 3 * plane]!;
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
    candidates.push(x - width, y - height, x + width, y + height, score, bestClass, first + index);
  }
}

/** Append the anchors whose objectness × best class reaches the threshold, level by level, in the order of their indices. */
export function decodeAnchorMaps(plan: AnchorMapsPlan, input: DecodeInput, candidates: Candidates): void {
  const threshold = Math.fround(input.threshold);
  range.lowest = Number.POSITIVE_INFINITY;
  range.highest = Number.NEGATIVE_INFINITY;
  let first = 0;
  for (let at = 0; at < plan.levels.length; at++) {
    const level = plan.levels[at]!;
    const columns = Math.ceil(input.inputWidth / level.stride);
    const rows = Math.ceil(input.inputHeight / level.stride);
    loadAnchors(level, plan, input, columns, rows);
    pushAnchors(level, first, columns, columns * rows, plan, threshold, candidates);
    first += columns * rows * level.anchors.length;
  }
  const { lowest, highest } = range;
  if (plan.activated === "nothing") {
    if (lowest >= 0 && plan.isProved !== true) refuseAnchors(plan, undefined);
  } else if (lowest < LOWEST || highest > HIGHEST) refuseAnchors(plan, lowest < LOWEST ? lowest : highest);
}

const scores: NumberSlice = new NumberSlice();
const offsets: NumberSlice = new NumberSlice();

/** @param level of the map that the score is in, where it is known @throws {ModelError} Always */
export function refuseOffsets({ levels }: OffsetMapsPlan, value: number, level?: OffsetLevel): never {
  const { classMap: output } = level ?? levels[0]!;
  const found = `its scores are no probabilities, got ${value}`;
  const hint = `NVIDIA's RetinaNet takes the sigmoid itself; if it is EfficientDet, name the head by ${naming(["efficientdet-maps"])}, else export it with the sigmoid`;
  throw new ModelError(message(`decode output "${output}" as RetinaNet's scores`, found, hint), output);
}

/** Scores of a level that reach the threshold, each as ((cell × anchors) + anchor) × classes + class. */
let hits: Int32Array<ArrayBuffer> = new Int32Array(1024);

/** Find them in the order in which they lie, and bring them into that of their indices. @returns how many */
function findHits(plan: OffsetMapsPlan, level: OffsetLevel, cells: number, threshold: number): number {
  const { classes: count } = plan;
  const { length } = level.anchors;
  let found = 0;
  for (let channel = 0, at = scores.offset; channel < count * length; channel++) {
    for (let cell = 0; cell < cells; cell++, at++) {
      const score = scores.data[at]!;
      if (score < LOWEST || score > HIGHEST) refuseOffsets(plan, score, level);
      if (score < threshold) continue;
      if (found === hits.length) {
        const larger = new Int32Array(found * 2);
        larger.set(hits);
        hits = larger;
      }
      hits[found] = cell * length * count + channel;
      found += 1;
    }
  }
  hits.subarray(0, found).sort();
  return found;
}

/** Append every class of every anchor whose probability reaches the threshold, level by level, in the order of their indices. */
export function decodeOffsetMaps(plan: OffsetMapsPlan, input: DecodeInput, candidates: Candidates): void {
  const { classes: count, centre } = plan;
  const { index } = input;
  const threshold = Math.fround(input.threshold);
  let before = 0;
  for (let at = 0; at < plan.levels.length; at++) {
    const level = plan.levels[at]!;
    const { stride, classMap, boxMap, anchors } = level;
    const columns = Math.ceil(input.inputWidth / stride);
    const rows = Math.ceil(input.inputHeight / stride);
    const cells = columns * rows;
    const channels = count * anchors.length;
    const classTensor = outputTensor(input, classMap, FLOATS, index + 1, channels, rows, columns);
    const boxTensor = outputTensor(input, boxMap, FLOATS, index + 1, 4 * anchors.length, rows, columns);
    scores.load(classTensor, index * channels * cells, channels * cells);
    offsets.load(boxTensor, index * 4 * anchors.length * cells, 4 * anchors.length * cells);
    const right = columns * stride;
    const bottom = rows * stride;
    const found = findHits(plan, level, cells, threshold);
    for (let hit = 0; hit < found; hit++) {
      const classId = hits[hit]! % count;
      const source = (hits[hit]! - classId) / count;
      const anchor = source % anchors.length;
      const cell = (source - anchor) / anchors.length;
      const score = scores.data[scores.offset + (anchor * count + classId) * cells + cell]!;
      const from = offsets.offset + 4 * anchor * cells + cell;
      const column = cell % columns;
      const row = (cell - column) / columns;
      const anchorWidth = anchors[anchor]![0];
      const anchorHeight = anchors[anchor]![1];
      const x = (column + 0.5) * stride + centre + offsets.data[from]! * anchorWidth;
      const y = (row + 0.5) * stride + centre + offsets.data[from + cells]! * anchorHeight;
      const halfWidth = (Math.exp(offsets.data[from + 2 * cells]!) * anchorWidth) / 2;
      const halfHeight = (Math.exp(offsets.data[from + 3 * cells]!) * anchorHeight) / 2;
      // Upstream's right and lower sides are the last pixels of the box: one less.
      candidates.push(
        Math.max(0, Math.min(x - halfWidth, right - 1)),
        Math.max(0, Math.min(y - halfHeight, bottom - 1)),
        Math.max(1, Math.min(x + halfWidth, right)),
        Math.max(1, Math.min(y + halfHeight, bottom)),
        score,
        classId,
        before + source,
      );
    }
    before += cells * anchors.length;
  }
}
