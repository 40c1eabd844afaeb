/** @module NMS: greedy non-maximum suppression, defined to the last bit so that a GPU can give the same boxes. */

import type { DetectionBlock } from "./detection-block.ts";

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
export function overlaps(
  a: Float32Array,
  atA: number,
  areaA: number,
  b: Float32Array,
  atB: number,
  areaB: number,
  threshold: number,
): boolean {
  const width = fround(Math.min(a[atA + 2]!, b[atB + 2]!) - Math.max(a[atA]!, b[atB]!));
  if (width <= 0) return false;
  const height = fround(Math.min(a[atA + 3]!, b[atB + 3]!) - Math.max(a[atA + 1]!, b[atB + 1]!));
  if (height <= 0) return false;
  const inter = fround(width * height);
  const union = fround(fround(areaA + areaB) - inter);
  return inter > fround(threshold * union);
}

/**
 * The boxes kept so far, found again by class. A candidate is compared with kept ones only: with at most `k` kept of
 * `n` candidates that is n × k comparisons within a class, and none between classes.
 */
export class KeptBoxes {
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
