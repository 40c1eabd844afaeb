/** @module Head `yolov4`: outputs boxes [N, rows, 1, 4] and confs [N, rows, classes], as pytorch-YOLOv4 exports. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { type DensePlan, type Head, type ModelSpec, recognition } from "./head.ts";
import { FLOATS, findOutput, type ModelTraits } from "./traits.ts";

/**
 * Boxes x1, y1, x2, y2 as fractions of the input; confs is objectness × class already; images are stretched.
 *
 * @see https://github.com/Tianxiaomo/pytorch-YOLOv4 (tool/yolo_layer.py, tool/utils.py)
 */
export const yolov4: Head<DensePlan> = {
  name: "yolov4",
  summary: "outputs boxes [N, rows, 1, 4]: x1, y1, x2, y2 in 0–1, and confs [N, rows, classes] (pytorch-YOLOv4)",
  recognise(traits: ModelTraits): ModelSpec<DensePlan> | undefined {
    const boxes = findOutput(traits.model, "boxes", 4, FLOATS);
    const confs = findOutput(traits.model, "confs", 3, FLOATS);
    const classes = confs?.shape[2] ?? -1;
    if (boxes === undefined || confs === undefined || confs.dtype !== boxes.dtype || classes < 1) return undefined;
    if (boxes.shape[2] !== 1 || boxes.shape[3] !== 4) return undefined;
    if (traits.classes !== undefined && traits.classes !== classes) return undefined;
    return recognition(yolov4, traits, {
      outputs: [boxes, confs],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "stretch" },
      classes,
      needsNms: true,
      plan: {
        kind: "dense",
        output: confs.name,
        order: "anchor-major",
        channels: classes,
        classes,
        classChannel: 0,
        score: "class",
        boxUnit: "fraction",
        boxForm: "corners",
        boxes: boxes.name,
      },
    });
  },
  decode: decodeDense,
};
