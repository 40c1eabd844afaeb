/** @module Classification: what a classifier hands to its caller. */

import { labelOf } from "../../model/labels.ts";
import type { FrameResult } from "../../runtime/job.ts";
import type { TaskResult } from "../task-result.ts";
import type { BestClasses } from "./class-scores.ts";

/** A class that an image is of. */
export interface ImageClass {
  /** Name of the class, or `class 7` where the model has no name for it. */
  readonly label: string;
  readonly classId: number;
  /** 0–1. */
  readonly score: number;
}

/** What one image is of. */
export interface ClassificationResult extends TaskResult {
  readonly task: "classify";
  /** The best of the model's classes, best score first. None where no score is a number. */
  readonly classes: readonly ImageClass[];
}

/** Make a result of what a slot gave for an image. @param startedAt when it was asked for, by `performance.now()` */
export function classificationOf(
  { output, width, height, timings, damage }: FrameResult<BestClasses>,
  startedAt: number,
  labels: readonly string[],
): ClassificationResult {
  const { classIds, scores, count } = output;
  return {
    task: "classify",
    classes: Array.from({ length: count }, (_, at) => {
      const classId = classIds[at]!;
      return { label: labelOf(labels, classId), classId, score: scores[at]! };
    }),
    width,
    height,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}
