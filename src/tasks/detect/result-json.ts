/** @module ResultJson: a result as JSON, the same from the command line, the server and the worker. */

import type { DetectionResult, Timing } from "./detection.ts";

/** One object in JSON. */
export interface DetectionJson {
  readonly label: string;
  readonly classId: number;
  /** 0–1, six digits. */
  readonly score: number;
  /** `[x1, y1, x2, y2]` in source pixels, three digits. */
  readonly box: readonly number[];
}

/** What one image becomes in JSON. */
export interface ResultJson {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Best score first. */
  readonly detections: readonly DetectionJson[];
  /** Rows left out because a score or a coordinate was NaN. */
  readonly dropped: number;
  /** Detections that cannot be right; see `DetectionResult`. */
  readonly implausible: number;
  /** Milliseconds by stage, three digits. */
  readonly timing: Timing;
  /** Why some of the image's pixels are not those of its file; left out where all are. */
  readonly damage?: string;
}

/** Round for printing: the model's own precision is lower. */
export function round(value: number, digits: number): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}

/** A result as an object for `JSON.stringify`; keys in this order. */
export function resultJson(result: DetectionResult): ResultJson {
  const { width, height, dropped, implausible, timing, damage } = result;
  return {
    width,
    height,
    detections: result.detections.map(({ label, classId, score, box: [x1, y1, x2, y2] }) => ({
      label,
      classId,
      score: round(score, 6),
      box: [round(x1, 3), round(y1, 3), round(x2, 3), round(y2, 3)],
    })),
    dropped,
    implausible,
    timing: {
      decode: round(timing.decode, 3),
      preprocess: round(timing.preprocess, 3),
      infer: round(timing.infer, 3),
      postprocess: round(timing.postprocess, 3),
      total: round(timing.total, 3),
    },
    ...(damage === undefined ? {} : { damage }),
  };
}
