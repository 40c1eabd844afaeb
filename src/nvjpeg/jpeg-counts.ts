/** @module JpegCounts: how many pictures went which way, and why. */

import type { JpegPath, JpegRefusal } from "./jpeg-route.ts";

/** Pictures since the decoder was made. */
export interface JpegCounts {
  /** Decoded by the engines made for it. */
  readonly hardware: number;
  /** Decoded by the multiprocessors and a CPU core. */
  readonly hybrid: number;
  /** Decoded on the CPU. */
  readonly cpu: number;
  /** No pictures, or damaged: the CPU's decoder refused them as well. */
  readonly failed: number;
  /** Why pictures went on from one decoder to the next; one that two have refused counts twice. */
  readonly refusals: Readonly<Partial<Record<JpegRefusal, number>>>;
}

/** Counts as a decoder keeps them. */
export class JpegTally {
  readonly #decoded: Record<JpegPath, number> = { hardware: 0, hybrid: 0, cpu: 0 };
  readonly #refusals = new Map<JpegRefusal, number>();
  #failed = 0;

  /** A picture has come out. */
  decoded(path: JpegPath): void {
    this.#decoded[path] += 1;
  }

  /** A decoder was passed over, or did not do. */
  refused(refusal: JpegRefusal): void {
    this.#refusals.set(refusal, (this.#refusals.get(refusal) ?? 0) + 1);
  }

  /** No decoder could do it. */
  failed(): void {
    this.#failed += 1;
  }

  /** The counts now. */
  counts(): JpegCounts {
    return { ...this.#decoded, failed: this.#failed, refusals: Object.fromEntries(this.#refusals) };
  }
}
