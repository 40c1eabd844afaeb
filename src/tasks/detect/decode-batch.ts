/** @module DecodeBatch: a batch whose outputs are decoded on the device, and what decodes it. */

import type { LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";

/**
 * What `scales` of kernels/decode.cuh are where scores are not what the plan says: none where a map of logits has nothing below 0;
 * all above 0, and none beyond 1, where logits of queries are probabilities.
 */
export const UNLIKE = { never: -1, noLogit: 0, onlyProbabilities: 2 } as const;
/** A value of {@linkcode UNLIKE}. */
export type UnlikeScores = (typeof UNLIKE)[keyof typeof UNLIKE];

/** The batch that is decoded. */
export interface DecodeBatch {
  /** Images in the tensors, those that only fill the batch included. */
  readonly batch: number;
  /** Size of the model's input in pixels. */
  readonly inputWidth: number;
  readonly inputHeight: number;
}

/** What decodes a batch. The values lack the candidates, the selection and the capacity, which the launcher adds. */
export interface DecodeLaunches {
  readonly launches: readonly LaunchSpec[];
  /** Most candidates of one image: the candidate indices are below it, unless several share a box. */
  readonly capacity: number;
  /** Boxes of one image. */
  readonly boxes: number;
  /** Candidates that share a box, which then is of the source; the remainder of the index is the class. Mostly 1. */
  readonly candidatesPerBox: number;
  /** What kernels note of scores that are not what the plan says. */
  readonly unlike: UnlikeScores;
  /** True: five numbers come with each source, f32 [batch, boxes, 5]: centre, size and angle. */
  readonly isOriented?: boolean;
  /** The levels that kernels of maps read; other launches need none. */
  readonly table?: Uint8Array<ArrayBuffer>;
}

/** Most candidates of an image, where every class of a cell is one: 8 MiB of keys. */
export const MOST_CANDIDATES: number = 1 << 20;
