/** @module Objects: what models that say more than boxes hand to their callers: one result, told apart by `task`. */

import type { ObjectSpec } from "../../heads/object-reading.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { ReadResult } from "../../runtime/batcher.ts";
import { type Detection, type DetectionResult, resultOf } from "../detect/detection.ts";
import { type Keypoint, keypointNames, keypointsOf } from "../pose/keypoints.ts";

/** An object with its points. */
export interface PoseObject extends Detection {
  /** In the order of the model. */
  readonly keypoints: readonly Keypoint[];
}

/** An object by task. */
export interface ObjectOfTask {
  readonly pose: PoseObject;
}

/** What was found in one image by a model of one task. */
export interface ObjectsOf<Name extends keyof ObjectOfTask> extends Omit<DetectionResult, "detections"> {
  readonly task: Name;
  /** Best score first. */
  readonly objects: readonly ObjectOfTask[Name][];
}

/** What was found in one image; `task` says what its objects have. */
export type ObjectResult = { [Name in keyof ObjectOfTask]: ObjectsOf<Name> }[keyof ObjectOfTask];

/** What a row has beside box, score and class, copied out of its block. */
type RowReader<Object extends Detection> = (block: DetectionBlock, row: number) => Omit<Object, keyof Detection>;

const READERS: { readonly [Name in keyof ObjectOfTask]: (spec: ObjectSpec) => RowReader<ObjectOfTask[Name]> } = {
  pose({ keypoints }) {
    const names = keypointNames(keypoints!);
    return ({ extras }, row) => ({ keypoints: keypointsOf(extras[0]!, row, keypoints!, names) });
  },
};

/** How results of a model are made of what a slot gave for an image. */
export function objectReader<Name extends keyof ObjectOfTask>(
  task: Name,
  spec: ObjectSpec,
): ReadResult<DetectionBlock, ObjectsOf<Name>> {
  const read = READERS[task](spec);
  return (frame, startedAt) => {
    const { detections, ...result } = resultOf(frame, startedAt, spec.labels);
    const objects = detections.map((found, row) => ({ ...found, ...read(frame.output, row) }));
    return { task, ...result, objects: objects as readonly ObjectOfTask[Name][] };
  };
}
