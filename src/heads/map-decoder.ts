/** @module Map decoder: scores and distances of cells, as YOLOv8 and its kin have them before boxes are worked out. */

import { ModelError, message } from "../core/errors.ts";
import type { Candidates } from "../model/rows.ts";
import { skipFours } from "./dense.ts";
import { type DecodeInput, naming } from "./head.ts";
import { bestOf, NumberSlice, outputTensor, refuseOutput, sigmoid } from "./outputs.ts";
import type { DistanceLevel, DistanceMapsPlan } from "./plans.ts";
import { FLOATS } from "./traits.ts";

/** A map as it is read: where the image's numbers begin, and what lies between them. */
export class MapSlice extends NumberSlice {
  /** Elements from one number of a cell to the next. */
  plane = 0;
  /** Elements from one anchor of a cell to the next. */
  anchor = 0;
  /** Elements from one cell to the next. */
  cell = 0;

  /**
   * Look at some channels of a map [N, channels, rows, columns].
   *
   * @param first   of the channels; left out: the map has no others
   * @throws {ShapeError} If there is no such map
   */
  loadPlanes(
    name: string,
    input: DecodeInput,
    numbers: number,
    first: number | undefined,
    columns: number,
    rows: number,
  ): void {
    const map = outputTensor(input, name, FLOATS, input.index + 1, first === undefined ? numbers : -1, rows, columns);
    const channels = map.shape[1]!;
    const from = first ?? 0;
    if (from + numbers > channels) {
      refuseOutput(name, `a map of ${columns}x${rows} cells with ${from + numbers} or more numbers each`, map);
    }
    const cells = columns * rows;
    this.load(map, (input.index * channels + from) * cells, numbers * cells);
    this.plane = cells;
    this.cell = 1;
  }
}

const scores: MapSlice = new MapSlice();
const distances: MapSlice = new MapSlice();
const angles: MapSlice = new MapSlice();

/**
 * A logit below which no score reaches a threshold, so that most are ruled out without an exponential. The margin keeps those that
 * rounding could lift over the threshold; beyond 8, where f32 has few values left below 1, it would not do.
 */
function logitFloor(threshold: number): number {
  return Math.min(8, Math.log(threshold / (1 - threshold))) - 1e-3;
}

/** Below it a number is no probability, with room for the rounding of f16. */
export const LOWEST = -0.001;
/** Above it likewise. */
export const HIGHEST = 1.001;

/** @throws {ModelError} Always. @param others heads that read such numbers @param way out where there are none */
export function refuseRange(
  found: string,
  head: string,
  others: readonly string[],
  way = "export it with the map of its last convolution, as it is: no head reads one that is activated already",
): never {
  const hint =
    others.length === 0 ? way : `the sigmoid is the model's own or it is not; name the head by ${naming(others)}`;
  throw new ModelError(message(`decode the model's maps as head "${head}"`, found, hint), head);
}

/** What shows that scores are no probabilities; the value follows. */
export const SCORES_ARE_LOGITS = "its scores are no probabilities, got";
/** What shows that they are. */
export const SCORES_ARE_PROBABILITIES = "no score lies below 0, as logits of an image without objects do";

/**
 * @param value a score that is no probability; `undefined` where all of an image are, and should not be
 * @throws {ModelError} Always
 */
export function refuseDistances({ areLogits }: DistanceMapsPlan, value: number | undefined): never {
  if (areLogits) refuseRange(SCORES_ARE_PROBABILITIES, "dfl-maps-logits", ["dfl-maps"]);
  refuseRange(`${SCORES_ARE_LOGITS} ${value}`, "dfl-maps", ["dfl-maps-logits"]);
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

/** The best score of each cell of a level, and whose it is; -Infinity of one that surely is too low. */
let best: Float32Array = new Float32Array(0);
let bestClass: Int32Array = new Int32Array(0);
/** The range of the best scores of an image's cells. */
const range = { lowest: 0, highest: 0 };

/** Find the best class of each cell in planes of classes, one after the other. */
function scanPlanes(cells: number, classes: number, floor: number): void {
  const { data, offset, plane } = scores;
  best.fill(Number.NEGATIVE_INFINITY, 0, cells);
  bestClass.fill(0, 0, cells);
  for (let classId = 0, row = offset; classId < classes; classId++, row += plane) {
    const end = row + cells;
    const whole = end - (cells % 4);
    for (let i = row; i < end; ) {
      const four = skipFours(data, i, whole, floor);
      // Up to three are left over behind the last four.
      const last = Math.min(four + 4, end);
      for (i = four; i < last; i++) {
        const score = data[i]!;
        const cell = i - row;
        if (score > best[cell]!) {
          best[cell] = score;
          bestClass[cell] = classId;
        } else if (Number.isNaN(score)) best[cell] = score;
      }
    }
  }
}

/** Find the best class of each cell of a level, and what range they have. @param floor below it, and below 0, a score need not be known */
function scan(cells: number, { classes, areLogits, order }: DistanceMapsPlan, floor: number): void {
  if (best.length < cells) {
    best = new Float32Array(cells);
    bestClass = new Int32Array(cells);
  }
  if (areLogits && order === "NCHW") scanPlanes(cells, classes, Math.min(floor, 0));
  else {
    const { data, plane } = scores;
    for (let cell = 0, at = scores.offset; cell < cells; cell++, at += scores.cell) {
      const classId = bestOf(data, at, classes, plane);
      bestClass[cell] = classId;
      best[cell] = data[at + classId * plane]!;
    }
  }
  for (let cell = 0; cell < cells; cell++) {
    if (best[cell]! < range.lowest) range.lowest = best[cell]!;
    if (best[cell]! > range.highest) range.highest = best[cell]!;
  }
}

/** The four sides of a cell's box in input pixels. */
const box = { x1: 0, y1: 0, x2: 0, y2: 0 };
/** Of an oriented box: cx, cy, w, h, angle. */
const ORIENTED_NUMBERS = 5;
const oriented = new Float32Array(ORIENTED_NUMBERS);

/** Work out a cell's box. @param x where its distances are measured from, in cells */
function findBox(cell: number, x: number, y: number, stride: number, { bins, angle }: DistanceMapsPlan): void {
  const from = distances.offset + cell * distances.cell;
  const side = bins * distances.plane;
  const left = distanceOf(from, bins);
  const up = distanceOf(from + side, bins);
  const right = distanceOf(from + 2 * side, bins);
  const down = distanceOf(from + 3 * side, bins);
  if (angle === undefined) {
    box.x1 = (x - left) * stride;
    box.y1 = (y - up) * stride;
    box.x2 = (x + right) * stride;
    box.y2 = (y + down) * stride;
    return;
  }
  const given = angles.data[angles.offset + cell]!;
  const turned = angle === "sigmoid" ? (sigmoid(given) - 0.25) * Math.PI : given;
  const cos = Math.cos(turned);
  const sin = Math.sin(turned);
  const across = (right - left) / 2;
  const along = (down - up) / 2;
  oriented[0] = (x + across * cos - along * sin) * stride;
  oriented[1] = (y + across * sin + along * cos) * stride;
  oriented[2] = (left + right) * stride;
  oriented[3] = (up + down) * stride;
  oriented[4] = turned;
  const halfWidth = Math.fround(oriented[2]! * 0.5);
  const halfHeight = Math.fround(oriented[3]! * 0.5);
  box.x1 = oriented[0]! - halfWidth;
  box.y1 = oriented[1]! - halfHeight;
  box.x2 = oriented[0]! + halfWidth;
  box.y2 = oriented[1]! + halfHeight;
}

/** Append the candidates of a level, whose numbers were loaded. @param first cells of the levels before it */
function pushCells(
  { stride }: DistanceLevel,
  first: number,
  columns: number,
  cells: number,
  plan: DistanceMapsPlan,
  threshold: number,
  candidates: Candidates,
): void {
  const { classes, areLogits, centre, isMultiLabel = false, angle } = plan;
  const floor = areLogits ? logitFloor(threshold) : threshold;
  scan(cells, plan, floor);
  const { data, plane } = scores;
  for (let cell = 0; cell < cells; cell++) {
    if (best[cell]! < floor) continue;
    const highest = areLogits ? sigmoid(best[cell]!) : best[cell]!;
    if (Math.fround(highest) < threshold) continue;
    const column = cell % columns;
    findBox(cell, column + centre, (cell - column) / columns + centre, stride, plan);
    const { x1, y1, x2, y2 } = box;
    const source = first + cell;
    if (!isMultiLabel) candidates.push(x1, y1, x2, y2, highest, bestClass[cell]!, source);
    for (let classId = 0, at = scores.offset + cell * scores.cell; isMultiLabel && classId < classes; classId++) {
      const given = data[at + classId * plane]!;
      if (given < floor) continue;
      const score = areLogits ? sigmoid(given) : given;
      if (Math.fround(score) >= threshold || Number.isNaN(score))
        candidates.push(x1, y1, x2, y2, score, classId, source);
    }
    if (angle !== undefined) candidates.setExtras(source, ORIENTED_NUMBERS, oriented, 0, 1);
  }
}

/** Have all rows of one tensor at hand, and a level's among them. */
function loadRows(plan: DistanceMapsPlan, input: DecodeInput, total: number, first: number): void {
  const { classes, bins, levels } = plan;
  const numbers = classes + 4 * bins;
  const tensor = outputTensor(input, levels[0]!.classMap, FLOATS, input.index + 1, total, numbers);
  scores.load(tensor, (input.index * total + first) * numbers, (total - first) * numbers);
  distances.data = scores.data;
  distances.offset = scores.offset + classes;
  scores.plane = distances.plane = 1;
  scores.cell = distances.cell = numbers;
}

/** Look at a level's numbers of one kind, one cell after the other. */
function loadCells(
  slice: MapSlice,
  name: string,
  input: DecodeInput,
  numbers: number,
  columns: number,
  rows: number,
): void {
  const map = outputTensor(input, name, FLOATS, input.index + 1, rows, columns, numbers);
  const length = columns * rows * numbers;
  slice.load(map, input.index * length, length);
  slice.plane = 1;
  slice.cell = numbers;
}

/** Append the classes of every cell, or its best one, whose score reaches the threshold: level by level, row by row. */
export function decodeDistanceMaps(plan: DistanceMapsPlan, input: DecodeInput, candidates: Candidates): void {
  const { levels, classes, bins, order, areLogits, classChannel, distanceChannel, isProved = false } = plan;
  const { inputWidth, inputHeight } = input;
  const threshold = Math.fround(input.threshold);
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
    else if (order === "NHWC") {
      loadCells(scores, level.classMap, input, classes, columns, rows);
      loadCells(distances, level.distanceMap, input, 4 * bins, columns, rows);
    } else {
      scores.loadPlanes(level.classMap, input, classes, classChannel, columns, rows);
      distances.loadPlanes(level.distanceMap, input, 4 * bins, distanceChannel, columns, rows);
      if (level.angleMap !== undefined) angles.loadPlanes(level.angleMap, input, 1, undefined, columns, rows);
    }
    pushCells(level, first, columns, columns * rows, plan, threshold, candidates);
    first += columns * rows;
  }
  if (order === "rows" || isProved) return;
  if (areLogits && range.lowest >= 0) refuseDistances(plan, undefined);
  if (!areLogits && (range.lowest < LOWEST || range.highest > HIGHEST)) {
    refuseDistances(plan, range.lowest < LOWEST ? range.lowest : range.highest);
  }
}
