/** @module Head `mmrotate`: oriented boxes with their scores, and labels, as mmdeploy exports MMRotate's detectors. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { defineHead, type Head, saying } from "./head.ts";
import type { PartsPlan } from "./host-plan.ts";
import { decodeParts } from "./parts.ts";
import { FLOATS, findOutput, NUMBERS } from "./traits.ts";

/** Numbers of a row: centre, width, height, angle and score. */
const COLUMNS = 6;

const MEAN = [123.675, 116.28, 103.53] as const;
const STD = [58.395, 57.12, 57.375] as const;

/** RTMDet-R's. */
const BGR = { colour: "BGR", mean: MEAN.toReversed(), std: STD.toReversed(), pad: 114 } as const;

/**
 * Angles are in radians, clockwise on the screen, in all of its versions (oc, le90, le135): these differ in their range only.
 * Padding comes after ImageNet's mean is subtracted, and is 0.
 *
 * @see https://github.com/open-mmlab/mmdeploy (docs/en/04-supported-codebases/mmrotate.md)
 */
export const mmrotate: Head<PartsPlan> = defineHead(
  "mmrotate",
  "outputs dets [N, rows, 6]: cx, cy, w, h in pixels, angle, score, and labels [N, rows]; no NMS (MMRotate, by mmdeploy)",
  decodeParts,
  ({ model }) => {
    const dets = findOutput(model, "dets", 3, FLOATS);
    const labels = findOutput(model, "labels", 2, NUMBERS);
    if (dets?.shape[2] !== COLUMNS || labels === undefined) return undefined;
    const extra = { output: dets.name, order: "anchor-major", channels: COLUMNS } as const;
    const columns = { output: dets.name, width: COLUMNS };
    return {
      outputs: [dets, labels],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "letterbox-top-left", scale: 1, mean: MEAN, std: STD, pad: MEAN },
      assumptions: [
        `RGB with ImageNet's mean and deviation, as most of MMRotate; for RTMDet-R give ${saying(BGR as never)}`,
      ],
      // A file does not tell its classes, and they are hardly ever COCO's.
      names: [],
      needsNms: false,
      extras: [
        { ...extra, name: "sides", first: 0, length: 4 },
        { ...extra, name: "angles", first: 4, length: 1 },
      ],
      plan: {
        kind: "parts",
        boxes: { ...columns, first: 0 },
        scores: { ...columns, first: 5 },
        classes: { output: labels.name, width: 1, first: 0 },
        boxForm: "centre",
        unit: "pixels",
      },
    };
  },
  "obb",
);
