/** @module Face grid decoder: boxes and points beside the anchors of grids, in the forms of four families. */

import type { Candidates, DetectionBlock } from "../model/rows.ts";
import type { DecodeInput } from "./head.ts";
import type { FaceLevel, FacesPlan } from "./host-plan.ts";
import { NumberSlice, outputTensor, refuseOutput } from "./outputs.ts";
import { FLOATS } from "./traits.ts";

/** One output of a level as it is read: where the image's numbers begin, and from one to the next, and from anchor to anchor. */
class FaceTensor extends NumberSlice {
  /** Elements from one number of an anchor to the next. */
  plane = 0;
  /** Elements from one anchor to the next. */
  step = 0;

  number(anchor: number, at: number): number {
    return this.data[this.offset + anchor * this.step + at * this.plane]!;
  }
}

const scores: FaceTensor = new FaceTensor();
const objectness: FaceTensor = new FaceTensor();
const boxes: FaceTensor = new FaceTensor();
const offsets: FaceTensor = new FaceTensor();
const points: FaceTensor = new FaceTensor();

/** The grid that is read. */
const grid = { columns: 0, cells: 0, anchors: 0, first: 0 };

/** A face's box, and what its points are measured from and in. */
const face = { x1: 0, y1: 0, x2: 0, y2: 0, x: 0, y: 0, unitX: 0, unitY: 0 };

function enter(plan: FacesPlan, level: FaceLevel, input: DecodeInput, first: number): void {
  grid.columns = Math.ceil(input.inputWidth / level.stride);
  grid.cells = grid.columns * Math.ceil(input.inputHeight / level.stride);
  grid.anchors = grid.cells * level.sizes.length;
  grid.first = plan.form === "retinaface" ? first : 0;
}

/** Look at an output of the level that was entered. @param numbers it has for an anchor */
function load(tensor: FaceTensor, name: string, numbers: number, plan: FacesPlan, input: DecodeInput): void {
  const { index } = input;
  const { cells, columns, anchors, first } = grid;
  if (plan.form === "centerface") {
    const map = outputTensor(input, name, FLOATS, index + 1, numbers, cells / columns, columns);
    tensor.load(map, index * cells * numbers, cells * numbers);
    tensor.plane = cells;
    tensor.step = 1;
    return;
  }
  // Without an axis of the batch the anchors are those of its only image.
  const isFlat = index === 0 && input.outputs.get(name)?.shape.length === 2;
  const total = plan.form === "retinaface" ? anchorCount(plan, input) : anchors;
  const rows = isFlat
    ? outputTensor(input, name, FLOATS, total, numbers)
    : outputTensor(input, name, FLOATS, index + 1, total, numbers);
  if (isFlat && rows.shape[0] !== total) refuseOutput(name, `[${total}, ${numbers}]`, rows);
  tensor.load(rows, (index * total + first) * numbers, anchors * numbers);
  tensor.plane = 1;
  tensor.step = numbers;
}

function anchorCount({ levels }: FacesPlan, { inputWidth, inputHeight }: DecodeInput): number {
  let count = 0;
  for (let at = 0; at < levels.length; at++) {
    const { stride, sizes } = levels[at]!;
    count += Math.ceil(inputWidth / stride) * Math.ceil(inputHeight / stride) * sizes.length;
  }
  return count;
}

function loadBoxes(plan: FacesPlan, level: FaceLevel, input: DecodeInput): void {
  load(boxes, level.boxes, level.offsets === undefined ? 4 : 2, plan, input);
  if (level.offsets !== undefined) load(offsets, level.offsets, 2, plan, input);
}

/** Input pixels a unit of CenterFace's sizes and offsets. */
const MAP_STRIDE = 4;

type Locate = (anchor: number, column: number, row: number, size: number, level: FaceLevel, input: DecodeInput) => void;

/**
 * Offsets of the centre and logarithms of the size.
 *
 * @param place  of an anchor in its cell, in the cell's sides
 * @param centre what offsets, and those of points, are multiplied by beside the size, as the variances of SSD's boxes
 * @param spread likewise of sizes
 */
function aroundCells(place: number, centre: number, spread: number): Locate {
  return (anchor, column, row, size, { stride }) => {
    face.x = (column + place) * stride;
    face.y = (row + place) * stride;
    face.unitX = face.unitY = centre * size;
    const width = Math.exp(boxes.number(anchor, 2) * spread) * size;
    const height = Math.exp(boxes.number(anchor, 3) * spread) * size;
    face.x1 = face.x + boxes.number(anchor, 0) * face.unitX - width / 2;
    face.y1 = face.y + boxes.number(anchor, 1) * face.unitY - height / 2;
    face.x2 = face.x1 + width;
    face.y2 = face.y1 + height;
  };
}

/** Work out the face of an anchor, by family. */
const FACES: Readonly<Record<FacesPlan["form"], Locate>> = {
  /** Points are parts of the box, from its corner, which is moved into the input. */
  centerface(anchor, column, row, _, __, { inputWidth, inputHeight }) {
    const height = Math.exp(boxes.number(anchor, 0)) * MAP_STRIDE;
    const width = Math.exp(boxes.number(anchor, 1)) * MAP_STRIDE;
    const x = (column + offsets.number(anchor, 1) + 0.5) * MAP_STRIDE - width / 2;
    const y = (row + offsets.number(anchor, 0) + 0.5) * MAP_STRIDE - height / 2;
    face.x = face.x1 = Math.min(Math.max(0, x), inputWidth);
    face.y = face.y1 = Math.min(Math.max(0, y), inputHeight);
    face.x2 = Math.min(face.x1 + width, inputWidth);
    face.y2 = Math.min(face.y1 + height, inputHeight);
    face.unitX = width;
    face.unitY = height;
  },
  retinaface: aroundCells(0.5, 0.1, 0.2),
  yunet: aroundCells(0, 1, 1),
  /** Distances from the cell's corner to the sides. */
  scrfd(anchor, column, row, size, { stride }) {
    face.x = column * stride;
    face.y = row * stride;
    face.unitX = face.unitY = size;
    face.x1 = face.x - boxes.number(anchor, 0) * size;
    face.y1 = face.y - boxes.number(anchor, 1) * size;
    face.x2 = face.x + boxes.number(anchor, 2) * size;
    face.y2 = face.y + boxes.number(anchor, 3) * size;
  },
};

function locate(plan: FacesPlan, level: FaceLevel, input: DecodeInput, anchor: number): void {
  const { sizes } = level;
  const cell = Math.floor(anchor / sizes.length);
  const column = cell % grid.columns;
  const row = (cell - column) / grid.columns;
  FACES[plan.form](anchor, column, row, sizes[anchor % sizes.length]!, level, input);
}

/** A probability, or NaN. */
function clamped(value: number): number {
  return Math.min(Math.max(value, 0), 1);
}

/** Append the faces whose score reaches the threshold, level by level, row by row. */
export function decodeFaces(plan: FacesPlan, input: DecodeInput, candidates: Candidates): void {
  const threshold = Math.fround(input.threshold);
  // Of two numbers the second one is the face's.
  const numbers = plan.form === "retinaface" ? 2 : 1;
  let first = 0;
  for (let at = 0; at < plan.levels.length; at++) {
    const level = plan.levels[at]!;
    enter(plan, level, input, first);
    load(scores, level.scores, numbers, plan, input);
    loadBoxes(plan, level, input);
    const isProduct = level.objectness !== undefined;
    if (isProduct) load(objectness, level.objectness, 1, plan, input);
    for (let anchor = 0; anchor < grid.anchors; anchor++) {
      let score = scores.number(anchor, numbers - 1);
      if (isProduct) score = Math.sqrt(clamped(score) * clamped(objectness.number(anchor, 0)));
      if (Math.fround(score) < threshold) continue;
      locate(plan, level, input, anchor);
      candidates.push(face.x1, face.y1, face.x2, face.y2, score, 0, first + anchor);
    }
    first += grid.anchors;
  }
}

/** Write the points of the kept faces, x and y in input pixels. @param target f32 [rows, points × 2] */
export function decodeFacePoints(
  plan: FacesPlan,
  input: DecodeInput,
  block: DetectionBlock,
  target: Float32Array,
): void {
  // CenterFace has y before x.
  const x = plan.form === "centerface" ? 1 : 0;
  const numbers = plan.pointCount * 2;
  let first = 0;
  for (let at = 0; at < plan.levels.length; at++) {
    const level = plan.levels[at]!;
    enter(plan, level, input, first);
    loadBoxes(plan, level, input);
    if (level.points === undefined) continue;
    load(points, level.points, numbers, plan, input);
    for (let row = 0; row < block.count; row++) {
      const anchor = block.sources[row]! - first;
      if (anchor < 0 || anchor >= grid.anchors) continue;
      locate(plan, level, input, anchor);
      for (let number = 0, to = row * numbers; number < numbers; number += 2, to += 2) {
        target[to] = face.x + points.number(anchor, number + x) * face.unitX;
        target[to + 1] = face.y + points.number(anchor, number + 1 - x) * face.unitY;
      }
    }
    first += grid.anchors;
  }
}
