/**
 * @module Assignment: the objects of one frame as columns, which trackers compare with what they follow, and which track goes with which
 * of them, at the lowest total cost, where most pairs are out of the question.
 */

import { ArgumentError, message } from "../core/errors.ts";
import { received } from "../core/options.ts";
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

/**
 * Pairs rows with columns so that the sum of the costs of the pairs, and of half the limit for each row and column that stays
 * alone, is the lowest there is. So a pair of a cost above the limit is never made, and is not even added.
 *
 * Only pairs that were added are looked at: of 200 objects each overlaps a few. Shortest augmenting paths over reduced costs, as
 * in Jonker and Volgenant's algorithm, with a column for each row that stands for staying alone. Owns its memory, which only grows.
 */
export class Assignment {
  #rows = 0;
  #columns = 0;
  #pairs = 0;
  #limit = 0;
  /** Of the pairs of a row: the first, and one behind the last. */
  #begin = new Int32Array(1);
  #pairColumn = new Int32Array(64);
  /** What a pair costs more than both staying alone: at most 0. */
  #pairCost = new Float64Array(64);
  /** By row: its column, -1 for none. */
  columnOf: Int32Array = new Int32Array(0);
  /** By column: its row, -1 for none. */
  rowOf: Int32Array = new Int32Array(0);
  /** By column: its potential. */
  #price = new Float64Array(0);
  #distance = new Float64Array(0);
  /** By column: the row from which it was reached. */
  #from = new Int32Array(0);
  /** By column: 0 never seen on this path, 1 seen, 2 done. */
  #mark = new Uint8Array(0);
  #seen = new Int32Array(0);

  /** Begin anew. @param limit a pair of a higher cost is never made */
  start(columns: number, limit: number): void {
    this.#rows = 0;
    this.#pairs = 0;
    this.#columns = columns;
    this.#limit = limit;
    if (this.rowOf.length < columns) {
      const room = 2 * columns;
      this.rowOf = new Int32Array(room);
      this.#price = new Float64Array(room);
      this.#distance = new Float64Array(room);
      this.#from = new Int32Array(room);
      this.#mark = new Uint8Array(room);
      this.#seen = new Int32Array(room);
    }
  }

  /** The next row; its pairs follow. */
  addRow(): void {
    if (this.#begin.length < this.#rows + 2) {
      const begin = new Int32Array(2 * (this.#rows + 2));
      begin.set(this.#begin);
      this.#begin = begin;
      this.columnOf = new Int32Array(begin.length);
    }
    this.#begin[this.#rows] = this.#pairs;
    this.#rows += 1;
    this.#begin[this.#rows] = this.#pairs;
  }

  /** What the row that was added last costs with a column. */
  add(column: number, cost: number): void {
    const above = cost - this.#limit;
    if (!(above <= 0)) return;
    if (this.#pairs === this.#pairColumn.length) {
      const columns = new Int32Array(2 * this.#pairs);
      const costs = new Float64Array(2 * this.#pairs);
      columns.set(this.#pairColumn);
      costs.set(this.#pairCost);
      this.#pairColumn = columns;
      this.#pairCost = costs;
    }
    this.#pairColumn[this.#pairs] = column;
    this.#pairCost[this.#pairs] = above;
    this.#pairs += 1;
    this.#begin[this.#rows] = this.#pairs;
  }

  /** Pair them: {@linkcode columnOf} and {@linkcode rowOf} say how. */
  solve(): void {
    this.rowOf.fill(-1, 0, this.#columns);
    this.#price.fill(0, 0, this.#columns);
    this.#mark.fill(0, 0, this.#columns);
    this.columnOf.fill(-1, 0, this.#rows);
    for (let row = 0; row < this.#rows; row++) this.#place(row);
  }

  /** Extend the pairing by a row. */
  #place(row: number): void {
    const price = this.#price;
    const distance = this.#distance;
    const from = this.#from;
    const mark = this.#mark;
    const seen = this.#seen;
    let count = 0;
    // The cheapest row on the way to stay alone, and what the way there costs; without a pair every row does for nothing.
    let alone = row;
    let lowest = 0;
    let current = row;
    let offset = 0;
    let end = -1;
    for (;;) {
      for (let at = this.#begin[current]!; at < this.#begin[current + 1]!; at++) {
        const column = this.#pairColumn[at]!;
        if (mark[column] === 2) continue;
        const length = this.#pairCost[at]! - price[column]! - offset;
        if (mark[column] === 1 && length >= distance[column]!) continue;
        if (mark[column] === 0) seen[count++] = column;
        mark[column] = 1;
        distance[column] = length;
        from[column] = current;
      }
      let nearest = -1;
      for (let at = 0; at < count; at++) {
        const column = seen[at]!;
        if (mark[column] === 1 && (nearest < 0 || distance[column]! < distance[nearest]!)) nearest = column;
      }
      if (nearest < 0 || distance[nearest]! > lowest) break;
      if (this.rowOf[nearest] === -1) {
        end = nearest;
        lowest = distance[nearest]!;
        break;
      }
      mark[nearest] = 2;
      current = this.rowOf[nearest]!;
      // The pair of a row that is placed is tight: what it costs less its price is the row's own potential.
      offset = this.#costOf(current, nearest) - price[nearest]! - distance[nearest]!;
      if (-offset < lowest) {
        lowest = -offset;
        alone = current;
      }
    }
    for (let at = 0; at < count; at++) {
      const column = seen[at]!;
      if (mark[column] === 2) price[column]! += distance[column]! - lowest;
      mark[column] = 0;
    }
    let column = end;
    if (end < 0) {
      column = this.columnOf[alone]!;
      this.columnOf[alone] = -1;
      if (alone === row) return;
    }
    // Turn the way around: each row on it takes the column that it was reached through.
    for (;;) {
      const taker = from[column]!;
      const former = this.columnOf[taker]!;
      this.columnOf[taker] = column;
      this.rowOf[column] = taker;
      if (taker === row) return;
      column = former;
    }
  }

  #costOf(row: number, column: number): number {
    let at = this.#begin[row]!;
    while (this.#pairColumn[at] !== column) at += 1;
    return this.#pairCost[at]!;
  }
}

/**
 * Refuse what is no list of detections: a tracker would find nothing in a whole result, which has none of a list's places.
 *
 * @param action what they are for: `track objects`
 * @throws {ArgumentError} If it is none
 */
export function assertDetections(objects: unknown, action: string): void {
  if (Array.isArray(objects)) return;
  const isResult = typeof objects === "object" && objects !== null && "detections" in objects;
  const found = isResult ? "a whole result" : received("", objects);
  throw new ArgumentError(message(action, `got ${found}`, "give a list of detections, such as `result.detections`"));
}
