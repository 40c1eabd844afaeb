/** @module Layout `fastestdet`: one grid [N, 5+classes, rows, columns] at stride 16, as FastestDet exports. */

import { type Preprocessing, YOLO_PREPROCESSING } from "../../image/preprocessing.ts";
import { COCO_80 } from "../coco.ts";
import { decodeFastestDet } from "../decode/fastestdet.ts";
import type { Layout, Recognition } from "../layout.ts";
import type { ModelTraits } from "../model-traits.ts";
import { isFloat } from "../outputs.ts";
import type { FastestDetPlan } from "../plan.ts";
import { recognition } from "../recognition.ts";

const STRIDE = 16;

/** Stretched, BGR in 0–1. */
const FASTESTDET_PREPROCESSING: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", colour: "BGR" };

/** @see https://github.com/dog-qiuqiu/FastestDet */
export const fastestdet: Layout<FastestDetPlan> = {
  name: "fastestdet",
  summary: "one output [N, 5+classes, height/16, width/16]: objectness, offsets, a probability a class (FastestDet)",
  recognise(traits: ModelTraits): Recognition<FastestDetPlan> | undefined {
    const [output, ...others] = traits.model.outputs;
    if (output === undefined || others.length > 0 || !isFloat(output) || output.shape.length !== 4) return undefined;
    const [, channels = -1, rows = -1, columns = -1] = output.shape;
    const size = traits.image.fixedSize;
    if (size !== undefined && (columns * STRIDE !== size[0] || rows * STRIDE !== size[1])) return undefined;
    // A map of any depth may be something else, such as a segmentation: the classes must be known, or COCO's.
    const classes = traits.classes ?? (traits.forced ? channels - 5 : COCO_80.length);
    if (classes < 1 || channels !== 5 + classes) return undefined;
    return recognition(fastestdet, traits, {
      outputs: [output],
      preprocessing: FASTESTDET_PREPROCESSING,
      classes,
      needsNms: true,
      plan: { kind: "fastestdet", output: output.name, classes },
    });
  },
  decode: decodeFastestDet,
};
