/** @module Dense reading: which axis of a [N, ?, ?] output holds the channels, and what its rows may be. */

import type { TensorInfo } from "../core/tensor.ts";
import { stridesOf, USUAL_STRIDES } from "./anchors.ts";
import type { ModelTraits } from "./model-traits.ts";
import { isFloat } from "./outputs.ts";

/**
 * What the number of rows says. `cells`: one row a cell of the input's grids. `anchors`: three a cell. `dynamic`: it is
 * open. `other`: it follows from no grid, as with 300 object queries.
 */
export type RowKind = "cells" | "anchors" | "dynamic" | "other";

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
}

/** Channels of mask coefficients in every segmentation model of the YOLO families. */
export const MASK_CHANNELS = 32;

/** Fewest rows a grid has: one input of 32 × 32 pixels, 16 + 4 + 1. */
const FEWEST_CELLS = 21;

/**
 * The output of rank 3. Of several of one shape, such as YOLOv9's auxiliary head or YOLOv5's raw maps beside it, the
 * one called `output0` or `output` counts. An output that is neither of rank 3 nor a map means another layout.
 */
function findDense(traits: ModelTraits): TensorInfo | undefined {
  const { outputs } = traits.model;
  if (outputs.some((info) => !isFloat(info) || info.shape.length < 3)) return undefined;
  const found = outputs.filter((info) => info.shape.length === 3);
  if (found.length <= 1) return found[0];
  return found.find((info) => info.name === "output0") ?? found.find((info) => info.name === "output");
}

function rowKindOf(rows: number, traits: ModelTraits): { kind: RowKind; strides: readonly number[] } {
  if (rows < 0) return { kind: "dynamic", strides: USUAL_STRIDES };
  // Where the input is open and the rows are not, they are those of the size the model was exported for.
  const size = traits.preferredSize;
  const cells = stridesOf(rows, size, 1);
  if (cells !== undefined) return { kind: "cells", strides: cells };
  const anchors = stridesOf(rows, size, 3);
  return anchors === undefined ? { kind: "other", strides: USUAL_STRIDES } : { kind: "anchors", strides: anchors };
}

/** Which of the axes 1 and 2 holds the channels; `undefined` if both are open. */
function channelAxisOf(shape: readonly number[], traits: ModelTraits): 1 | 2 | undefined {
  const [, first = -1, second = -1] = shape;
  if (traits.rowsAreFinal || traits.family === "rtdetr") return 2;
  if (first < 0 && second < 0) return undefined;
  if (first < 0 || second < 0) return first < 0 ? 2 : 1;
  const firstIsGrid = /cells|anchors/.test(rowKindOf(first, traits).kind);
  const secondIsGrid = /cells|anchors/.test(rowKindOf(second, traits).kind);
  if (firstIsGrid !== secondIsGrid) return firstIsGrid ? 2 : 1;
  const { classes } = traits;
  if (classes !== undefined) {
    const fits = (channels: number, rows: number): boolean =>
      rows >= FEWEST_CELLS && [4, 5, 4 + MASK_CHANNELS, 5 + MASK_CHANNELS].includes(channels - classes);
    if (fits(first, second) !== fits(second, first)) return fits(first, second) ? 1 : 2;
  }
  // A square of as many channels as cells: queries have no grid.
  if (first === second) return firstIsGrid ? 1 : 2;
  return first < second ? 1 : 2;
}

/** Most rows of a model that has chosen them, such as object queries: more are a grid's, whatever its size. */
const MOST_CHOSEN = 1000;

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
  const hasMasks = traits.model.outputs.some((info) => info.shape.length === 4 && info.shape[1] === MASK_CHANNELS);
  return { output, channelAxis, channels, rows, rowKind: kind, strides, hasMasks };
}

/**
 * The number of classes among the channels.
 *
 * @param before channels before the classes: 4, or 5 with objectness
 * @returns `undefined` if the names, their number being known, do not fit the channels
 */
export function classesAmong(reading: DenseReading, before: number, traits: ModelTraits): number | undefined {
  const { channels, hasMasks } = reading;
  const { classes, task } = traits;
  const masks = hasMasks ? MASK_CHANNELS : 0;
  if (classes === undefined) return channels - before - masks >= 1 ? channels - before - masks : undefined;
  const extra = channels - before - classes;
  if (extra === 0 || extra === masks) return classes;
  return extra > 0 && (task === "segment" || task === "pose") ? classes : undefined;
}

/** True for DeepStream-Yolo's exports: [N, rows, 6] from `input` to `output`, without metadata. */
export function isDeepStream({ output, channelAxis, channels }: DenseReading, traits: ModelTraits): boolean {
  const { image, family } = traits;
  return (
    channelAxis === 2 && channels === 6 && image.name === "input" && output.name === "output" && family === undefined
  );
}
