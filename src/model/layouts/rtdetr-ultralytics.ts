/** @module Layout `rtdetr-ultralytics`: [N, queries, 4+classes], as Ultralytics exports RT-DETR. */

import { YOLO_PREPROCESSING } from "../../image/preprocessing.ts";
import { decodeDense } from "../decode/dense.ts";
import { densePlan } from "../dense-plan.ts";
import { type DenseReading, mayBeChosen, readDense } from "../dense-reading.ts";
import type { Layout, Recognition } from "../layout.ts";
import type { ModelTraits } from "../model-traits.ts";
import type { DensePlan } from "../plan.ts";
import { recognition } from "../recognition.ts";

/** Columns that, without class names, are an end-to-end or oriented YOLO rather than two or three classes. */
const OTHERS: readonly number[] = [6, 7];

function fits(reading: DenseReading, traits: ModelTraits): boolean {
  const { classes, family } = traits;
  if (family === "yolo" || reading.hasMasks) return false;
  if (family === "rtdetr") return true;
  return mayBeChosen(reading) && (classes !== undefined || !OTHERS.includes(reading.channels));
}

/** Boxes cx, cy, w, h as fractions of the input; probabilities; final: one row a query, its best class. */
export const rtdetrUltralytics: Layout<DensePlan> = {
  name: "rtdetr-ultralytics",
  summary: "one output [N, 300, 4+classes]: cx, cy, w, h in 0–1, a probability a class; no NMS (Ultralytics RT-DETR)",
  recognise(traits: ModelTraits): Recognition<DensePlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || reading.channels < 5) return undefined;
    const classes = traits.classes ?? reading.channels - 4;
    if (reading.channels !== 4 + classes) return undefined;
    if (!traits.forced && !fits(reading, traits)) return undefined;
    return recognition(rtdetrUltralytics, traits, {
      outputs: [reading.output],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" },
      classes,
      needsNms: false,
      plan: densePlan(reading, classes, "class", "fraction"),
    });
  },
  decode: decodeDense,
};
