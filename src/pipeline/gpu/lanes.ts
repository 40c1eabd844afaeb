/** @module Lanes: the streams that batches compute on, whichever slot they are of; each takes the one with the least to do. */

import type { Stream } from "../../cuda/stream.ts";

/** A stream with what is enqueued on it. */
export interface Lane {
  readonly stream: Stream;
  /** Batches that were put on it and not yet waited for. */
  batches: number;
}

/** The lanes of a backend; whoever made the streams closes them. */
export class Lanes {
  readonly #lanes: readonly Lane[];

  /** @param streams at least one */
  constructor(streams: readonly Stream[]) {
    this.#lanes = streams.map((stream) => ({ stream, batches: 0 }));
  }

  /** The first of them, which is the only one in the layouts `one` and `split`. */
  get first(): Lane {
    return this.#lanes[0]!;
  }

  /**
   * Put one more batch on the lane with the fewest, the first of several.
   *
   * @returns the lane; `giveBack` it once the batch has ended
   */
  take(): Lane {
    const lanes = this.#lanes;
    let least = lanes[0]!;
    for (let at = 1; at < lanes.length && least.batches > 0; at++) {
      const lane = lanes[at]!;
      if (lane.batches < least.batches) least = lane;
    }
    least.batches += 1;
    return least;
  }

  /** A batch of a lane has ended, or failed. Once for each `take`. */
  giveBack(lane: Lane): void {
    lane.batches -= 1;
  }
}
