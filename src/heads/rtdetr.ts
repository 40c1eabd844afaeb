/**
 * @module Heads of RT-DETR and its kin: `rtdetr` and `deimv2-imagenet`, whose labels, boxes and scores come of the input orig_target_sizes, and
 * `rtdetr-ultralytics` and `rtdetr-ultralytics-rows`: [N, queries, 4+classes] and [N, rows, 6].
 */

import type { DType, TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { type DenseReading, densePlan, mayBeChosen, readDense } from "./dense-reading.ts";
import { defineHead, type Head, type ModelSpecParts } from "./head.ts";
import { DETR_PREPROCESSING, RTDETR_PREPROCESSING } from "./hugging-face.ts";
import type { ColumnsPlan, DensePlan, RowsPlan } from "./plans.ts";
import { decodeColumns, decodeRows, rowsPlan } from "./rows.ts";
import { FLOATS, findOutput, INTEGERS, type ModelTraits, NUMBERS } from "./traits.ts";

type Found = TensorInfo | undefined;

/** Labels, boxes and scores: by name, or of a model whose head the caller named by dtype and shape. */
function outputsOf({ model, forced }: ModelTraits): readonly [labels: Found, boxes: Found, scores: Found] {
  const boxes = findOutput(model, "boxes", 3, FLOATS);
  const scores = findOutput(model, "scores", 2, FLOATS);
  const labels = findOutput(model, "labels", 2, NUMBERS);
  if (!forced || (boxes ?? scores ?? labels) !== undefined) return [labels, boxes, scores];
  const only = (rank: number, dtypes: readonly DType[]): Found => {
    const [one, ...others] = model.outputs.filter((info) => info.shape.length === rank && dtypes.includes(info.dtype));
    return others.length === 0 ? one : undefined;
  };
  return [only(2, INTEGERS), only(3, FLOATS), only(2, FLOATS)];
}

function find(traits: ModelTraits, preprocessing: Preprocessing): ModelSpecParts<ColumnsPlan> | undefined {
  const { model } = traits;
  const [labels, boxes, scores] = outputsOf(traits);
  const size = model.inputs.find((info) => info.name === "orig_target_sizes" && info.shape.length === 2);
  if (boxes === undefined || scores === undefined || labels === undefined || size === undefined) return undefined;
  if (boxes.shape[2] !== 4 || (size.dtype !== "i64" && size.dtype !== "i32" && size.dtype !== "f32")) return undefined;
  return {
    outputs: [labels, boxes, scores],
    preprocessing,
    needsNms: false,
    // Upstream passes PIL's size, (width, height); with the input's own size boxes come out in input pixels.
    sizeInputs: [{ name: size.name, dtype: size.dtype, content: "width-height" }],
    plan: { kind: "columns", boxes: boxes.name, scores: scores.name, classes: labels.name },
  };
}

/** RT-DETR, RT-DETRv2, D-FINE, DEIM and DEIMv2 atto, femto, pico and N: stretched with antialias, RGB in 0–1. */
export const rtdetr: Head<ColumnsPlan> = defineHead(
  "rtdetr",
  "input orig_target_sizes; outputs labels [N, rows], boxes [N, rows, 4], scores [N, rows] (RT-DETR, D-FINE, DEIM)",
  decodeColumns,
  (traits) => find(traits, RTDETR_PREPROCESSING),
);

/** DEIMv2 S, M, L and X, which want ImageNet's mean and deviation as well. Nothing in the file tells: name it. */
export const deimv2Imagenet: Head<ColumnsPlan> = defineHead(
  "deimv2-imagenet",
  "as rtdetr, normalised with ImageNet's mean and deviation (DEIMv2 S, M, L, X); never recognised, name it",
  decodeColumns,
  (traits) => (traits.forced ? find(traits, DETR_PREPROCESSING) : undefined),
);

/** Columns that, without class names, are an end-to-end or oriented YOLO rather than two or three classes. */
const OTHERS: readonly number[] = [6, 7];

/** Columns of a row: a box, a score and a class. */
const ROW_COLUMNS = 6;

/** True if it was exported by Ultralytics 8.4.47 or newer, which give rows; `undefined` if the metadata does not tell. */
function givesRows({ model }: ModelTraits): boolean | undefined {
  const [version] = /^\d+\.\d+\.\d+/.exec(model.metadata.version ?? "") ?? [];
  return version === undefined ? undefined : Bun.semver.order(version, "8.4.47") >= 0;
}

function fits(reading: DenseReading, traits: ModelTraits): boolean {
  const { classes, family } = traits;
  if (family === "yolo" || reading.hasMasks) return false;
  // Six columns are rows, or two classes: what wrote them tells.
  if (family === "rtdetr") return reading.channels !== ROW_COLUMNS || givesRows(traits) !== true;
  return mayBeChosen(reading) && (classes !== undefined || !OTHERS.includes(reading.channels));
}

/** Boxes cx, cy, w, h as fractions of the input; probabilities; final: one row a query, its best class. */
export const rtdetrUltralytics: Head<DensePlan> = defineHead(
  "rtdetr-ultralytics",
  "one output [N, 300, 4+classes]: cx, cy, w, h in 0–1, a probability a class; no NMS (Ultralytics RT-DETR before 8.4.47)",
  decodeDense,
  (traits) => {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || reading.channels < 5) return undefined;
    const classes = traits.classes ?? reading.channels - 4;
    if (reading.channels !== 4 + classes) return undefined;
    if (!traits.forced && !fits(reading, traits)) return undefined;
    return {
      outputs: [reading.output],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" },
      classes,
      needsNms: false,
      plan: densePlan(reading, classes, "class", "fraction"),
    };
  },
);

/**
 * Boxes cx, cy, w, h as fractions of the input, score, class; final.
 *
 * @see https://github.com/ultralytics/ultralytics/pull/24403
 */
export const rtdetrUltralyticsRows: Head<RowsPlan> = defineHead(
  "rtdetr-ultralytics-rows",
  "one output [N, rows, 6]: cx, cy, w, h in 0–1, score, class; no NMS (Ultralytics RT-DETR from 8.4.47 on)",
  decodeRows,
  (traits) => {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || reading.channels !== ROW_COLUMNS) return undefined;
    if (!traits.forced) {
      if (traits.family !== "rtdetr" || reading.hasMasks) return undefined;
      // Of another number of classes the older head has other columns.
      const mayBeOlder = traits.classes === undefined || traits.classes === ROW_COLUMNS - 4;
      if (mayBeOlder && givesRows(traits) === false) return undefined;
    }
    return {
      outputs: [reading.output],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" },
      needsNms: false,
      plan: { ...rowsPlan(reading.output, ROW_COLUMNS), boxForm: "centre", boxUnit: "fraction" },
    };
  },
);
