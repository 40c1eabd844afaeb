/** @module Heads `efficientdet`, `efficientdet-maps` and `efficientdet-rows`: EfficientDet in PyTorch, offsets from anchors and finished rows. */

import { ModelError, message } from "../core/errors.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { COCO_91 } from "../model/model-info.ts";
import type { Candidates } from "../model/rows.ts";
import { readMaps } from "./anchor-maps.ts";
import { readDense } from "./dense-reading.ts";
import { type DecodeInput, defineHead, type Head, type ModelSpecParts, naming, saying } from "./head.ts";
import type { AnchorOffsetsLevel, AnchorOffsetsPlan } from "./host-plan.ts";
import { bestOf, NumberSlice, outputTensor, sigmoid } from "./outputs.ts";
import type { RowsPlan } from "./plans.ts";
import { decodeRows, rowsPlan } from "./rows.ts";
import { FLOATS, isFloat, type ModelTraits } from "./traits.ts";

type Anchor = readonly [width: number, height: number];

/** Width and height of a cell's anchors in strides: each of the three scales has the three ratios. */
const ANCHORS: readonly Anchor[] = [0, 1, 2].flatMap((third) => {
  const scale = 4 * 2 ** (third / 3);
  return [[1, 1] as const, [1.4, 0.7] as const, [0.7, 1.4] as const].map(([x, y]): Anchor => [scale * x, scale * y]);
});

/** Input pixels a cell: those of D0 to D7, and with the last those of D7x. */
const STRIDES: readonly number[] = [8, 16, 32, 64, 128, 256];

/** Sides are a multiple of it. */
const STRIDE = 128;

/** Classes of COCO's ids from 1 on, which no other family has. */
const COCO_90: readonly string[] = COCO_91.slice(1);

/** Padding is the mean's level: 0 after the normalisation. */
const PREPROCESSING: Preprocessing = {
  ...YOLO_PREPROCESSING,
  fit: "letterbox-top-left",
  mean: IMAGENET_MEAN,
  std: IMAGENET_STD,
  pad: IMAGENET_MEAN.map((level) => level * 255) as unknown as Preprocessing["pad"],
};

const ASSUMED_ANCHORS =
  "EfficientDet's usual anchors, three scales of three ratios; where it was trained with others give `anchors` (`--anchors`): " +
  "widths and heights in pixels at stride 8, in the order of the training's scales and ratios";

/** What TensorFlow's weights of the Lite models want in effdet. */
const ASSUMED_LEVELS = `ImageNet's mean and deviation; for effdet's tf_efficientdet_lite give ${saying({ mean: 0.5, std: 0.5, pad: 128 })}`;

/** A cell's anchors in strides, which double from level to level: the caller's or the model's, else the usual ones. */
function anchorsOf({ anchors }: ModelTraits): readonly Anchor[] {
  if (anchors === undefined) return ANCHORS;
  const [first = 8] = STRIDES;
  return Array.from({ length: anchors.values.length / 2 }, (_, at): Anchor => {
    return [anchors.values[2 * at]! / first, anchors.values[2 * at + 1]! / first];
  });
}

/** What all that decode offsets decide alike. */
function offsetParts(
  traits: ModelTraits,
  classes: number,
  levels: readonly AnchorOffsetsLevel[],
  given: Pick<AnchorOffsetsPlan, "order" | "anchorBoxes">,
): Omit<ModelSpecParts<AnchorOffsetsPlan>, "outputs"> | undefined {
  if (traits.classes !== undefined && traits.classes !== classes) return undefined;
  const isTold = traits.anchors !== undefined || given.anchorBoxes !== undefined;
  return {
    preprocessing: PREPROCESSING,
    assumptions: isTold ? [] : [ASSUMED_ANCHORS],
    classes,
    ...(classes === COCO_90.length ? { names: COCO_90 } : {}),
    ...(traits.anchors === undefined || given.anchorBoxes !== undefined ? {} : { anchors: traits.anchors }),
    stride: STRIDE,
    needsNms: true,
    usualIou: 0.5,
    plan: { kind: "anchor-offsets", levels, anchors: anchorsOf(traits), classes, ...given },
  };
}

/** Cells of the levels from stride 8 on. */
function cellsOf([width, height]: readonly [width: number, height: number], levels: number): number {
  return STRIDES.slice(0, levels).reduce((sum, side) => sum + Math.ceil(width / side) * Math.ceil(height / side), 0);
}

/** Outputs in the order that exporters number them in; as the model has them where names have no numbers. */
function numbered(outputs: readonly TensorInfo[]): TensorInfo[] {
  const numberOf = ({ name }: TensorInfo): number => Number(/\d+$/.exec(name)?.[0] ?? 0);
  return outputs.toSorted((a, b) => numberOf(a) - numberOf(b));
}

/** [N, anchors, numbers] in floats. */
function isRows(info: TensorInfo, anchors: number): boolean {
  return info.shape.length === 3 && info.shape[1] === anchors && isFloat(info);
}

/**
 * Boxes, classes, and perhaps the anchors, whose rows are those of the grids. Beside them there may be the five or six maps that
 * they were found in.
 */
function findRows(traits: ModelTraits) {
  const { model, shapesAt } = traits;
  const features = model.outputs.filter((info) => info.shape.length === 4 && isFloat(info));
  const rows = model.outputs.filter((info) => !features.includes(info));
  const counts = [5, 6].map((levels) => ({ levels, anchors: cellsOf(shapesAt, levels) * anchorsOf(traits).length }));
  const found = counts.find(({ anchors }) => rows.every((info) => isRows(info, anchors)));
  if (found === undefined || rows.length < 2 || rows.length > 3) return undefined;
  if (features.length > 0 && features.length !== found.levels) return undefined;
  const sides = rows.filter(({ shape }) => shape[2] === 4);
  const named = rows.find(({ name }) => /class/i.test(name));
  const classes = rows.find((info) => !sides.includes(info)) ?? named ?? numbered(rows)[1]!;
  // Anchors are found after boxes.
  const [boxes, anchorBoxes] = numbered(sides.filter((info) => info !== classes)).sort(
    (a, b) => Number(/anchor/i.test(a.name)) - Number(/anchor/i.test(b.name)),
  );
  if (boxes === undefined || rows.length !== (anchorBoxes === undefined ? 2 : 3)) return undefined;
  return { ...found, classes, boxes, features, anchorBoxes };
}

/**
 * As Yet-Another-EfficientDet-PyTorch has it, exported by itself: probabilities, and offsets y, x, height and width. The best class of
 * an anchor counts.
 *
 * @see https://github.com/zylo117/Yet-Another-EfficientDet-Pytorch (backbone.py, efficientdet/utils.py, utils/utils.py)
 */
export const efficientDet: Head<AnchorOffsetsPlan> = defineHead(
  "efficientdet",
  "outputs of 9 anchors a cell of strides 8 to 128: offsets [N, anchors, 4], probabilities [N, anchors, classes], perhaps the anchors, before NMS (Yet-Another-EfficientDet-PyTorch)",
  decodeOffsets,
  (traits) => {
    const found = findRows(traits);
    if (found === undefined) return undefined;
    const { classes, boxes, features, anchorBoxes } = found;
    const isNamed = /class/i.test(classes.name) && /regress/i.test(boxes.name);
    const isKnown = classes.shape[2] === COCO_90.length || isNamed || anchorBoxes !== undefined;
    if (!traits.forced && !isKnown) return undefined;
    const level = { scores: classes.name, boxes: boxes.name };
    const parts = offsetParts(
      traits,
      classes.shape[2]!,
      STRIDES.slice(0, found.levels).map((stride) => ({ ...level, stride })),
      { order: "rows", ...(anchorBoxes && { anchorBoxes: anchorBoxes.name }) },
    );
    const outputs = [classes, boxes, ...(anchorBoxes === undefined ? [] : [anchorBoxes])];
    return parts && { ...parts, outputs, auxiliary: features };
  },
);

/** Maps of classes and of boxes in two lists, each finest first; of four classes these are as deep, and the order tells. */
function mapLevels(traits: ModelTraits, anchors: number) {
  const { outputs } = traits.model;
  const maps = readMaps(traits);
  const count = outputs.length / 2;
  if (maps === undefined || (count !== 5 && count !== 6)) return undefined;
  if (maps.some(({ info, order }) => info.shape.length !== 4 || order !== "channels")) return undefined;
  const ofBoxes = outputs.filter(({ shape }) => shape[1] === 4 * anchors);
  const boxes = ofBoxes.length === count ? ofBoxes : numbered(outputs).slice(count);
  const strideOf = (info: TensorInfo): number => maps.find((map) => map.info === info)!.stride;
  const inOrder = (list: readonly TensorInfo[]): TensorInfo[] => list.toSorted((a, b) => strideOf(a) - strideOf(b));
  const [scores, sides] = [inOrder(outputs.filter((info) => !boxes.includes(info))), inOrder(boxes)];
  const classes = scores[0]!.shape[1]! / anchors;
  const isLevel = (info: TensorInfo, at: number): boolean =>
    strideOf(info) === STRIDES[at] && strideOf(sides[at]!) === STRIDES[at];
  if (!Number.isInteger(classes) || classes < 1 || !scores.every(isLevel)) return undefined;
  if (scores.some(({ shape }) => shape[1] !== classes * anchors)) return undefined;
  if (sides.some(({ shape }) => shape[1] !== 4 * anchors)) return undefined;
  return { scores, sides, classes };
}

/**
 * As effdet's network has it, without its bench: logits, and offsets y, x, height and width. Every class of an anchor counts.
 *
 * @see https://github.com/rwightman/efficientdet-pytorch (effdet/bench.py, effdet/anchors.py)
 */
export const efficientDetMaps: Head<AnchorOffsetsPlan> = defineHead(
  "efficientdet-maps",
  "maps [N, 9×classes, h, w], logits, and [N, 36, h, w], one of each of strides 8 to 128, before NMS; recognised with COCO's 90 classes (effdet)",
  decodeOffsets,
  (traits) => {
    const found = mapLevels(traits, anchorsOf(traits).length);
    if (found === undefined || (!traits.forced && found.classes !== COCO_90.length)) return undefined;
    const { scores, sides, classes } = found;
    const levels = scores.map(({ name }, at) => ({ stride: STRIDES[at]!, scores: name, boxes: sides[at]!.name }));
    const parts = offsetParts(traits, classes, levels, { order: "maps" });
    if (parts === undefined) return undefined;
    return { ...parts, outputs: [...scores, ...sides], assumptions: [...(parts.assumptions ?? []), ASSUMED_LEVELS] };
  },
);

/** Rows that effdet's bench gives. */
const BENCH_ROWS = 100;

/** True for the rows of effdet's bench, which tell nothing that others do not have: 100 of 6 numbers, of a file that says no more. */
export function mayBeOfEffdet({ model, image, names }: ModelTraits, rows: number): boolean {
  const isSized = image.fixedSize?.every((side) => side % STRIDE === 0) === true;
  return rows === BENCH_ROWS && isSized && names === undefined && Object.keys(model.metadata).length === 0;
}

/** What is said where such rows are read as another head's. */
export const ASSUMED_NOT_EFFDET: string = `rows of classes from 0 on; for those of effdet's DetBenchPredict, from 1 on, give ${naming(["efficientdet-rows"])}`;

/** The rows of effdet's DetBenchPredict: NMS is done, and classes are numbered from 1 on. */
export const efficientDetRows: Head<RowsPlan> = defineHead(
  "efficientdet-rows",
  "one output [N, 100, 6]: x1, y1, x2, y2 in pixels, score, class from 1 on; no NMS (effdet's DetBenchPredict); never recognised, name it",
  decodeRows,
  (traits) => {
    const reading = traits.forced ? readDense(traits) : undefined;
    if (reading?.channels !== 6 || reading.channelAxis !== 2) return undefined;
    return {
      outputs: [reading.output],
      preprocessing: PREPROCESSING,
      assumptions: [ASSUMED_LEVELS],
      labels: ["", ...(traits.names ?? COCO_90)],
      ...(traits.names === undefined && {
        assumedNames: "COCO's class names, numbered from 1 on, as the model does not tell its own: give `labels`",
      }),
      stride: STRIDE,
      needsNms: false,
      plan: rowsPlan(reading.output, 6),
    };
  },
);

/** Where the sizes of a level's anchors and cells are kept while it is decoded. */
const grid = { columns: 0, rows: 0, cells: 0, strideX: 0, strideY: 0 };

/** A level's cells: a side that is no multiple of the stride is divided into equal cells, as effdet does. */
function enter(stride: number, { inputWidth, inputHeight }: DecodeInput): void {
  grid.columns = Math.ceil(inputWidth / stride);
  grid.rows = Math.ceil(inputHeight / stride);
  grid.cells = grid.columns * grid.rows;
  grid.strideX = inputWidth / grid.columns;
  grid.strideY = inputHeight / grid.rows;
}

const scores: NumberSlice = new NumberSlice();
const offsets: NumberSlice = new NumberSlice();
const anchorBoxes: NumberSlice = new NumberSlice();

/** An anchor's box: y, x, height and width. */
const anchor = { y: 0, x: 0, height: 0, width: 0 };

/** @param at where its four numbers lie, y1, x1, y2, x2 */
function readAnchor(at: number): void {
  const { data } = anchorBoxes;
  anchor.y = (data[at]! + data[at + 2]!) / 2;
  anchor.x = (data[at + 1]! + data[at + 3]!) / 2;
  anchor.height = data[at + 2]! - data[at]!;
  anchor.width = data[at + 3]! - data[at + 1]!;
}

function makeAnchor(cell: number, [width, height]: Anchor): void {
  const column = cell % grid.columns;
  anchor.x = (column + 0.5) * grid.strideX;
  anchor.y = ((cell - column) / grid.columns + 0.5) * grid.strideY;
  anchor.width = width * grid.strideX;
  anchor.height = height * grid.strideY;
}

/** @param at where its first offset lies @param step elements to the next @param right the largest x, and the largest y */
function pushOffset(
  candidates: Candidates,
  at: number,
  step: number,
  score: number,
  classId: number,
  source: number,
  right: number,
  bottom: number,
): void {
  const { data } = offsets;
  const y = data[at]! * anchor.height + anchor.y;
  const x = data[at + step]! * anchor.width + anchor.x;
  const halfHeight = (Math.exp(data[at + 2 * step]!) * anchor.height) / 2;
  const halfWidth = (Math.exp(data[at + 3 * step]!) * anchor.width) / 2;
  candidates.push(
    Math.max(0, x - halfWidth),
    Math.max(0, y - halfHeight),
    Math.min(right, x + halfWidth),
    Math.min(bottom, y + halfHeight),
    score,
    classId,
    source,
  );
}

/** Beyond it a number is no probability, with room for the rounding of f16. */
const HIGHEST = 1.001;

/** @throws {ModelError} Always */
function refuseScores(head: string, found: string, hint: string): never {
  throw new ModelError(message(`decode the model as head "${head}"`, found, hint), head);
}

/** The best class of each anchor. */
function decodeAnchorRows(plan: AnchorOffsetsPlan, input: DecodeInput, candidates: Candidates): void {
  const { levels, anchors, classes } = plan;
  const { index, inputWidth, inputHeight } = input;
  const threshold = Math.fround(input.threshold);
  let total = 0;
  for (let level = 0; level < levels.length; level++) {
    enter(levels[level]!.stride, input);
    total += grid.cells * anchors.length;
  }
  const { scores: scoreRows, boxes: boxRows } = levels[0]!;
  scores.load(
    outputTensor(input, scoreRows, FLOATS, index + 1, total, classes),
    index * total * classes,
    total * classes,
  );
  offsets.load(outputTensor(input, boxRows, FLOATS, index + 1, total, 4), index * total * 4, total * 4);
  // Of one image they are those of all.
  const hasBoxes = plan.anchorBoxes !== undefined;
  if (hasBoxes) anchorBoxes.load(outputTensor(input, plan.anchorBoxes!, FLOATS, 1, total, 4), 0, total * 4);
  let row = 0;
  for (let level = 0; level < levels.length; level++) {
    enter(levels[level]!.stride, input);
    for (let cell = 0; cell < grid.cells; cell++) {
      for (let of = 0; of < anchors.length; of++, row++) {
        const at = scores.offset + row * classes;
        const classId = bestOf(scores.data, at, classes, 1);
        const score = scores.data[at + classId]!;
        if (score < threshold) continue;
        if (score > HIGHEST) {
          refuseScores(
            "efficientdet",
            `its scores are no probabilities, got ${score}`,
            "export it with the sigmoid of its classifier",
          );
        }
        if (hasBoxes) readAnchor(anchorBoxes.offset + row * 4);
        else makeAnchor(cell, anchors[of]!);
        // Upstream's last pixel is inside the box.
        pushOffset(candidates, offsets.offset + row * 4, 1, score, classId, row, inputWidth - 1, inputHeight - 1);
      }
    }
  }
}

/** Every class of each anchor. */
function decodeAnchorMaps(plan: AnchorOffsetsPlan, input: DecodeInput, candidates: Candidates): void {
  const { levels, anchors, classes } = plan;
  // effdet cuts boxes to the image before its NMS.
  const { index, inputWidth, inputHeight, imageRight = inputWidth, imageBottom = inputHeight } = input;
  const threshold = Math.fround(input.threshold);
  // Below it no sigmoid reaches the threshold; f32 rounds it, and the score itself decides.
  const least = Math.log(threshold / (1 - threshold)) - 1e-3;
  const channels = classes * anchors.length;
  let before = 0;
  let lowest = Number.POSITIVE_INFINITY;
  for (let level = 0; level < levels.length; level++) {
    const { stride, scores: scoreMap, boxes: boxMap } = levels[level]!;
    enter(stride, input);
    const { cells, rows, columns } = grid;
    const scoreTensor = outputTensor(input, scoreMap, FLOATS, index + 1, channels, rows, columns);
    const boxTensor = outputTensor(input, boxMap, FLOATS, index + 1, 4 * anchors.length, rows, columns);
    scores.load(scoreTensor, index * channels * cells, channels * cells);
    offsets.load(boxTensor, index * 4 * anchors.length * cells, 4 * anchors.length * cells);
    for (let channel = 0, at = scores.offset; channel < channels; channel++) {
      const classId = channel % classes;
      const of = (channel - classId) / classes;
      for (let cell = 0; cell < cells; cell++, at++) {
        const logit = scores.data[at]!;
        if (logit < lowest) lowest = logit;
        if (logit < least) continue;
        const score = Math.fround(sigmoid(logit));
        if (score < threshold) continue;
        makeAnchor(cell, anchors[of]!);
        const from = offsets.offset + 4 * of * cells + cell;
        pushOffset(
          candidates,
          from,
          cells,
          score,
          classId,
          before + cell * anchors.length + of,
          imageRight,
          imageBottom,
        );
      }
    }
    before += cells * anchors.length;
  }
  if (lowest >= 0) {
    refuseScores(
      "efficientdet-maps",
      "no score lies below 0, as logits of an image without objects do",
      `if its scores are probabilities, it may be NVIDIA's RetinaNet: name the head by ${naming(["retinanet"])}`,
    );
  }
}

/** Append the candidates of one image, level by level. */
function decodeOffsets(plan: AnchorOffsetsPlan, input: DecodeInput, candidates: Candidates): void {
  if (plan.order === "rows") decodeAnchorRows(plan, input, candidates);
  else decodeAnchorMaps(plan, input, candidates);
}
