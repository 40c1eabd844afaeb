/** @module Person poses: from the points of each person whose box is known to one result. */

import type { FrameResult } from "../../runtime/job.ts";
import type { PixelSize } from "../../runtime/task.ts";
import type { Detection, DetectionResult } from "../detect/detection.ts";
import type { ObjectResult, ObjectsOf, PoseObject } from "../objects/objects.ts";
import type { Timing } from "../task-result.ts";
import { keypointNames, keypointsOf } from "./keypoints.ts";
import { isWithin } from "./person-image.ts";
import type { TopDownSpec } from "./top-down.ts";

/** A person whose points are wanted: a box, and what a detector says of it. */
export type PersonBox = Pick<Detection, "box"> & Partial<Detection>;

/** The points of one person, f32 [points, 3], in pixels of the whole image; and how long its run took. */
export interface PersonPoints {
  readonly values: Float32Array;
  readonly preprocess: number;
  readonly infer: number;
  readonly postprocess: number;
}

/** Copy what a slot gave for a person. */
export function personPoints({ output, timings }: FrameResult<Float32Array>): PersonPoints {
  return { values: output.slice(), ...timings };
}

/** Make points that are no numbers those that COCO has for what is not there: 0, 0 of score 0. @returns true if there were some */
function clearUnfound(values: Float32Array): boolean {
  let hasUnfound = false;
  for (let at = 0; at < values.length; at += 3) {
    if (Number.isFinite(values[at]! + values[at + 1]! + values[at + 2]!)) continue;
    values.fill(0, at, at + 3);
    hasUnfound = true;
  }
  return hasUnfound;
}

/**
 * Make a result of the points of all people of an image. People may be spread over several runs: the longest counts. Each box has
 * its object: people with points that are no numbers are counted in `implausible`.
 */
export function poseResult(
  { width, height }: PixelSize,
  people: readonly PersonBox[],
  found: readonly PersonPoints[],
  { keypoints: form }: TopDownSpec,
  { decode, started }: { readonly decode: number; readonly started: number },
): ObjectsOf<"pose"> {
  const names = keypointNames(form);
  const implausible = found.filter(({ values }) => clearUnfound(values)).length;
  const objects = people.map(({ label = "person", classId = 0, score = 1, box }, at): PoseObject => {
    return { label, classId, score, box, keypoints: keypointsOf(found[at]!.values, 0, form, names) };
  });
  const longest = (stage: "preprocess" | "infer" | "postprocess"): number =>
    found.reduce((most, times) => Math.max(most, times[stage]), 0);
  const stages = { preprocess: longest("preprocess"), infer: longest("infer"), postprocess: longest("postprocess") };
  const timing = { decode, ...stages, total: performance.now() - started };
  return { task: "pose", width, height, objects, dropped: 0, implausible, timing };
}

/** What a detector has found in an image, whatever else it says of it. */
type Found = DetectionResult | ObjectResult;

/** The people in a result whose boxes hold something of the image: of others there are no points. */
export function peopleIn(found: Found): readonly PersonBox[] {
  const people: readonly Detection[] = "detections" in found ? found.detections : found.objects;
  return people.filter(({ box }) => isWithin(box, found));
}

/** The points of the people in a result, with what else that says of the image. Times are those of both. */
export function withFound<Posed extends ObjectsOf<"pose">>(posed: Posed, found: Found): Posed {
  const { dropped, damage } = found;
  const implausible = found.implausible + posed.implausible;
  const both = (stage: keyof Timing): number => found.timing[stage] + posed.timing[stage];
  const timing: Timing = {
    decode: both("decode"),
    preprocess: both("preprocess"),
    infer: both("infer"),
    postprocess: both("postprocess"),
    total: both("total"),
  };
  return Object.assign(posed, { dropped, implausible, ...(damage === undefined ? {} : { damage }), timing });
}
