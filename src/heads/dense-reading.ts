/** @module Dense plan: the decode plan of a dense head, from how its output was read. */

import type { TensorInfo } from "../core/tensor.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { ModelSpecParts } from "./head.ts";
import type { DensePlan } from "./plans.ts";
import { isFloat, type ModelTraits } from "./traits.ts";

/** Channels of a box, which come first. */
const BOX_CHANNELS = 4;

/** The plan of a head with a box, perhaps objectness, which a score by `class` has not, and a probability a class. */
export function densePlan(
  reading: DenseReading,
  classes: number,
  score: DensePlan["score"],
  boxUnit: DensePlan["boxUnit"] = "pixels",
): DensePlan {
  return {
    kind: "dense",
    output: reading.output.name,
    order: reading.channelAxis === 1 ? "channel-major" : "anchor-major",
    channels: reading.channels,
    classes,
    classChannel: score === "class" ? BOX_CHANNELS : BOX_CHANNELS + 1,
    score,
    boxUnit,
  };
}

/** Strides of the heads in use, finest first: the usual three, with P6, with P2, and the two of the tiny models. */
const STRIDE_SETS: readonly (readonly number[])[] = [
  [8, 16, 32],
  [8, 16, 32, 64],
  [4, 8, 16, 32],
  [16, 32],
];

/** The usual strides, for a model whose size is dynamic. */
export const USUAL_STRIDES: readonly number[] = [8, 16, 32];

/** Cells of all grids: each side is divided by the stride and rounded up, as convolutions with padding do. */
export function cellCount(width: number, height: number, strides: readonly number[]): number {
  let count = 0;
  for (const stride of strides) count += Math.ceil(width / stride) * Math.ceil(height / stride);
  return count;
}

/** The strides whose grids have a number of cells. @param perCell anchors a cell: 1, or 3 in anchor-based models */
export function stridesOf(
  rows: number,
  [width, height]: readonly [number, number],
  perCell: number,
): readonly number[] | undefined {
  return STRIDE_SETS.find((strides) => cellCount(width, height, strides) * perCell === rows);
}

/**
 * What the number of rows says. `cells`: one row a cell of the input's grids. `anchors`: three a cell. `dynamic`: it is
 * open, or the size of the input is, and some size has as many cells. `other`: it follows from no grid, as with 300 object queries.
 */
type RowKind = "cells" | "anchors" | "dynamic" | "other";

/** The one output of rank 3, read. */
export interface DenseReading {
  readonly output: TensorInfo;
  /** 1 for [N, channels, rows], 2 for [N, rows, channels]. */
  readonly channelAxis: 1 | 2;
  readonly channels: number;
  /** -1 where it is open. */
  readonly rows: number;
  readonly rowKind: RowKind;
  /** Strides whose cells the rows are; the usual ones where the number of rows does not tell. */
  readonly strides: readonly number[];
  /** True if there is an output of mask prototypes, [N, 32, ?, ?]: then 32 channels are mask coefficients. */
  readonly hasMasks: boolean;
  /** True if the metadata says that the rows are final, and the tensor does not contradict it: a raw grid is none. */
  readonly rowsAreFinal: boolean;
}

/** Channels of mask coefficients in every segmentation model of the YOLO families. */
export const MASK_CHANNELS = 32;

/** Fewest rows a grid has: one input of 32 × 32 pixels, 16 + 4 + 1. */
const FEWEST_CELLS = 21;

/** Names of the first output; further ones are called by numbers. */
const FIRST_NAMES: readonly string[] = ["output0", "output"];

/** Channels of box distributions beside the classes in the raw maps of YOLOv8 and those after it. */
const DISTRIBUTION_CHANNELS = 64;

/** Strides that raw maps may have. */
const MAP_STRIDES: readonly number[] = [4, 8, 16, 32, 64];

/** The outputs that may be a dense head. */
export function denseOutputs({ outputs }: ModelInfo): readonly TensorInfo[] {
  return outputs.filter((info) => isFloat(info) && info.shape.length === 3);
}

/**
 * The heads of YOLOv9 that was exported with its one or two auxiliary branches, all of one shape, [N, channels, cells]. The first
 * output, an auxiliary one, is named by the exporter, the others by numbers that grow in the order of the graph: the main head
 * is the last. Its metadata tells stride and names, and no task.
 *
 * @returns the main one first; empty if the outputs are no such heads
 * @see https://github.com/WongKinYiu/yolov9 (export.py, detect_dual.py, val_triple.py)
 */
export function yolov9Heads(traits: ModelTraits): readonly TensorInfo[] {
  const found = denseOutputs(traits.model);
  const first = found.find(({ name }) => FIRST_NAMES.includes(name));
  if (first === undefined || found.length < 2 || found.length > 3) return [];
  if (traits.task !== undefined || traits.rowsAreFinal || traits.family === "rtdetr") return [];
  const others = found.filter(({ name, shape }) => /^\d+$/.test(name) && shape.join() === first.shape.join());
  if (others.length < found.length - 1 || channelAxisOf(first.shape, traits) !== 1) return [];
  if (!/cells|dynamic/.test(rowKindOf(first.shape[2]!, traits).kind)) return [];
  return [...others.sort((a, b) => Number(b.name) - Number(a.name)), first];
}

/** The output of rank 3, or the main one of YOLOv9's. An output that is neither of rank 3 nor a map means another head. */
function findDense(traits: ModelTraits): TensorInfo | undefined {
  const { outputs } = traits.model;
  if (!traits.forced && outputs.some((info) => !isFloat(info) || info.shape.length < 3)) return undefined;
  const found = denseOutputs(traits.model);
  return found.length <= 1 ? found[0] : yolov9Heads(traits)[0];
}

/** True for what a head gave before its boxes were decoded, a map for each stride: YOLOv5's and YOLOv8's exports may have them. */
function isRawMap({ shape }: TensorInfo, { channels }: DenseReading, classes: number, traits: ModelTraits): boolean {
  const [height = -1, width = -1] = shape.slice(2);
  const isGrid = MAP_STRIDES.some((stride) => {
    const [columns, rows] = [traits.preferredSize[0] / stride, traits.preferredSize[1] / stride];
    return (height < 0 || height === Math.ceil(rows)) && (width < 0 || width === Math.ceil(columns));
  });
  if (!isGrid) return false;
  if (shape.length === 5) return shape[4] === channels;
  const map = shape.length === 4 ? shape[1] : undefined;
  return map === classes + DISTRIBUTION_CHANNELS || map === 3 * channels;
}

/**
 * The further outputs of a dense model that are known: mask prototypes, where the channels have their coefficients; raw
 * maps; auxiliary heads.
 *
 * @param before channels before the classes
 */
export function auxiliaryOutputs(
  reading: DenseReading,
  before: number,
  classes: number,
  traits: ModelTraits,
): readonly TensorInfo[] {
  const { outputs } = traits.model;
  const heads = yolov9Heads(traits);
  const hasCoefficients = reading.channels - before - classes >= MASK_CHANNELS;
  return outputs.filter(
    (info) =>
      info !== reading.output &&
      (heads.includes(info) || (hasCoefficients && isPrototypes(info)) || isRawMap(info, reading, classes, traits)),
  );
}

/** The output with the prototypes of masks. */
export function prototypesOf({ outputs }: ModelInfo): TensorInfo | undefined {
  return outputs.find((info) => isFloat(info) && isPrototypes(info));
}

function isPrototypes({ shape }: TensorInfo): boolean {
  return shape.length === 4 && shape[1] === MASK_CHANNELS;
}

/** Cells of the smallest input with the usual strides, and with a fourth: sizes of whole strides have multiples of them. */
const CELLS_OF_SMALLEST: readonly number[] = [cellCount(32, 32, USUAL_STRIDES), cellCount(64, 64, [8, 16, 32, 64])];

/**
 * True if rows that are few enough to be queries may be a grid's at a size that is not known: that of an export whose input is open and whose rows are not. The
 * two strides of the tiny models are left out: hundreds of queries are as many cells.
 */
function mayBeGrid(rows: number, { image, model }: ModelTraits): boolean {
  if (image.fixedSize !== undefined || model.shapesAt !== undefined || model.metadata.imgsz !== undefined) return false;
  return rows <= MOST_CHOSEN && CELLS_OF_SMALLEST.some((cells) => rows % cells === 0);
}

function rowKindOf(rows: number, traits: ModelTraits): { kind: RowKind; strides: readonly number[] } {
  if (rows < 0) return { kind: "dynamic", strides: USUAL_STRIDES };
  // Where the input is open and the rows are not, they are those of the size the model was exported for.
  const size = traits.shapesAt;
  const cells = stridesOf(rows, size, 1);
  if (cells !== undefined) return { kind: "cells", strides: cells };
  const anchors = stridesOf(rows, size, 3);
  if (anchors !== undefined) return { kind: "anchors", strides: anchors };
  return { kind: mayBeGrid(rows, traits) ? "dynamic" : "other", strides: USUAL_STRIDES };
}

/** Columns of final rows: a box, a score and a class. */
const END_TO_END_COLUMNS = 6;

/** True if so many channels are those of a head before NMS, with as many classes as there are names. */
function fitsClasses(channels: number, { classes }: ModelTraits): boolean {
  return classes !== undefined && [4, 5, 4 + MASK_CHANNELS, 5 + MASK_CHANNELS].includes(channels - classes);
}

/** True for [N, channels, cells], which final rows and queries are not, whatever the metadata says. */
function isRawGrid(channels: number, cells: number, traits: ModelTraits): boolean {
  if (cells < 0) return channels >= 0 && fitsClasses(channels, traits);
  const isGrid = (rows: number): boolean => /cells|anchors/.test(rowKindOf(rows, traits).kind);
  return isGrid(cells) && !isGrid(channels) && !fitsClasses(cells, traits);
}

/** Which of the axes 1 and 2 holds the channels; `undefined` if both are open. */
function channelAxisOf(shape: readonly number[], traits: ModelTraits): 1 | 2 | undefined {
  const [, first = -1, second = -1] = shape;
  const isPromised = traits.rowsAreFinal || traits.family === "rtdetr";
  if (isPromised && !isRawGrid(first, second, traits)) return 2;
  if (first < 0 && second < 0) return undefined;
  if (first < 0 || second < 0) return first < 0 ? 2 : 1;
  const firstIsGrid = /cells|anchors/.test(rowKindOf(first, traits).kind);
  const secondIsGrid = /cells|anchors/.test(rowKindOf(second, traits).kind);
  if (firstIsGrid !== secondIsGrid) return firstIsGrid ? 2 : 1;
  const { classes } = traits;
  if (classes !== undefined) {
    const fits = (channels: number, rows: number): boolean => rows >= FEWEST_CELLS && fitsClasses(channels, traits);
    if (fits(first, second) !== fits(second, first)) return fits(first, second) ? 1 : 2;
  }
  // A square of as many channels as cells: queries have no grid.
  if (first === second) return firstIsGrid ? 1 : 2;
  return first < second ? 1 : 2;
}

/** Most rows of a model that has chosen them, such as object queries: more are a grid's, whatever its size. */
export const MOST_CHOSEN = 1000;

/** Whether each row may be a cell of a grid, which has one box. */
export function hasGridRows({ rowKind }: DenseReading): boolean {
  return rowKind === "cells" || rowKind === "dynamic";
}

/** True if the rows may be chosen ones, by their number alone. */
export function mayBeChosen({ rows, rowKind }: DenseReading): boolean {
  return rowKind === "other" && rows <= MOST_CHOSEN;
}

/** Read the output of rank 3. @returns `undefined` if there is none, or its axes cannot be told apart */
export function readDense(traits: ModelTraits): DenseReading | undefined {
  const output = findDense(traits);
  if (output === undefined) return undefined;
  const channelAxis = channelAxisOf(output.shape, traits);
  if (channelAxis === undefined) return undefined;
  const channels = output.shape[channelAxis] ?? -1;
  const rows = output.shape[3 - channelAxis] ?? -1;
  const { kind, strides } = rowKindOf(rows, traits);
  const hasMasks = traits.model.outputs.some(isPrototypes);
  // More columns than six are those of masks and keypoints.
  const hasMore = (traits.task === "segment" || traits.task === "pose") && (kind === "other" || kind === "dynamic");
  const isRaw = channels !== END_TO_END_COLUMNS && !hasMore && fitsClasses(channels, traits);
  const rowsAreFinal = traits.rowsAreFinal && channelAxis === 2 && !isRaw;
  return { output, channelAxis, channels, rows, rowKind: kind, strides, hasMasks, rowsAreFinal };
}

/** The number of classes among the channels; `undefined` if the names, their number being known, do not fit them. */
function classesAmong(reading: DenseReading, before: number, traits: ModelTraits): number | undefined {
  const { channels, hasMasks } = reading;
  const { classes, task } = traits;
  const masks = hasMasks ? MASK_CHANNELS : 0;
  if (classes === undefined) return channels - before - masks >= 1 ? channels - before - masks : undefined;
  const extra = channels - before - classes;
  // Coefficients are there as well where the prototypes of masks were cut off.
  if (extra === 0 || extra === masks || extra === MASK_CHANNELS) return classes;
  return extra > 0 && (task === "segment" || task === "pose") ? classes : undefined;
}

/** True for rows of anchors, three a cell, with their channels first: they have objectness, which no head reads in that order. */
export function isTurnedAnchors({ channelAxis, rowKind }: DenseReading): boolean {
  return channelAxis === 1 && rowKind === "anchors";
}

/** True for DeepStream-Yolo's exports: [N, rows, 6] from `input` to `output`, without metadata. */
export function isDeepStream({ output, channelAxis, channels }: DenseReading, traits: ModelTraits): boolean {
  const { image, family } = traits;
  return (
    channelAxis === 2 && channels === 6 && image.name === "input" && output.name === "output" && family === undefined
  );
}

/** Strides of NanoDet-Plus. */
const NANODET_PLUS_STRIDES = "8,16,32,64";

/** True for NanoDet-Plus's exports: [N, rows of four grids, classes + 32] from `data` to `output`, without metadata. */
export function isNanodetPlus({ output, channelAxis, rowKind, strides }: DenseReading, traits: ModelTraits): boolean {
  const { image, family } = traits;
  const isGrid = rowKind === "cells" && strides.join() === NANODET_PLUS_STRIDES;
  return channelAxis === 2 && isGrid && image.name === "data" && output.name === "output" && family === undefined;
}

/** What Paddle2ONNX calls the outputs of PaddleDetection's programs. */
const PADDLE_NAME = /^(concat_\d+\.tmp_\d+|save_infer_model\/scale_\d+\.tmp_\d+|fetch_name_\d+)$/;

/** True for an output of PaddleDetection's, by its name and the input's. Boxes are corners there. */
export function isOfPaddle(output: TensorInfo, { image }: ModelTraits): boolean {
  return image.name === "image" && PADDLE_NAME.test(output.name);
}

/** Channels of COCO's classes behind a box and objectness. */
export const COCO_CHANNELS_WITH_OBJECTNESS = 85;

/**
 * True for the rows that ModelScope's exporter of DAMO-YOLO writes: by the weights, else by the names of its tensors, where the
 * channels may be a box and classes. NanoDet's weights, of an input `data`, are called so as well.
 */
export function isOfModelScope({ output, channels }: DenseReading, traits: ModelTraits): boolean {
  const { image, weightsOf, family, classes } = traits;
  if (family !== undefined || image.name === "data") return false;
  if (weightsOf === "damo-yolo") return true;
  if (image.name !== "images" || output.name !== "pred") return false;
  return classes === undefined ? channels !== COCO_CHANNELS_WITH_OBJECTNESS : classes === channels - BOX_CHANNELS;
}

/**
 * A head before NMS: a box, perhaps objectness, and a probability a class.
 *
 * @param before      channels before the classes: 4, or 5 with objectness
 * @param channelAxis the one that it must be; any where left out
 */
export function readClasses(
  traits: ModelTraits,
  before: 4 | 5,
  channelAxis?: 1 | 2,
): { readonly reading: DenseReading; readonly parts: ClassParts } | undefined {
  const reading = readDense(traits);
  const classes = reading && classesAmong(reading, before, traits);
  if (reading === undefined || classes === undefined) return undefined;
  if (channelAxis !== undefined && reading.channelAxis !== channelAxis) return undefined;
  const auxiliary = auxiliaryOutputs(reading, before, classes, traits);
  const outputs = [reading.output];
  return { reading, parts: { outputs, auxiliary, preprocessing: YOLO_PREPROCESSING, classes, needsNms: true } };
}

/** What such heads decide alike. */
interface ClassParts extends Pick<ModelSpecParts<DensePlan>, "outputs" | "auxiliary" | "preprocessing" | "needsNms"> {
  readonly classes: number;
}
