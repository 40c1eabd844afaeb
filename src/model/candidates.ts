/** @module Candidates: the boxes a decoder found, before NMS, as growing columns. */

/**
 * Columns of candidate boxes. Reused from frame to frame: it only grows, so that a steady state allocates nothing.
 * Boxes are xyxy in model-input pixels.
 */
export class Candidates {
  /** Number of rows in use. */
  count = 0;
  /** f32 [capacity, 4]: x1, y1, x2, y2 in input pixels. */
  boxes: Float32Array<ArrayBuffer>;
  /** f32 [capacity]. */
  scores: Float32Array<ArrayBuffer>;
  /** i32 [capacity]. */
  classIds: Int32Array<ArrayBuffer>;
  /** Rows left out since `clear()` because a score or a coordinate was NaN. */
  dropped = 0;

  /** @param capacity rows to start with */
  constructor(capacity = 1024) {
    this.boxes = new Float32Array(new ArrayBuffer(capacity * 16));
    this.scores = new Float32Array(new ArrayBuffer(capacity * 4));
    this.classIds = new Int32Array(new ArrayBuffer(capacity * 4));
  }

  /** Forget all rows; keep the memory. */
  clear(): void {
    this.count = 0;
    this.dropped = 0;
  }

  /** Append a row. One with a NaN is counted in `dropped` instead. */
  push(x1: number, y1: number, x2: number, y2: number, score: number, classId: number): void {
    const sum = x1 + y1 + x2 + y2 + score;
    if (Number.isNaN(sum)) {
      this.dropped += 1;
      return;
    }
    const row = this.count;
    if (row === this.scores.length) this.#grow();
    const at = row * 4;
    this.boxes[at] = x1;
    this.boxes[at + 1] = y1;
    this.boxes[at + 2] = x2;
    this.boxes[at + 3] = y2;
    this.scores[row] = score;
    this.classIds[row] = classId;
    this.count = row + 1;
  }

  #grow(): void {
    const { boxes, scores, classIds } = this;
    const capacity = scores.length * 2;
    this.boxes = new Float32Array(new ArrayBuffer(capacity * 16));
    this.boxes.set(boxes);
    this.scores = new Float32Array(new ArrayBuffer(capacity * 4));
    this.scores.set(scores);
    this.classIds = new Int32Array(new ArrayBuffer(capacity * 4));
    this.classIds.set(classIds);
  }
}
