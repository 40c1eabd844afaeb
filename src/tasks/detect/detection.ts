/** @module Detection: what a detector hands to its caller. */

import { labelOf } from "../../model/model-info.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { FrameResult } from "../../runtime/job.ts";
import type { TaskResult } from "../task-result.ts";

/** A box in source pixels, float: the pixel at the left edge spans 0 to 1. */
export type Box = readonly [x1: number, y1: number, x2: number, y2: number];

/** One object found in an image. */
export interface Detection {
  /** Name of the class, or `class 7` where the model has no name for it. */
  readonly label: string;
  readonly classId: number;
  /** 0–1. */
  readonly score: number;
  readonly box: Box;
  /** Of the track it belongs to, where objects are followed through a stream: see `bun-tensorrt/track`. */
  readonly trackId?: number;
  /** The last centres of its track in source pixels, oldest first, where the tracker's option `trace` asks for them. */
  readonly trace?: readonly (readonly [x: number, y: number])[];
}

/** What was found in one image. */
export interface DetectionResult extends TaskResult {
  /** Best score first. */
  readonly detections: readonly Detection[];
  /** Rows the model gave that were left out because a score, a coordinate, a point or, on the CPU, what a mask is made of was NaN. */
  readonly dropped: number;
  /**
   * How many of the detections cannot be right: a score above 1, a box outside the image, or all of them alike. Then the head
   * or the pre-processing is another than assumed; the log says so once.
   */
  readonly implausible: number;
}

/** Copy the kept rows of a block into objects. */
export function detectionsOf(block: DetectionBlock, labels: readonly string[]): Detection[] {
  const detections: Detection[] = new Array(block.count);
  for (let row = 0; row < block.count; row++) {
    const classId = block.classIds[row]!;
    const at = row * 4;
    detections[row] = {
      label: labelOf(labels, classId),
      classId,
      score: block.scores[row]!,
      box: [block.boxes[at]!, block.boxes[at + 1]!, block.boxes[at + 2]!, block.boxes[at + 3]!],
    };
  }
  return detections;
}

/** Make a result of what a slot gave for an image. @param startedAt when it was asked for, by `performance.now()` */
export function resultOf(
  { output: block, width, height, timings, damage }: FrameResult<DetectionBlock>,
  startedAt: number,
  labels: readonly string[],
): DetectionResult {
  return {
    detections: detectionsOf(block, labels),
    width,
    height,
    dropped: block.dropped,
    implausible: block.implausible,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}
