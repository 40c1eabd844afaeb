/** @module ValueGuard: maps and class scores that hold what is no number are reported, the first ones of a model. */

import { logger } from "../core/log.ts";

/**
 * Looks at maps and class scores: a NaN is the lowest logit, and no depth. Keep one for a model: it reports once. Nothing is allocated for
 * an image.
 */
export class ValueGuard {
  readonly #source: string;
  readonly #noun: string;
  #hasReported = false;

  /**
   * @param source the model, for messages
   * @param noun   what the numbers are
   */
  constructor(source: string, noun: "map" | "class scores") {
    this.#source = source;
    this.#noun = noun;
  }

  /** @param values of which `length` from `start` on are those of an image */
  check(values: Float32Array | Float16Array, start: number, length: number): void {
    if (this.#hasReported) return;
    const end = start + length;
    let sum = 0;
    for (let at = start; at < end; at++) sum += values[at]!;
    if (Number.isFinite(sum)) return;
    let finite = 0;
    let infinite = 0;
    for (let at = start; at < end; at++) {
      if (Number.isFinite(values[at]!)) finite += 1;
      else if (!Number.isNaN(values[at]!)) infinite += 1;
    }
    // What is infinitely far away, or never chosen, may be meant.
    if (finite > 0 && finite + infinite === length) return;
    this.#hasReported = true;
    const unknown = length - finite;
    const found = `${unknown} of ${length} numbers are NaN or infinite`;
    logger.warn(
      `Implausible ${this.#noun} of ${this.#source}: ${found}; FP16 may overflow, or the pre-processing may be another`,
    );
  }
}
