/** @module Heads `rtdetr-ultralytics` and `rtdetr-ultralytics-rows`: [N, queries, 4+classes] and [N, rows, 6] of Ultralytics' RT-DETR. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { type DenseReading, densePlan, mayBeChosen, readDense } from "./dense-reading.ts";
import { type DensePlan, defineHead, type Head, type RowsPlan } from "./head.ts";
import { decodeRows, rowsPlan } from "./rows.ts";
import type { ModelTraits } from "./traits.ts";

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
