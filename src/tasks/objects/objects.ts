/**
 * @module Objects: what models that say more than boxes hand to their callers: one result, told apart by `task`; of key points
 * also their names and the lines between them, of masks those of objects that slices have shared.
 */

import type { KeypointForm } from "../../heads/head.ts";
import type { ObjectSpec } from "../../heads/object-reading.ts";
import type { Region } from "../../image/geometry.ts";
import { labelOf } from "../../model/model-info.ts";
import { type DetectionBlock, moveRow } from "../../model/rows.ts";
import type { ReadResult } from "../../runtime/batcher.ts";
import type { Box } from "../boxes.ts";
import type { Detection, DetectionResult } from "../detect/detection.ts";
import { rotatedCorners } from "../obb/rotated.ts";
import { blankMask, type Mask, wordsOf } from "../segment/mask.ts";

/** A point of an object, in source pixels. */
export interface Keypoint {
  readonly x: number;
  readonly y: number;
  /** How sure the model is that it can be seen, 0–1; 1 where the model does not tell. */
  readonly score: number;
  /** `left_shoulder`; `point 3` where the model has no name for it. */
  readonly name: string;
}

/** The points of a person, in COCO's order. */
export const COCO_KEYPOINTS: readonly string[] = [
  ...["nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"],
  ...["right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"],
  ...["left_ankle", "right_ankle"],
];

/** Pairs of COCO's points that are joined when a person is drawn. */
export const COCO_SKELETON: readonly (readonly [from: number, to: number])[] = [
  ...([
    [15, 13],
    [13, 11],
    [16, 14],
    [14, 12],
    [11, 12],
    [5, 11],
    [6, 12],
    [5, 6],
    [5, 7],
    [6, 8],
  ] as const),
  ...([
    [7, 9],
    [8, 10],
    [1, 2],
    [0, 1],
    [0, 2],
    [1, 3],
    [2, 4],
    [3, 5],
    [4, 6],
  ] as const),
];

/** Points of a lower score are not drawn. */
export const DRAWN_KEYPOINT_SCORE = 0.25;

/** One name a point: the model's, COCO's where it has as many points, else numbers. */
export function keypointNames({ count, names }: KeypointForm): readonly string[] {
  if (names.length > 0) return names;
  if (count === COCO_KEYPOINTS.length) return COCO_KEYPOINTS;
  return Array.from({ length: count }, (_, at) => `point ${at}`);
}

/**
 * Map the points of the kept rows to source pixels. Those beyond the edge of the image are moved onto it where the family does so.
 * Rows with a point that is no number are left out, and counted. What `pointsToSource` does, in one pass with the search for these.
 */
export function mapKeypoints(block: DetectionBlock, { count, numbers, isClipped }: KeypointForm, region: Region): void {
  const points = block.extras[0]!;
  const length = count * numbers;
  const { x, y, padX, padY, scaleX, scaleY } = region;
  const left = isClipped ? Math.max(x, 0) : Number.NEGATIVE_INFINITY;
  const top = isClipped ? Math.max(y, 0) : Number.NEGATIVE_INFINITY;
  const right = isClipped ? Math.min(x + region.width, region.sourceWidth) : Number.POSITIVE_INFINITY;
  const bottom = isClipped ? Math.min(y + region.height, region.sourceHeight) : Number.POSITIVE_INFINITY;
  let kept = 0;
  for (let row = 0; row < block.count; row++) {
    // A sum of some f32 cannot overflow in f64: it is finite if all are.
    let sum = 0;
    const end = (row + 1) * length;
    for (let at = row * length; at < end; at += numbers) {
      const inputX = points[at]!;
      const inputY = points[at + 1]!;
      sum += inputX + inputY;
      if (numbers === 3) sum += points[at + 2]!;
      points[at] = Math.min(Math.max((inputX - padX) / scaleX + x, left), right);
      points[at + 1] = Math.min(Math.max((inputY - padY) / scaleY + y, top), bottom);
    }
    if (!Number.isFinite(sum)) continue;
    if (kept < row) moveRow(block, row, kept);
    kept += 1;
  }
  block.dropped += block.count - kept;
  block.count = kept;
}

/** The points of a row. @param values of all rows, as they were fetched */
export function keypointsOf(
  values: Float32Array,
  row: number,
  { count, numbers }: KeypointForm,
  names: readonly string[],
): Keypoint[] {
  const points: Keypoint[] = new Array(count);
  for (let point = 0, at = row * count * numbers; point < count; point++, at += numbers) {
    const score = numbers === 3 ? values[at + 2]! : 1;
    points[point] = { x: values[at]!, y: values[at + 1]!, score, name: names[point]! };
  }
  return points;
}

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

/** The pixels that belong to any of some masks of one image. @param masks at least one */
function unionOf(masks: readonly Mask[]): Mask {
  const [first] = masks as [Mask, ...Mask[]];
  const filled = masks.filter(({ bounds }) => bounds.width > 0);
  if (filled.length < 2) return filled[0] ?? first;
  const union = blankMask(first.width, first.height, {
    left: Math.min(...filled.map(({ bounds }) => bounds.x)),
    top: Math.min(...filled.map(({ bounds }) => bounds.y)),
    right: Math.max(...filled.map(({ bounds }) => bounds.x + bounds.width)),
    bottom: Math.max(...filled.map(({ bounds }) => bounds.y + bounds.height)),
  });
  for (const mask of filled) paint(union, mask);
  return union;
}

/** Set the bits of a mask in one whose bounds hold it. */
function paint(target: Mask, { bounds, bits }: Mask): void {
  const words = wordsOf(bounds.width);
  const targetWords = wordsOf(target.bounds.width);
  const offset = bounds.x - target.bounds.x;
  const shift = offset & 31;
  for (let row = 0; row < bounds.height; row++) {
    let to = (bounds.y - target.bounds.y + row) * targetWords + (offset >>> 5);
    for (let word = row * words; word < (row + 1) * words; word++, to++) {
      const pixels = bits[word]!;
      target.bits[to]! |= pixels << shift;
      const rest = shift === 0 ? 0 : pixels >>> (32 - shift);
      // Bits beyond the width are 0: there is a word for those that are not.
      if (rest !== 0) target.bits[to + 1]! |= rest;
    }
  }
}

/** The masks of merged rows: each of one mask, or of several that are joined when it is asked for. */
export class MergedMasks implements RowMasks {
  readonly #parts: (readonly [masks: RowMasks, row: number])[][] = [];

  get length(): number {
    return this.#parts.length;
  }

  /** Have a further row, of one mask so far. */
  begin(masks: RowMasks, row: number): void {
    this.#parts.push([[masks, row]]);
  }

  /** Have the last row grow over a mask. */
  add(masks: RowMasks, row: number): void {
    this.#parts.at(-1)!.push([masks, row]);
  }

  at(row: number): Mask | undefined {
    const parts = this.#parts[row];
    return parts && unionOf(parts.map(([masks, part]) => masks.at(part)!));
  }
}
