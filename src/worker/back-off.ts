/** @module BackOff: how long to wait before a server is tried again. */

import { pause } from "../core/pause.ts";

/** Bounds of the waiting, milliseconds. */
export interface BackOffBounds {
  readonly firstMs: number;
  readonly mostMs: number;
}

/**
 * Waits that grow with every failure: a random time from half a bound to all of it, where the bound doubles, so that
 * workers that lost the same server do not all come back in the same moment.
 */
export class BackOff {
  #bounds: BackOffBounds;
  readonly #random: () => number;
  #failures = 0;

  /** @param random numbers in [0, 1) */
  constructor(bounds: BackOffBounds, random: () => number = Math.random) {
    this.#bounds = bounds;
    this.#random = random;
  }

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /** Count one more failure. @returns how long to wait after it, milliseconds */
  nextMs(): number {
    const { firstMs, mostMs } = this.#bounds;
    const bound = Math.min(mostMs, firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return bound * (0.5 + this.#random() / 2);
  }

  /** Wait after one more failure; ends early when the signal is aborted. */
  wait(signal: AbortSignal): Promise<void> {
    return pause(this.nextMs(), signal);
  }

  /** Take other bounds with the next failure. */
  setBounds(bounds: BackOffBounds): void {
    this.#bounds = bounds;
  }

  /** It went well: the next failure counts as the first. */
  reset(): void {
    this.#failures = 0;
  }
}
