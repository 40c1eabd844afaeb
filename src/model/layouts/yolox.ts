/** @module Layouts `yolox` and `yolox-decoded`: [N, cells, 5+classes], as YOLOX exports without and with its decoder. */

import type { Preprocessing } from "../../image/preprocessing.ts";
import { decodeDense } from "../decode/dense.ts";
import { decodeGrid } from "../decode/grid.ts";
import { densePlan } from "../dense-plan.ts";
import { classesAmong, type DenseReading, isDeepStream, readDense } from "../dense-reading.ts";
import type { Layout, Recognition } from "../layout.ts";
import type { ModelTraits } from "../model-traits.ts";
import type { DensePlan, GridPlan } from "../plan.ts";
import { recognition } from "../recognition.ts";

/** Top-left letterbox padded with 114, BGR levels 0–255 as they are. */
const YOLOX_PREPROCESSING: Preprocessing = {
  fit: "letterbox-top-left",
  resize: "bilinear",
  colour: "BGR",
  layout: "NCHW",
  dtype: "f32",
  scale: 1,
  mean: [0, 0, 0],
  std: [1, 1, 1],
  pad: [114, 114, 114],
};

/** COCO's 80 classes without objectness. */
const COCO_WITHOUT_OBJECTNESS = 84;

/** YOLOX writes no metadata; `outputs` is YOLOv6's name, and `output0` with open axes YOLOv5's. */
function fits(reading: DenseReading, traits: ModelTraits): boolean {
  const { output, rowKind, channels } = reading;
  if (rowKind !== "cells" && rowKind !== "dynamic") return false;
  if (traits.family !== undefined || isDeepStream(reading, traits) || output.name === "outputs") return false;
  if (rowKind === "dynamic" && output.name === "output0") return false;
  return traits.classes !== undefined || channels !== COCO_WITHOUT_OBJECTNESS;
}

/** Undecoded: offsets and logarithms of sizes in strides. What YOLOX's export does by default. */
export const yolox: Layout<GridPlan> = {
  name: "yolox",
  summary: "one output [N, cells, 5+classes], undecoded: offsets in cells, objectness, a probability a class (YOLOX)",
  recognise(traits: ModelTraits): Recognition<GridPlan> | undefined {
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2 || reading.hasMasks) return undefined;
    const classes = classesAmong(reading, 5, traits);
    if (classes === undefined || (!traits.forced && !fits(reading, traits))) return undefined;
    return recognition(yolox, traits, {
      outputs: [reading.output],
      preprocessing: YOLOX_PREPROCESSING,
      classes,
      needsNms: true,
      plan: { kind: "grid", output: reading.output.name, classes, strides: reading.strides },
    });
  },
  decode: decodeGrid,
};

/** Exported with `--decode_in_inference`: boxes in pixels. Nothing in the file tells it from `yolox`: name it. */
export const yoloxDecoded: Layout<DensePlan> = {
  name: "yolox-decoded",
  summary: "as yolox, exported with --decode_in_inference: boxes in pixels; never recognised, name it",
  recognise(traits: ModelTraits): Recognition<DensePlan> | undefined {
    if (!traits.forced) return undefined;
    const reading = readDense(traits);
    if (reading === undefined || reading.channelAxis !== 2) return undefined;
    const classes = classesAmong(reading, 5, traits);
    if (classes === undefined) return undefined;
    return recognition(yoloxDecoded, traits, {
      outputs: [reading.output],
      preprocessing: YOLOX_PREPROCESSING,
      classes,
      needsNms: true,
      plan: densePlan(reading, classes, "product"),
    });
  },
  decode: decodeDense,
};
