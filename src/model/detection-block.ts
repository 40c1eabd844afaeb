/** @module DetectionBlock: the kept boxes of one picture, as a fixed block of columns. */

/** Numbers beside box, score and class that an output holds for each anchor, query or row: key points, coefficients, … */
export interface RowExtra {
  /** What they are: `keypoints`. */
  readonly name: string;
  /** f32 or f16: [N, sources, channels] anchor-major, [N, channels, sources] channel-major, [sources, channels] flat. */
  readonly output: string;
  readonly order: "anchor-major" | "channel-major" | "flat";
  /** Channels of the tensor. */
  readonly channels: number;
  /** The first channel that is fetched, and how many. */
  readonly first: number;
  readonly length: number;
}

/** The kept rows of one picture, best score first. What a backend hands over; reused for the next frame. */
export interface DetectionBlock {
  /** Number of rows in use. */
  count: number;
  /** Rows that were left out because a score or a coordinate was NaN. */
  dropped: number;
  /** Rows that cannot be right: scores above 1, boxes outside the picture, all rows alike. See `PlausibilityGuard`. */
  implausible: number;
  /** True if a box of which the model was sure was left out as it was inside out. */
  hasInsideOut: boolean;
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

const NO_EXTRAS: readonly Pick<RowExtra, "length">[] = [];

/** An empty block for at most `capacity` rows. */
export function createDetectionBlock(
  capacity: number,
  extras: readonly Pick<RowExtra, "length">[] = NO_EXTRAS,
): DetectionBlock {
  return {
    count: 0,
    dropped: 0,
    implausible: 0,
    hasInsideOut: false,
    boxes: new Float32Array(new ArrayBuffer(capacity * 16)),
    scores: new Float32Array(new ArrayBuffer(capacity * 4)),
    classIds: new Int32Array(new ArrayBuffer(capacity * 4)),
    sources: new Int32Array(new ArrayBuffer(capacity * 4)),
    extras: extras.map(({ length }) => new Float32Array(new ArrayBuffer(capacity * length * 4))),
  };
}

/** The block of one picture of a batch, in a list that is kept from batch to batch; a larger one where rows lack. */
export function blockAt(
  blocks: DetectionBlock[],
  index: number,
  capacity: number,
  extras: readonly Pick<RowExtra, "length">[] = NO_EXTRAS,
): DetectionBlock {
  const block = blocks[index];
  if (block !== undefined && block.scores.length >= capacity) return block;
  const larger = createDetectionBlock(capacity, extras);
  blocks[index] = larger;
  return larger;
}
