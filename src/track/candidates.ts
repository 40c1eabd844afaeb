/** @module Candidates: the objects of one frame as columns, which trackers compare with what they follow. */

import type { Detection } from "../tasks/detect/detection.ts";
import type { OrientedObject } from "../tasks/objects/objects.ts";

/** So that nothing is divided by 0. */
const EPSILON = 1e-7;

/** Intersection over union of two boxes, each x1, y1, x2, y2. */
export function overlap(a: Float64Array, atA: number, b: Float64Array, atB: number): number {
  const left = Math.max(a[atA]!, b[atB]!);
  const right = Math.min(a[atA + 2]!, b[atB + 2]!);
  if (right <= left) return 0;
  const top = Math.max(a[atA + 1]!, b[atB + 1]!);
  const foot = Math.min(a[atA + 3]!, b[atB + 3]!);
  if (foot <= top) return 0;
  const shared = (right - left) * (foot - top);
  const areaA = (a[atA + 2]! - a[atA]!) * (a[atA + 3]! - a[atA + 1]!);
  const areaB = (b[atB + 2]! - b[atB]!) * (b[atB + 3]! - b[atB + 1]!);
  return shared / (areaA + areaB - shared + EPSILON);
}

/** Numbers of a place. */
export const PLACE = 5;

/** Memory that only grows. */
export class Candidates {
  count = 0;
  /** x1, y1, x2, y2; of oriented boxes as if they lay upright. */
  boxes: Float64Array = new Float64Array(0);
  /** cx, cy, width, height and angle; of oriented boxes the width is the longer side. */
  places: Float64Array = new Float64Array(0);
  scores: Float64Array = new Float64Array(0);
  classIds: Int32Array = new Int32Array(0);
  /** True: the boxes of this frame have angles. */
  isOriented = false;

  /** Take the objects of a frame. */
  load(objects: readonly Detection[]): void {
    this.count = objects.length;
    if (this.scores.length < this.count) {
      const room = 2 * this.count;
      this.boxes = new Float64Array(4 * room);
      this.places = new Float64Array(PLACE * room);
      this.scores = new Float64Array(room);
      this.classIds = new Int32Array(room);
    }
    for (let at = 0; at < this.count; at++) {
      const object = objects[at]!;
      this.scores[at] = object.score;
      this.classIds[at] = object.classId;
      const sides = (object as Partial<OrientedObject>).xywhr;
      this.isOriented = sides !== undefined;
      if (sides !== undefined) this.#loadOriented(at, sides);
      else this.#loadUpright(at, object.box);
    }
  }

  #loadUpright(at: number, [x1, y1, x2, y2]: Detection["box"]): void {
    const { boxes, places } = this;
    boxes[4 * at] = x1;
    boxes[4 * at + 1] = y1;
    boxes[4 * at + 2] = x2;
    boxes[4 * at + 3] = y2;
    places[PLACE * at] = (x1 + x2) / 2;
    places[PLACE * at + 1] = (y1 + y2) / 2;
    places[PLACE * at + 2] = x2 - x1;
    places[PLACE * at + 3] = y2 - y1;
    places[PLACE * at + 4] = 0;
  }

  #loadOriented(at: number, [cx, cy, width, height, angle]: OrientedObject["xywhr"]): void {
    const { boxes, places } = this;
    const isTall = height > width;
    const [long, short] = isTall ? [height, width] : [width, height];
    boxes[4 * at] = cx - long / 2;
    boxes[4 * at + 1] = cy - short / 2;
    boxes[4 * at + 2] = cx + long / 2;
    boxes[4 * at + 3] = cy + short / 2;
    places[PLACE * at] = cx;
    places[PLACE * at + 1] = cy;
    places[PLACE * at + 2] = long;
    places[PLACE * at + 3] = short;
    places[PLACE * at + 4] = isTall ? angle + Math.PI / 2 : angle;
  }

  /** True: it has no width or no height, or is not told. */
  isEmpty(at: number): boolean {
    return !(this.places[PLACE * at + 2]! > 0 && this.places[PLACE * at + 3]! > 0);
  }
}
