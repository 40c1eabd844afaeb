/** @module Objects: what models that say more than boxes hand to their callers: one result, told apart by `task`. */

import type { ObjectSpec } from "../../heads/object-reading.ts";
import { labelOf } from "../../model/model-info.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { ReadResult } from "../../runtime/batcher.ts";
import type { Box, Detection, DetectionResult } from "../detect/detection.ts";
import { rotatedCorners } from "../obb/rotated.ts";
import { type Keypoint, keypointNames, keypointsOf } from "../pose/keypoints.ts";
import type { Mask } from "../segment/mask.ts";

/** An object with its points. */
export interface PoseObject extends Detection {
  /** In the order of the model. */
  readonly keypoints: readonly Keypoint[];
}

/** A place in source pixels. */
export type Point = readonly [x: number, y: number];

/** An object with its oriented box. `box` is the upright one around it; neither is clipped to the image. */
export interface OrientedObject extends Detection {
  /** In source pixels, one after the other around the box. */
  readonly corners: readonly [Point, Point, Point, Point];
  /** Of the side that `xywhr` calls width, in radians, clockwise on the screen: from -π/4 up to 3π/4. */
  readonly angle: number;
  /** Centre, width and height in source pixels, and the angle. */
  readonly xywhr: readonly [cx: number, cy: number, width: number, height: number, angle: number];
}

/** An object with its mask. */
export interface SegmentedObject extends Detection {
  /**
   * Its pixels: in the image, of which none lies outside of its box, or in what the option `maskSize` says. Made when it is first
   * asked for.
   */
  readonly mask: Mask;
}

/** The masks of the kept rows of an image: of that image, whatever becomes of the block. */
export interface RowMasks {
  readonly length: number;
  at(row: number): Mask | undefined;
}

/** The kept rows of an image with the mask of each. */
export interface MaskedBlock extends DetectionBlock {
  readonly masks: RowMasks;
}

/** Hand masks over with the block whose rows they are of. */
export function giveMasks(block: DetectionBlock, masks: RowMasks): void {
  (block as { -readonly [Name in keyof MaskedBlock]: MaskedBlock[Name] }).masks = masks;
}

/** An object by task. */
export interface ObjectOfTask {
  readonly obb: OrientedObject;
  readonly pose: PoseObject;
  readonly segment: SegmentedObject;
}

/** What was found in one image by a model of one task. */
export interface ObjectsOf<Name extends keyof ObjectOfTask> extends Omit<DetectionResult, "detections"> {
  readonly task: Name;
  /** Best score first. */
  readonly objects: readonly ObjectOfTask[Name][];
}

/** What was found in one image; `task` says what its objects have. */
export type ObjectResult = { [Name in keyof ObjectOfTask]: ObjectsOf<Name> }[keyof ObjectOfTask];

/** Copies a row out of its block. */
type RowReader<Object extends Detection> = (block: DetectionBlock, row: number) => Object;

/** The eight numbers of one box's corners. */
const corner = new Float64Array(new ArrayBuffer(64));

/** Copies a row's box out of its block. */
function boxAt(boxes: Float32Array, row: number): Box {
  const at = row * 4;
  return [boxes[at]!, boxes[at + 1]!, boxes[at + 2]!, boxes[at + 3]!];
}

// Each reader makes its object at once, field by field: adding to another, spreading it, or an array into names, takes as long as
// all the rest.
const READERS: { readonly [Name in keyof ObjectOfTask]: (spec: ObjectSpec) => RowReader<ObjectOfTask[Name]> } = {
  obb({ labels }) {
    return ({ classIds, scores, boxes, extras }, row) => {
      const sides = extras[0]!;
      const angle = extras[1]![row]!;
      const at = row * 4;
      const classId = classIds[row]!;
      const xywhr = [sides[at]!, sides[at + 1]!, sides[at + 2]!, sides[at + 3]!, angle] as const;
      rotatedCorners(xywhr, 0, corner);
      return {
        label: labelOf(labels, classId),
        classId,
        score: scores[row]!,
        box: boxAt(boxes, row),
        corners: [
          [corner[0]!, corner[1]!],
          [corner[2]!, corner[3]!],
          [corner[4]!, corner[5]!],
          [corner[6]!, corner[7]!],
        ],
        angle,
        xywhr,
      };
    };
  },
  pose({ labels, keypoints }) {
    const form = keypoints!;
    const names = keypointNames(form);
    return ({ classIds, scores, boxes, extras }, row) => {
      const classId = classIds[row]!;
      return {
        label: labelOf(labels, classId),
        classId,
        score: scores[row]!,
        box: boxAt(boxes, row),
        keypoints: keypointsOf(extras[0]!, row, form, names),
      };
    };
  },
  segment({ labels }) {
    return (block, row) => {
      const { classIds, scores, boxes, masks } = block as MaskedBlock;
      const classId = classIds[row]!;
      let mask: Mask | undefined;
      return {
        label: labelOf(labels, classId),
        classId,
        score: scores[row]!,
        box: boxAt(boxes, row),
        // Made when it is asked for: of most frames of a video nobody asks for all.
        get mask(): Mask {
          mask ??= masks.at(row)!;
          return mask;
        },
      };
    };
  },
};

/** How results of a model are made of what a slot gave for an image. */
export function objectReader<Name extends keyof ObjectOfTask>(
  task: Name,
  spec: ObjectSpec,
): ReadResult<DetectionBlock, ObjectsOf<Name>> {
  const read = READERS[task](spec);
  return ({ output: block, width, height, timings, damage }, startedAt) => {
    const { count, dropped, implausible } = block;
    const objects: ObjectOfTask[Name][] = new Array(count);
    for (let row = 0; row < count; row++) objects[row] = read(block, row);
    const { decode, preprocess, infer, postprocess } = timings;
    const timing = { decode, preprocess, infer, postprocess, total: performance.now() - startedAt };
    const result = { task, width, height, dropped, implausible, timing };
    return damage === undefined ? { ...result, objects } : { ...result, damage, objects };
  };
}
