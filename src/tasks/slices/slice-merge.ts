/** @module SliceMerge: what several views of one image found, merged into one list: NMS, NMM and greedy NMM, as SAHI has them. */

import type { Rectangle } from "../../image/geometry.ts";
import { blockAt, type DetectionBlock, type RowExtra } from "../../model/rows.ts";
import type { MergeRules } from "../image-grid.ts";
import { growRotated, rotatedEnvelope, rotatedOverlap } from "../obb/rotated.ts";
import { giveMasks, type MaskedBlock, MergedMasks } from "../objects/objects.ts";

const { fround } = Math;

/** What is asked for of the merged rows. */
export interface MergeSelection {
  readonly maxDetections: number;
  readonly classAgnostic: boolean;
}

/** A box that ends so many pixels from an inner edge of its slice, or fewer, is cut by it. */
const EDGE_PIXELS = 2;

/** A cut box is another's where this one, cut at the same slice, has at least such an IoU with it. */
const SAME_PART = 0.5;

/** Nothing has merged a row yet. */
const UNCLAIMED = -1;
/** Nothing will. */
const DROPPED = -2;

/** Columns that only grow. */
interface Columns {
  /** f32 [capacity, 4] in source pixels. */
  readonly boxes: Float32Array;
  readonly areas: Float32Array;
  readonly scores: Float32Array;
  readonly classIds: Int32Array;
  /** f64 [capacity, 5] of oriented boxes. */
  readonly oriented: Float64Array;
  /** The view that each was found in, and its row there. */
  readonly views: Int32Array;
  readonly rows: Int32Array;
  /** The row that each is merged into: itself of one that is kept; {@linkcode UNCLAIMED}, {@linkcode DROPPED}. */
  readonly keepers: Int32Array;
  /** The next row of the same group, -1 at its end, and the last one of the group of each that is kept. */
  readonly next: Int32Array;
  readonly last: Int32Array;
  readonly isCut: Uint8Array;
}

function columnsOf(capacity: number): Columns {
  return {
    boxes: new Float32Array(capacity * 4),
    areas: new Float32Array(capacity),
    scores: new Float32Array(capacity),
    classIds: new Int32Array(capacity),
    oriented: new Float64Array(capacity * 5),
    views: new Int32Array(capacity),
    rows: new Int32Array(capacity),
    keepers: new Int32Array(capacity),
    next: new Int32Array(capacity),
    last: new Int32Array(capacity),
    isCut: new Uint8Array(capacity),
  };
}

/** What of an image is seen: its views, in order. */
interface SeenImage {
  readonly width: number;
  readonly height: number;
  readonly views: readonly Rectangle[];
}

/**
 * Merges rows. Owns the memory it needs, which only grows: keep one a slot. What is merged is SAHI's to the row: the order of scores,
 * ties by x1, y1, x2, y2; overlaps in f32; and a row of a group is merged only if it overlaps what its keeper has grown to.
 */
export class SliceMerger {
  readonly #extras: readonly Pick<RowExtra, "length">[] | undefined;
  readonly #isOriented: boolean;
  readonly #merged: DetectionBlock[] = [];
  readonly #grown: Float64Array = new Float64Array(5);
  #columns = columnsOf(1024);
  #order: Int32Array = new Int32Array(1024);
  #count = 0;
  #isIou = false;
  #threshold = 0;
  #isAgnostic = false;

  /**
   * @param extras     what a row has beside box, score and class
   * @param isOriented the extras are the sides and the angle of oriented boxes
   */
  constructor(extras: readonly Pick<RowExtra, "length">[] | undefined, isOriented: boolean) {
    this.#extras = extras;
    this.#isOriented = isOriented;
  }

  /**
   * Merge the rows of all views.
   *
   * @param blocks what was found in each, in pixels of the image
   * @returns valid until the next call
   */
  merge(
    { width, height, views }: SeenImage,
    blocks: readonly DetectionBlock[],
    rules: MergeRules,
    { maxDetections, classAgnostic }: MergeSelection,
  ): DetectionBlock {
    const merged = blockAt(this.#merged, 0, maxDetections, this.#extras);
    this.#isIou = rules.metric === "iou";
    this.#threshold = fround(rules.threshold);
    this.#isAgnostic = classAgnostic;
    merged.count = 0;
    merged.dropped = 0;
    merged.implausible = 0;
    merged.hasInsideOut = false;
    merged.furthestAngle = 0;
    this.#count = 0;
    for (let view = 0; view < views.length; view++) {
      const block = blocks[view]!;
      merged.dropped += block.dropped;
      merged.implausible += block.implausible;
      this.#gather(block, view, views[view]!, width, height);
    }
    if (rules.edges === "drop") this.#dropCut(views);
    const order = this.#ranked();
    if (rules.merge === "nmm") this.#chain(order);
    else this.#claim(order);
    this.#write(order, blocks, rules, maxDetections, merged);
    return merged;
  }

  #gather(block: DetectionBlock, view: number, seen: Rectangle, width: number, height: number): void {
    const first = this.#count;
    this.#reserve(first + block.count);
    const { boxes, areas, scores, classIds, oriented, views, rows, keepers, next, isCut } = this.#columns;
    const right = seen.x + seen.width;
    const bottom = seen.y + seen.height;
    for (let row = 0, at = first; row < block.count; row++, at++) {
      const x1 = block.boxes[row * 4]!;
      const y1 = block.boxes[row * 4 + 1]!;
      const x2 = block.boxes[row * 4 + 2]!;
      const y2 = block.boxes[row * 4 + 3]!;
      boxes[at * 4] = x1;
      boxes[at * 4 + 1] = y1;
      boxes[at * 4 + 2] = x2;
      boxes[at * 4 + 3] = y2;
      areas[at] = fround(x2 - x1) * fround(y2 - y1);
      scores[at] = block.scores[row]!;
      classIds[at] = block.classIds[row]!;
      views[at] = view;
      rows[at] = row;
      const isCutAcross = (seen.x > 0 && x1 <= seen.x + EDGE_PIXELS) || (right < width && x2 >= right - EDGE_PIXELS);
      const isCutDown = (seen.y > 0 && y1 <= seen.y + EDGE_PIXELS) || (bottom < height && y2 >= bottom - EDGE_PIXELS);
      isCut[at] = isCutAcross || isCutDown ? 1 : 0;
      keepers[at] = UNCLAIMED;
      next[at] = -1;
      if (!this.#isOriented) continue;
      const [sides, angles] = block.extras;
      for (let side = 0; side < 4; side++) oriented[at * 5 + side] = sides![row * 4 + side]!;
      oriented[at * 5 + 4] = angles![row]!;
    }
    this.#count = first + block.count;
  }

  /** Leave out the rows that an inner edge has cut and another view has whole. */
  #dropCut(views: readonly Rectangle[]): void {
    const { isCut, views: seen, keepers } = this.#columns;
    for (let row = 0; row < this.#count; row++) {
      if (isCut[row] === 0) continue;
      const view = views[seen[row]!]!;
      for (let other = 0; other < this.#count; other++) {
        if (isCut[other] === 1 || !this.#isSameClass(row, other) || !this.#isSamePart(row, other, view)) continue;
        keepers[row] = DROPPED;
        break;
      }
    }
  }

  /** The rows that are left, best first. */
  #ranked(): Int32Array {
    const { keepers } = this.#columns;
    let count = 0;
    for (let row = 0; row < this.#count; row++) if (keepers[row] !== DROPPED) this.#order[count++] = row;
    return this.#order.subarray(0, count).sort(this.#byScore);
  }

  /** True if a row, cut at a slice, is what another one is there. */
  #isSamePart(row: number, other: number, { x, y, width, height }: Rectangle): boolean {
    const { boxes, areas } = this.#columns;
    const a = row * 4;
    const b = other * 4;
    const left = Math.max(boxes[b]!, x);
    const top = Math.max(boxes[b + 1]!, y);
    const right = Math.min(boxes[b + 2]!, x + width);
    const bottom = Math.min(boxes[b + 3]!, y + height);
    const across = Math.min(boxes[a + 2]!, right) - Math.max(boxes[a]!, left);
    const down = Math.min(boxes[a + 3]!, bottom) - Math.max(boxes[a + 1]!, top);
    if (across <= 0 || down <= 0) return false;
    return across * down >= SAME_PART * (areas[row]! + (right - left) * (bottom - top) - across * down);
  }

  /** One after the other, best first: each that is not taken takes those after it that it overlaps. */
  #claim(order: Int32Array): void {
    const { keepers } = this.#columns;
    for (let at = 0; at < order.length; at++) {
      const row = order[at]!;
      if (keepers[row] !== UNCLAIMED) continue;
      this.#keep(row);
      for (let after = at + 1; after < order.length; after++) {
        const other = order[after]!;
        if (keepers[other] === UNCLAIMED && this.#matches(row, other)) this.#add(row, other);
      }
    }
  }

  /** Likewise, but one that is taken takes for its keeper; candidates come in the order they were found in. */
  #chain(order: Int32Array): void {
    const { keepers } = this.#columns;
    for (let at = 0; at < order.length; at++) {
      const row = order[at]!;
      if (keepers[row] === UNCLAIMED) this.#keep(row);
      const keeper = keepers[row]!;
      for (let other = 0; other < this.#count; other++) {
        if (keepers[other] === UNCLAIMED && this.#outranks(row, other) && this.#matches(row, other)) {
          this.#add(keeper, other);
        }
      }
    }
  }

  #keep(row: number): void {
    this.#columns.keepers[row] = row;
    this.#columns.last[row] = row;
  }

  #add(keeper: number, row: number): void {
    const { keepers, next, last } = this.#columns;
    keepers[row] = keeper;
    next[last[keeper]!] = row;
    last[keeper] = row;
  }

  /** True if a row may take another: of a lower score, or of an equal one and not behind it. */
  #outranks(row: number, other: number): boolean {
    const { scores, boxes } = this.#columns;
    if (scores[row] !== scores[other]) return scores[row]! > scores[other]!;
    for (let side = 0; side < 4; side++) {
      const difference = boxes[row * 4 + side]! - boxes[other * 4 + side]!;
      if (difference !== 0) return difference > 0;
    }
    return true;
  }

  #isSameClass(a: number, b: number): boolean {
    return this.#isAgnostic || this.#columns.classIds[a] === this.#columns.classIds[b];
  }

  /** True if two rows are one, in f32. */
  #matches(a: number, b: number): boolean {
    if (!this.#isSameClass(a, b)) return false;
    const { boxes, areas, oriented } = this.#columns;
    if (this.#isOriented) return rotatedOverlap(oriented, a * 5, oriented, b * 5, this.#isIou) >= this.#threshold;
    const right = Math.min(boxes[a * 4 + 2]!, boxes[b * 4 + 2]!);
    const bottom = Math.min(boxes[a * 4 + 3]!, boxes[b * 4 + 3]!);
    const across = fround(right - Math.max(boxes[a * 4]!, boxes[b * 4]!));
    const down = fround(bottom - Math.max(boxes[a * 4 + 1]!, boxes[b * 4 + 1]!));
    const shared = across > 0 && down > 0 ? fround(across * down) : 0;
    const whole = this.#isIou ? fround(fround(areas[a]! + areas[b]!) - shared) : Math.min(areas[a]!, areas[b]!);
    return (whole > 0 ? fround(shared / whole) : 0) >= this.#threshold;
  }

  /** Write the rows that are kept, best first, grown over those of their groups. */
  #write(
    order: Int32Array,
    blocks: readonly DetectionBlock[],
    { merge }: MergeRules,
    most: number,
    merged: DetectionBlock,
  ): void {
    const { keepers } = this.#columns;
    const hasMasks = blocks.length > 0 && "masks" in blocks[0]!;
    const masks = hasMasks ? new MergedMasks() : undefined;
    for (let at = 0; at < order.length && merged.count < most; at++) {
      const row = order[at]!;
      if (keepers[row] !== row) continue;
      this.#copy(row, blocks, merged, masks);
      if (merge !== "nms") this.#grow(row, blocks, merged, masks);
      merged.count += 1;
    }
    if (masks !== undefined) giveMasks(merged, masks);
  }

  #copy(row: number, blocks: readonly DetectionBlock[], merged: DetectionBlock, masks: MergedMasks | undefined): void {
    const { boxes, scores, classIds, views, rows, oriented } = this.#columns;
    const to = merged.count;
    const block = blocks[views[row]!]!;
    const from = rows[row]!;
    for (let side = 0; side < 4; side++) merged.boxes[to * 4 + side] = boxes[row * 4 + side]!;
    merged.scores[to] = scores[row]!;
    merged.classIds[to] = classIds[row]!;
    merged.sources[to] = block.sources[from]!;
    for (let extra = 0; extra < merged.extras.length; extra++) {
      const length = this.#extras![extra]!.length;
      const source = block.extras[extra]!;
      const target = merged.extras[extra]!;
      for (let at = 0; at < length; at++) target[to * length + at] = source[from * length + at]!;
    }
    if (this.#isOriented) for (let at = 0; at < 5; at++) this.#grown[at] = oriented[row * 5 + at]!;
    masks?.begin((block as MaskedBlock).masks, from);
  }

  /** Merge the rows of a group into the last row that was written. */
  #grow(
    keeper: number,
    blocks: readonly DetectionBlock[],
    merged: DetectionBlock,
    masks: MergedMasks | undefined,
  ): void {
    const { boxes, scores, classIds, next, views, rows, oriented } = this.#columns;
    const to = merged.count;
    const grown = merged.boxes;
    for (let row = next[keeper]!; row >= 0; row = next[row]!) {
      const isMatch = this.#isOriented
        ? rotatedOverlap(this.#grown, 0, oriented, row * 5, this.#isIou) >= this.#threshold
        : this.#overlaps(grown, to * 4, row * 4);
      if (!isMatch) continue;
      for (let side = 0; side < 2; side++) {
        grown[to * 4 + side] = Math.min(grown[to * 4 + side]!, boxes[row * 4 + side]!);
        grown[to * 4 + side + 2] = Math.max(grown[to * 4 + side + 2]!, boxes[row * 4 + side + 2]!);
      }
      if (scores[row]! >= merged.scores[to]!) merged.classIds[to] = classIds[row]!;
      if (this.#isOriented) growRotated(this.#grown, oriented, row * 5);
      masks?.add((blocks[views[row]!] as MaskedBlock).masks, rows[row]!);
    }
    if (!this.#isOriented) return;
    const [sides, angles] = merged.extras;
    for (let side = 0; side < 4; side++) sides![to * 4 + side] = this.#grown[side]!;
    angles![to] = this.#grown[4]!;
    rotatedEnvelope(this.#grown, 0, grown, to * 4);
  }

  /** True if a row overlaps what its keeper has grown to: in f64, as Python has it. */
  #overlaps(grown: Float32Array, a: number, b: number): boolean {
    const { boxes } = this.#columns;
    const across = Math.min(grown[a + 2]!, boxes[b + 2]!) - Math.max(grown[a]!, boxes[b]!);
    const down = Math.min(grown[a + 3]!, boxes[b + 3]!) - Math.max(grown[a + 1]!, boxes[b + 1]!);
    const shared = across > 0 && down > 0 ? across * down : 0;
    const areaA = (grown[a + 2]! - grown[a]!) * (grown[a + 3]! - grown[a + 1]!);
    const areaB = (boxes[b + 2]! - boxes[b]!) * (boxes[b + 3]! - boxes[b + 1]!);
    const whole = this.#isIou ? areaA + areaB - shared : Math.min(areaA, areaB);
    return (whole > 0 ? shared / whole : 0) >= this.#threshold;
  }

  /** Best score first; of equal ones by x1, y1, x2, y2, then as they were found. */
  readonly #byScore = (a: number, b: number): number => {
    const { scores, boxes } = this.#columns;
    if (scores[a] !== scores[b]) return scores[b]! - scores[a]!;
    for (let side = 0; side < 4; side++) {
      const difference = boxes[a * 4 + side]! - boxes[b * 4 + side]!;
      if (difference !== 0) return difference;
    }
    return a - b;
  };

  #reserve(count: number): void {
    const { scores } = this.#columns;
    if (scores.length >= count) return;
    const larger = columnsOf(Math.max(count, scores.length * 2));
    for (const name of Object.keys(larger) as (keyof Columns)[]) larger[name].set(this.#columns[name]);
    this.#columns = larger;
    this.#order = new Int32Array(larger.scores.length);
  }
}
