/** @module Heads `movenet`, `rtmo` and `yolo-nas-pose`: people with their points, a row each. */

import type { TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { stridesOf } from "./dense-reading.ts";
import { defineHead, type Head, type ModelSpecParts } from "./head.ts";
import { columnsOf, type PartsPlan } from "./host-plan.ts";
import { decodeParts } from "./rows.ts";
import { FLOATS, findOutput, INTEGERS, type ModelTraits } from "./traits.ts";

/** Points of COCO's people. */
const COCO_POINTS = 17;

type PersonParts = Omit<ModelSpecParts<PartsPlan>, "plan"> & {
  readonly points: number;
  readonly plan: Omit<PartsPlan, "kind" | "pointCount">;
};

function personHead(
  name: string,
  summary: string,
  find: (traits: ModelTraits) => PersonParts | undefined,
): Head<PartsPlan> {
  return defineHead(
    name,
    summary,
    decodeParts,
    (traits) => {
      const found = find(traits);
      if (found === undefined) return undefined;
      const { points, plan, ...parts } = found;
      return {
        ...parts,
        classes: 1,
        names: ["person"],
        keypoints: { count: points, numbers: 3, names: [] },
        plan: { ...plan, kind: "parts", pointCount: points },
      };
    },
    "pose",
  );
}

/** Of a person: the points, the box and the score. */
const MOVENET_COLUMNS = COCO_POINTS * 3 + 5;

/**
 * Levels of RGB as u8, NHWC, padded with black; made for a longer side of 256.
 *
 * @see https://www.kaggle.com/models/google/movenet
 */
export const movenet: Head<PartsPlan> = personHead(
  "movenet",
  "one output [1, 6, 56]: 17 × (y, x, score), y1, x1, y2, x2, score in 0–1; input u8 [1, height, width, 3] (MoveNet MultiPose)",
  ({ model, image, forced }) => {
    const [output, ...others] = model.outputs;
    if (output?.dtype !== "f32" || others.length > 0 || (!forced && image.dtype !== "u8")) return undefined;
    if (image.layout !== "NHWC" || output.shape.slice(1).join() !== `6,${MOVENET_COLUMNS}`) return undefined;
    return {
      outputs: [output],
      preprocessing: { ...YOLO_PREPROCESSING, scale: 1, pad: [0, 0, 0] },
      needsNms: false,
      preferredSize: [256, 256],
      points: COCO_POINTS,
      plan: {
        points: columnsOf(output, MOVENET_COLUMNS),
        boxes: columnsOf(output, MOVENET_COLUMNS, COCO_POINTS * 3),
        scores: columnsOf(output, MOVENET_COLUMNS, COCO_POINTS * 3 + 4),
        axes: "yx",
        boxUnit: "fraction",
      },
    };
  },
);

/** The points of a tensor [N, rows, points, 3]. */
function pointsIn({ shape }: TensorInfo): number | undefined {
  return shape[2]! > 0 && shape[3] === 3 ? shape[2] : undefined;
}

/**
 * BGR levels, padded right and below. Its NMS is lenient: a lower `iou` suppresses more, 0.45 as rtmlib does.
 *
 * @see https://github.com/open-mmlab/mmpose/tree/main/projects/rtmo
 */
export const rtmo: Head<PartsPlan> = personHead(
  "rtmo",
  "outputs dets [N, rows, 5]: x1, y1, x2, y2 in pixels, score, and keypoints [N, rows, points, 3] (RTMO, by mmdeploy)",
  ({ model }) => {
    const dets = findOutput(model, "dets", 3, FLOATS);
    const keypoints = findOutput(model, "keypoints", 4, FLOATS);
    const points = keypoints && pointsIn(keypoints);
    if (dets?.shape[2] !== 5 || keypoints === undefined || points === undefined) return undefined;
    return {
      outputs: [dets, keypoints],
      preprocessing: { ...YOLO_PREPROCESSING, fit: "letterbox-top-left", colour: "BGR", scale: 1 },
      needsNms: true,
      points,
      plan: {
        boxes: columnsOf(dets, 5),
        scores: columnsOf(dets, 5, 4),
        points: columnsOf(keypoints, points * 3),
      },
    };
  },
);

/** An input of bytes is RGB, which such a model normalises and reverses itself; one of floats is what the network takes, BGR. */
function nasPreprocessing({ image }: ModelTraits): Preprocessing {
  const colour = image.dtype === "u8" ? "RGB" : "BGR";
  return { ...YOLO_PREPROCESSING, fit: "letterbox-top-left", colour, pad: [127, 127, 127] };
}

/** Columns of a row of the flat format before the points: image, box, score. */
const FLAT_COLUMNS = 6;

/** @see https://github.com/Deci-AI/super-gradients (conversion/onnx/pose_nms.py) */
export const yoloNasPoseFlat: Head<PartsPlan> = personHead(
  "yolo-nas-pose-flat",
  'one output "flat_predictions" [rows, 6+points×3]: image, x1, y1, x2, y2 in pixels, score, points; no NMS (YOLO-NAS-pose, flat format)',
  (traits) => {
    const [output, ...others] = traits.model.outputs;
    const width = output?.shape[1] ?? -1;
    if (output === undefined || others.length > 0 || !FLOATS.includes(output.dtype)) return undefined;
    // Of seven columns the last one is a class: YOLO-NAS.
    if (output.shape.length !== 2 || width <= FLAT_COLUMNS + 1 || (width - FLAT_COLUMNS) % 3 !== 0) return undefined;
    if (!traits.forced && !/(^|_)flat_predictions$/.test(output.name)) return undefined;
    return {
      outputs: [output],
      preprocessing: nasPreprocessing(traits),
      needsNms: false,
      points: (width - FLAT_COLUMNS) / 3,
      plan: {
        boxes: columnsOf(output, width, 1),
        scores: columnsOf(output, width, 5),
        points: columnsOf(output, width, FLAT_COLUMNS),
        isNumbered: true,
      },
    };
  },
);

/** Count [N, 1], boxes, scores and points of finished rows. */
export const yoloNasPose: Head<PartsPlan> = personHead(
  "yolo-nas-pose",
  "outputs num_predictions, boxes, scores, joints: [N, 1], [N, rows, 4], [N, rows], [N, rows, points, 3] (YOLO-NAS-pose, batch format)",
  (traits) => {
    const { model } = traits;
    const counts = findOutput(model, /(^|_)num_(predictions|detections)$/, 2, INTEGERS);
    const boxes = findOutput(model, /(^|_)boxes$/, 3, FLOATS);
    const scores = findOutput(model, /(^|_)scores$/, 2, FLOATS);
    const joints = findOutput(model, /(^|_)(joints|poses)$/, 4, FLOATS);
    const points = joints && pointsIn(joints);
    if (!counts || boxes?.shape[2] !== 4 || !scores || !joints || points === undefined) return undefined;
    return {
      outputs: [counts, boxes, scores, joints],
      preprocessing: nasPreprocessing(traits),
      needsNms: false,
      points,
      plan: {
        counts: counts.name,
        boxes: columnsOf(boxes, 4),
        scores: columnsOf(scores, 1),
        points: columnsOf(joints, points * 3),
      },
    };
  },
);

/**
 * Exported with `postprocessing=False`: every anchor's box, score, points and their scores, told apart by their shapes.
 *
 * @see https://github.com/Deci-AI/super-gradients (yolo_nas_pose_ndfl_heads.py)
 */
export const yoloNasPoseRaw: Head<PartsPlan> = personHead(
  "yolo-nas-pose-raw",
  "four outputs before NMS: [N, anchors, 4], [N, anchors, 1], [N, anchors, points, 2], [N, anchors, points] (YOLO-NAS-pose)",
  (traits) => {
    const { outputs } = traits.model;
    const points = outputs.find(({ shape }) => shape.length === 4 && shape[3] === 2);
    const count = points?.shape[2] ?? -1;
    const anchors = points?.shape[1] ?? -1;
    if (points === undefined || count < 2 || count === 4 || outputs.length !== 4) return undefined;
    if (outputs.some(({ dtype, shape }) => !FLOATS.includes(dtype) || shape[1] !== anchors)) return undefined;
    if (anchors >= 0 && stridesOf(anchors, traits.shapesAt, 1) === undefined) return undefined;
    const [boxes, scores, pointScores] = [4, 1, count].map((width) =>
      outputs.find(({ shape }) => shape.length === 3 && shape[2] === width),
    );
    if (!boxes || !scores || !pointScores) return undefined;
    return {
      outputs: [boxes, scores, points, pointScores],
      preprocessing: nasPreprocessing(traits),
      needsNms: true,
      points: count,
      plan: {
        boxes: columnsOf(boxes, 4),
        scores: columnsOf(scores, 1),
        points: columnsOf(points, count * 2),
        pointScores: columnsOf(pointScores, count),
      },
    };
  },
);
