/** @module NmsOptions: which candidates become detections. */

import { ArgumentError, ModelError, message } from "../../core/errors.ts";
import type { ModelSpec } from "../../heads/head.ts";
import { OTHER_HEAD_HINT } from "../../heads/outputs.ts";
import type { DecodePlan } from "../../heads/plans.ts";
import type { Candidates, DetectionBlock } from "../../model/rows.ts";
import type { SlicePlan } from "../image-grid.ts";

/** Which rows are kept. */
export interface NmsOptions {
  /** Rows with a lower score are left out, 0–1. */
  readonly threshold: number;
  /** Boxes that overlap a better one by more are left out, 0–1; not used where the model's rows are final. */
  readonly iou: number;
  /** At most this many rows an image. */
  readonly maxDetections: number;
  /** True: boxes of different classes suppress each other as well. */
  readonly classAgnostic: boolean;
  /** Class ids to keep; `undefined` for all. */
  readonly classIds: ReadonlySet<number> | undefined;
  /** The slices that an image is cut into, which has a run of its own then; `false` for none, `undefined` for those that the model was loaded with. */
  readonly slices?: SlicePlan | false | undefined;
  /** True of images that are made up, to measure or to warm up: that nothing is found in the first one says nothing of the model. */
  readonly isMadeUp?: boolean | undefined;
}

/** What is kept where the caller does not say; nothing is found in noise with it. */
export const USUAL_SELECTION: NmsOptions = {
  threshold: 0.25,
  iou: 0.7,
  maxDetections: 300,
  classAgnostic: false,
  classIds: undefined,
};

function sameIds(a: ReadonlySet<number> | undefined, b: ReadonlySet<number> | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined || a.size !== b.size) return false;
  for (const id of a) if (!b.has(id)) return false;
  return true;
}

/** True if two selections keep the same rows. */
export function sameNmsOptions(a: NmsOptions, b: NmsOptions): boolean {
  if (a === b) return true;
  return (
    a.threshold === b.threshold &&
    a.iou === b.iou &&
    a.maxDetections === b.maxDetections &&
    a.classAgnostic === b.classAgnostic &&
    a.slices === b.slices &&
    sameIds(a.classIds, b.classIds)
  );
}

/** At most this many candidates, the best ones, enter NMS; Ultralytics' `max_nms`. */
export const MAX_CANDIDATES = 30_000;

/** Highest score a detector gives, with room for quantised outputs: a higher one is no probability. */
const MAX_SCORE = 1.05;

/** The group of all boxes where classes do not matter. */
const ALL_CLASSES = -1;

/** @throws {ModelError} If the best score of an image is no probability: the column is another, such as a keypoint's or an angle */
export function assertProbability(score: number, head: string): void {
  if (score <= MAX_SCORE) return;
  throw new ModelError(
    message(`decode the model's output as head "${head}"`, `scores are from 0 to 1, got ${score}`, OTHER_HEAD_HINT),
    head,
  );
}

/**
 * Chooses which candidates are kept. Owns the memory it needs, which only grows: keep one a slot.
 *
 * What is kept, exactly:
 *
 * 1. candidates of the classes asked for, with score ≥ threshold, the threshold rounded to f32
 * 2. in the order of their scores, highest first; equal scores by candidate index, lowest first
 * 3. only the first {@linkcode MAX_CANDIDATES} of them
 * 4. one after the other: each that no kept one suppresses, where NMS is needed; a kept one suppresses those of its
 *    class, or of any if `classAgnostic`, that it overlaps by more than `iou`: see `overlaps` in nms.ts
 * 5. until `maxDetections` are kept
 */
export class Selector {
  readonly #order = new ScoreOrder();
  readonly #kept = new KeptBoxes();

  /**
   * Fill a block with the kept rows, best first, in input pixels.
   *
   * @param recognition says whether NMS is needed, and which head a message names
   * @param block       room for `selection.maxDetections` rows
   * @throws {ArgumentError} If the block has room for fewer
   * @throws {ModelError} If a score is no probability
   */
  select(
    candidates: Candidates,
    selection: NmsOptions,
    recognition: Pick<ModelSpec, "needsNms" | "head"> & Partial<Pick<ModelSpec, "plan">>,
    block: DetectionBlock,
  ): void {
    const { maxDetections } = selection;
    if (block.scores.length < maxDetections) {
      throw new ArgumentError(
        message("select detections", `the block must have room for ${maxDetections}: it has ${block.scores.length}`),
      );
    }
    block.count = 0;
    block.dropped = candidates.dropped;
    this.#order.fill(candidates, selection);
    const { rows, count } = this.#order;
    block.hasInsideOut = candidates.hasInsideOut;
    if (count === 0) return;
    assertProbability(candidates.scores[rows[0]!]!, recognition.head);
    if (recognition.needsNms) this.#suppress(candidates, selection, block);
    else {
      const kept = Math.min(count, maxDetections, mostRows(recognition.plan));
      for (let at = 0; at < kept; at++) appendRow(block, candidates, rows[at]!);
    }
  }

  /** Steps 3 to 5. */
  #suppress(candidates: Candidates, selection: NmsOptions, block: DetectionBlock): void {
    const { maxDetections, classAgnostic } = selection;
    const { rows } = this.#order;
    const count = Math.min(this.#order.count, MAX_CANDIDATES);
    const iou = Math.fround(selection.iou);
    const kept = this.#kept;
    kept.clear(maxDetections);
    for (let at = 0; at < count && block.count < maxDetections; at++) {
      const row = rows[at]!;
      const group = classAgnostic ? ALL_CLASSES : candidates.classIds[row]!;
      if (kept.suppress(block, candidates.boxes, row * 4, group, iou)) continue;
      appendRow(block, candidates, row);
      kept.keep(block, block.count - 1, group);
    }
  }
}

/** Most rows of an image that are kept of what a plan decodes, whatever is asked for. */
export function mostRows(plan: DecodePlan | undefined): number {
  return plan?.kind === "distance-maps" ? (plan.most ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
}

/** Take a candidate into a block that has room for it. */
export function appendRow(block: DetectionBlock, candidates: Candidates, row: number): void {
  const to = block.count;
  const { boxes } = candidates;
  block.boxes[to * 4] = boxes[row * 4]!;
  block.boxes[to * 4 + 1] = boxes[row * 4 + 1]!;
  block.boxes[to * 4 + 2] = boxes[row * 4 + 2]!;
  block.boxes[to * 4 + 3] = boxes[row * 4 + 3]!;
  block.scores[to] = candidates.scores[row]!;
  block.classIds[to] = candidates.classIds[row]!;
  block.sources[to] = candidates.sources[row]!;
  block.count = to + 1;
}

const RADIX_BITS = 11;
const RADIX = 1 << RADIX_BITS;
/** Passes of 11 bits over a key of 32. */
const PASSES = 3;
/** Below this many, inserting one by one is faster than three passes over the histogram. */
const FEW = 48;

/** What the order of some rows depends on. */
interface ScoredRows {
  readonly count: number;
  readonly scores: Float32Array;
  readonly classIds: Int32Array;
}

/**
 * Sorts rows of {@linkcode Candidates} by score, highest first; rows of equal score by their number, lowest first.
 * Memory only grows.
 */
export class ScoreOrder {
  /** Rows, best first, after `sort()`; the first `count` are valid. */
  rows: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  count = 0;

  #keys: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  #otherRows: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  #otherKeys: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  readonly #histogram = new Uint32Array(RADIX);
  readonly #floatCell = new Float32Array(new ArrayBuffer(4));
  readonly #bitCell = new Uint32Array(this.#floatCell.buffer);

  /** Steps 1 and 2 of {@linkcode Selector}: sort those of some candidates that a selection asks for. */
  fill(candidates: ScoredRows, selection: NmsOptions): void {
    const { count, scores, classIds } = candidates;
    const wanted = selection.classIds;
    const threshold = Math.fround(selection.threshold);
    this.begin(candidates);
    for (let row = 0; row < count; row++) {
      const score = scores[row]!;
      if (score < threshold) continue;
      if (wanted !== undefined && !wanted.has(classIds[row]!)) continue;
      this.add(row, score);
    }
    this.sort();
  }

  /** Start over with room for as many rows as there are candidates. */
  begin(candidates: Pick<ScoredRows, "count" | "scores">): void {
    this.count = 0;
    if (this.rows.length >= candidates.count) return;
    const capacity = candidates.scores.length;
    this.rows = new Uint32Array(capacity);
    this.#keys = new Uint32Array(capacity);
    this.#otherRows = new Uint32Array(capacity);
    this.#otherKeys = new Uint32Array(capacity);
  }

  /** Add a row; rows are added in ascending order. */
  add(row: number, score: number): void {
    // -0 counts as 0. The key falls as the score rises: the bits of positive floats are in the order of the floats.
    this.#floatCell[0] = score + 0;
    const bits = this.#bitCell[0]!;
    this.#keys[this.count] = bits >= 0x8000_0000 ? bits : ~(bits | 0x8000_0000) >>> 0;
    this.rows[this.count] = row;
    this.count += 1;
  }

  /** Bring the added rows into order. */
  sort(): void {
    if (this.count < FEW) this.#insert();
    else for (let pass = 0; pass < PASSES; pass++) this.#pass(pass * RADIX_BITS);
  }

  #insert(): void {
    const { rows, count } = this;
    const keys = this.#keys;
    for (let from = 1; from < count; from++) {
      const key = keys[from]!;
      const row = rows[from]!;
      let to = from;
      for (; to > 0 && keys[to - 1]! > key; to--) {
        keys[to] = keys[to - 1]!;
        rows[to] = rows[to - 1]!;
      }
      keys[to] = key;
      rows[to] = row;
    }
  }

  /** One stable counting sort by 11 bits of the key. */
  #pass(shift: number): void {
    const { rows, count } = this;
    const keys = this.#keys;
    const histogram = this.#histogram;
    histogram.fill(0);
    for (let at = 0; at < count; at++) histogram[(keys[at]! >>> shift) & (RADIX - 1)]! += 1;
    let start = 0;
    for (let digit = 0; digit < RADIX; digit++) {
      const length = histogram[digit]!;
      histogram[digit] = start;
      start += length;
    }
    const toKeys = this.#otherKeys;
    const toRows = this.#otherRows;
    for (let at = 0; at < count; at++) {
      const key = keys[at]!;
      const digit = (key >>> shift) & (RADIX - 1);
      const to = histogram[digit]!;
      histogram[digit] = to + 1;
      toKeys[to] = key;
      toRows[to] = rows[at]!;
    }
    this.#otherKeys = keys;
    this.#otherRows = rows;
    this.#keys = toKeys;
    this.rows = toRows;
  }
}

const { fround } = Math;

/** Kept boxes are chained by class id modulo this; a chain's boxes of another class are passed over. */
const BUCKETS = 1024;

/** Area of a box in f32: (x2 − x1) × (y2 − y1), each difference and the product rounded. */
function boxArea(boxes: Float32Array, at: number): number {
  return fround(fround(boxes[at + 2]! - boxes[at]!) * fround(boxes[at + 3]! - boxes[at + 1]!));
}

/**
 * True if two boxes overlap by more than a threshold, in f32 throughout, every operation rounded on its own (on a GPU:
 * the `_rn` intrinsics, no fused multiply-add):
 *
 *     width  = min(a.x2, b.x2) − max(a.x1, b.x1)      no overlap unless > 0
 *     height = min(a.y2, b.y2) − max(a.y1, b.y1)      no overlap unless > 0
 *     inter  = width × height
 *     union  = (areaA + areaB) − inter                areaA: the better box's
 *     overlap if inter > threshold × union
 *
 * which is IoU = inter ÷ union > threshold without the division: an IoU of exactly the threshold does not suppress.
 *
 * @param threshold already rounded to f32
 */
function overlaps(
  a: Float32Array,
  atA: number,
  areaA: number,
  b: Float32Array,
  atB: number,
  areaB: number,
  threshold: number,
): boolean {
  const inter = sharedArea(a, atA, b, atB);
  if (inter === 0) return false;
  const union = fround(fround(areaA + areaB) - inter);
  return inter > fround(threshold * union);
}

/** Area of what two boxes have in common. */
function sharedArea(a: Float32Array, atA: number, b: Float32Array, atB: number): number {
  const width = fround(Math.min(a[atA + 2]!, b[atB + 2]!) - Math.max(a[atA]!, b[atB]!));
  if (width <= 0) return 0;
  const height = fround(Math.min(a[atA + 3]!, b[atB + 3]!) - Math.max(a[atA + 1]!, b[atB + 1]!));
  return height <= 0 ? 0 : fround(width * height);
}

const pair = new Float32Array(new ArrayBuffer(32));

/**
 * Intersection over union of two boxes, in f32 as NMS computes it.
 *
 * @param a x1, y1, x2, y2
 * @param b likewise
 * @returns 0 to 1; 0 if neither has an area
 *
 * @example
 * ```ts
 * import { boxIou } from "bun-tensorrt";
 *
 * console.log(boxIou([0, 0, 10, 10], [5, 0, 15, 10])); // 0.333…
 * ```
 */
export function boxIou(a: ArrayLike<number>, b: ArrayLike<number>): number {
  pair.set(a);
  pair.set(b, 4);
  const inter = sharedArea(pair, 0, pair, 4);
  return inter === 0 ? 0 : inter / fround(fround(boxArea(pair, 0) + boxArea(pair, 4)) - inter);
}

/**
 * The boxes kept so far, found again by class. A candidate is compared with kept ones only: with at most `k` kept of
 * `n` candidates that is n × k comparisons within a class, and none between classes.
 */
class KeptBoxes {
  /** Last kept row of each bucket; -1 for none. */
  readonly #last = new Int32Array(BUCKETS);
  /** The row kept before, of the same bucket. */
  #previous: Int32Array<ArrayBuffer> = new Int32Array(0);
  #areas: Float32Array<ArrayBuffer> = new Float32Array(0);

  /** Forget all; make room for `capacity` rows. */
  clear(capacity: number): void {
    this.#last.fill(-1);
    if (this.#areas.length >= capacity) return;
    this.#previous = new Int32Array(capacity);
    this.#areas = new Float32Array(capacity);
  }

  /**
   * True if a kept box overlaps the candidate by more than the threshold.
   *
   * @param block     where the kept rows lie
   * @param boxes     f32 [*, 4] of the candidates, the candidate's own from `at` on
   * @param group     its class id; one number for all if classes do not matter
   * @param threshold IoU, already rounded to f32
   */
  suppress(block: DetectionBlock, boxes: Float32Array, at: number, group: number, threshold: number): boolean {
    const area = boxArea(boxes, at);
    const kept = block.boxes;
    const areas = this.#areas;
    const previous = this.#previous;
    for (let row = this.#last[group & (BUCKETS - 1)]!; row >= 0; row = previous[row]!) {
      // With classes aside every kept row is of the one bucket, whatever its class.
      if (group >= 0 && block.classIds[row] !== group) continue;
      if (overlaps(kept, row * 4, areas[row]!, boxes, at, area, threshold)) return true;
    }
    return false;
  }

  /** Note that a row of the block has been kept. */
  keep(block: DetectionBlock, row: number, group: number): void {
    const bucket = group & (BUCKETS - 1);
    this.#areas[row] = boxArea(block.boxes, row * 4);
    this.#previous[row] = this.#last[bucket]!;
    this.#last[bucket] = row;
  }
}
