/** @module Candidates: the boxes a decoder found, before NMS, as growing columns. */

/** A score of which a model is sure enough that what it says of the box counts, in f32; kernels/decode.cuh has the same. */
export const SURE_SCORE: number = Math.fround(0.2);

/**
 * Columns of candidate boxes. Reused from frame to frame: it only grows, so that a steady state allocates nothing.
 * Boxes are xyxy in model-input pixels. The row number is the candidate's index, by which ties are broken.
 */
export class Candidates {
  /** Number of rows in use. */
  count = 0;
  /** f32 [capacity, 4]: x1, y1, x2, y2 in input pixels. */
  boxes: Float32Array<ArrayBuffer> = new Float32Array(0);
  /** f32 [capacity]. */
  scores: Float32Array<ArrayBuffer> = new Float32Array(0);
  /** i32 [capacity]. */
  classIds: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** i32 [capacity]: the anchor, query or row of the output that each came from. */
  sources: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** f32 [sources, length] of {@linkcode setExtras}: what comes with each row beside box, score and class. Empty where nothing does. */
  extras: Float32Array<ArrayBuffer> = new Float32Array(0);
  /** True if a box of at least {@linkcode SURE_SCORE} since `clear()` was inside out: its right or lower side came first. */
  hasInsideOut = false;
  /** Rows left out since `clear()` because a score or a coordinate was NaN or infinite. */
  dropped = 0;

  /** @param capacity rows to start with */
  constructor(capacity = 1024) {
    this.#resize(capacity);
  }

  /** Forget all rows; keep the memory. */
  clear(): void {
    this.count = 0;
    this.dropped = 0;
    this.hasInsideOut = false;
  }

  /**
   * Append a row, rounded to f32. One with a NaN or an infinity is counted in `dropped` instead; one without area, that
   * is unless x1 < x2 and y1 < y2 in f32, is left out silently: models pad their rows with such.
   *
   * @param source index of the anchor, query or row that it came from, by which extras are gathered after selection
   */
  push(x1: number, y1: number, x2: number, y2: number, score: number, classId: number, source: number): void {
    const row = this.count;
    if (row === this.scores.length) this.#resize(Math.max(1, row) * 2);
    const { boxes, scores } = this;
    const at = row * 4;
    boxes[at] = x1;
    boxes[at + 1] = y1;
    boxes[at + 2] = x2;
    boxes[at + 3] = y2;
    scores[row] = score;
    // A sum of five f32 cannot overflow in f64: it is finite if all are. The stored values count, not the arguments.
    const sum = boxes[at]! + boxes[at + 1]! + boxes[at + 2]! + boxes[at + 3]! + scores[row]!;
    if (!Number.isFinite(sum)) {
      this.dropped += 1;
      return;
    }
    if ((boxes[at]! > boxes[at + 2]! || boxes[at + 1]! > boxes[at + 3]!) && scores[row]! >= SURE_SCORE) {
      this.hasInsideOut = true;
    }
    if (boxes[at]! >= boxes[at + 2]! || boxes[at + 1]! >= boxes[at + 3]!) return;
    this.classIds[row] = classId;
    this.sources[row] = source;
    this.count = row + 1;
  }

  /**
   * Keep what comes with a row that was pushed.
   *
   * @param source what the row was pushed with: extras are fetched by it
   * @param length the same for all rows
   * @param first  the first element that is taken
   * @param step   elements from one to the next
   */
  setExtras(source: number, length: number, values: ArrayLike<number>, first: number, step: number): void {
    if (this.extras.length < (source + 1) * length) {
      const larger = new Float32Array(new ArrayBuffer(Math.max(this.scores.length, 2 * source) * length * 4));
      larger.set(this.extras);
      this.extras = larger;
    }
    for (let at = 0, from = first; at < length; at++, from += step) this.extras[source * length + at] = values[from]!;
  }

  #resize(capacity: number): void {
    const { boxes, scores, classIds, sources } = this;
    this.boxes = new Float32Array(new ArrayBuffer(capacity * 16));
    this.boxes.set(boxes);
    this.scores = new Float32Array(new ArrayBuffer(capacity * 4));
    this.scores.set(scores);
    this.classIds = new Int32Array(new ArrayBuffer(capacity * 4));
    this.classIds.set(classIds);
    this.sources = new Int32Array(new ArrayBuffer(capacity * 4));
    this.sources.set(sources);
  }
}

/** One stride's map of {@linkcode RowMaps}. */
export interface RowMap {
  /** Input pixels a cell. */
  readonly stride: number;
  /** f32 or f16 [N, channels, height, width]: as many cells as strides fit into the input, the last ones in part. */
  readonly output: string;
}

/** Maps that hold an extra as the last convolutions of a model left it, and what it is there. */
export interface RowMaps {
  /** Finest first, all of as many channels. */
  readonly levels: readonly RowMap[];
  /**
   * `raw`: the number itself, such as a coefficient of a mask. `points`: x and y of a point, (2 × number + cell) × stride, in input
   * pixels, and perhaps its score, the sigmoid of a logit (YOLOv8, 11). `centred-points`: likewise, (number + cell + 0.5) × stride
   * (YOLO26).
   */
  readonly rule: "raw" | "points" | "centred-points";
  /** Numbers a point: x and y, and perhaps a score. Left out: 3. */
  readonly numbers?: 2 | 3;
  /** Anchors a cell, each of which has its share of the channels, of which `first` is counted. Left out: 1. */
  readonly anchors?: number;
  /** How sources are counted within a level. `cells`: cell × anchors + anchor; `anchors`: anchor × cells + cell. Left out: `cells`. */
  readonly counted?: "cells" | "anchors";
}

/** Numbers beside box, score and class that an output holds for each anchor, query or row: key points, coefficients, … */
export interface RowExtra {
  /** What they are: `keypoints`. */
  readonly name: string;
  /**
   * f32 or f16: [N, sources, channels] anchor-major, [N, channels, sources] channel-major, [sources, channels] flat. Empty of what
   * the decoder pushed with each candidate, as heads of the caller's and plans of oriented boxes do, and of maps.
   */
  readonly output: string;
  readonly order: "anchor-major" | "channel-major" | "flat" | "pushed" | "maps";
  /** Of the order `maps`: where they are. */
  readonly maps?: RowMaps;
  /** Channels of the tensor, or of each map. */
  readonly channels: number;
  /** The first channel that is fetched, and how many. */
  readonly first: number;
  readonly length: number;
}

/** The kept rows of one image, best score first. What a backend hands over; reused for the next frame. */
export interface DetectionBlock {
  /** Number of rows in use. */
  count: number;
  /** Rows that were left out because a score, a coordinate, a point or, on the host, what a mask is made of was NaN. */
  dropped: number;
  /** Rows that cannot be right: scores above 1, boxes outside the image, all rows alike. See `PlausibilityGuard`. */
  implausible: number;
  /** True if a box of which the model was sure was inside out: of any class. It is not among the rows. */
  hasInsideOut: boolean;
  /** Of oriented boxes of which the model was sure: the angle that is furthest from 0, where that is more than a whole turn; else 0. */
  furthestAngle: number;
  /** f32 [capacity, 4]: x1, y1, x2, y2. */
  readonly boxes: Float32Array<ArrayBuffer>;
  /** f32 [capacity]. */
  readonly scores: Float32Array<ArrayBuffer>;
  /** i32 [capacity]. */
  readonly classIds: Int32Array<ArrayBuffer>;
  /** i32 [capacity]: the anchor, query or row of the output that each came from. */
  readonly sources: Int32Array<ArrayBuffer>;
  /** f32 [capacity, length] of each extra of the model, in the order it lists them. */
  readonly extras: readonly Float32Array<ArrayBuffer>[];
}

/** An empty block for at most `capacity` rows. */
export function createDetectionBlock(
  capacity: number,
  extras: readonly Pick<RowExtra, "length">[] = [],
): DetectionBlock {
  return {
    count: 0,
    dropped: 0,
    implausible: 0,
    hasInsideOut: false,
    furthestAngle: 0,
    boxes: new Float32Array(new ArrayBuffer(capacity * 16)),
    scores: new Float32Array(new ArrayBuffer(capacity * 4)),
    classIds: new Int32Array(new ArrayBuffer(capacity * 4)),
    sources: new Int32Array(new ArrayBuffer(capacity * 4)),
    extras: extras.map(({ length }) => new Float32Array(new ArrayBuffer(capacity * length * 4))),
  };
}

/** The block of one image of a batch, in a list that is kept from batch to batch; a larger one where rows lack. */
export function blockAt(
  blocks: DetectionBlock[],
  index: number,
  capacity: number,
  extras?: readonly Pick<RowExtra, "length">[],
): DetectionBlock {
  const block = blocks[index];
  if (block !== undefined && block.scores.length >= capacity) return block;
  const larger = createDetectionBlock(capacity, extras);
  blocks[index] = larger;
  return larger;
}

/** Move a row of a block to the place of one before it that is left out. */
export function moveRow({ boxes, scores, classIds, sources, extras }: DetectionBlock, from: number, to: number): void {
  boxes.copyWithin(to * 4, from * 4, from * 4 + 4);
  for (let at = 0; at < extras.length; at++) {
    const values = extras[at]!;
    const length = values.length / scores.length;
    values.copyWithin(to * length, from * length, (from + 1) * length);
  }
  scores[to] = scores[from]!;
  classIds[to] = classIds[from]!;
  sources[to] = sources[from]!;
}
