/** @module JpegCounts: how many images went which way, and why. */

import type { JpegCounts } from "../image/image-decoder.ts";
import type { JpegRefusal } from "./jpeg-route.ts";

/** Counts as a decoder keeps them. */
export class JpegTally {
  readonly #refusals = new Map<JpegRefusal, number>();
  #gpu = 0;
  #cpu = 0;
  #failed = 0;

  /** An image has come out of a decoder. */
  decoded(by: "gpu" | "cpu"): void {
    if (by === "gpu") this.#gpu += 1;
    else this.#cpu += 1;
  }

  /** nvJPEG does not do an image. */
  refused(refusal: JpegRefusal): void {
    this.#refusals.set(refusal, (this.#refusals.get(refusal) ?? 0) + 1);
  }

  /** No decoder could do it. */
  failed(): void {
    this.#failed += 1;
  }

  /** The counts now. */
  counts(): JpegCounts {
    return { gpu: this.#gpu, cpu: this.#cpu, failed: this.#failed, refusals: Object.fromEntries(this.#refusals) };
  }
}
