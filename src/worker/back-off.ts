/** @module BackOff: how long to wait before a server is tried again, and work that is tried until it is done. */

import { RedisError } from "../core/errors.ts";
import type { Filled } from "../core/options.ts";
import { pause } from "../core/settle.ts";
import type { ReconnectOptions } from "./worker-config.ts";

type BackOffBounds = Filled<ReconnectOptions>;

/**
 * Waits that grow with every failure: a random time from half a bound to all of it, where the bound doubles, so that
 * workers that lost the same server do not all come back in the same moment.
 */
export class BackOff {
  /** From the next failure on. */
  bounds: BackOffBounds;
  readonly #random: () => number;
  /** Failures since the last success. */
  failures = 0;

  /** @param random numbers in [0, 1) */
  constructor(bounds: BackOffBounds, random: () => number = Math.random) {
    this.bounds = bounds;
    this.#random = random;
  }

  /** Count one more failure. @returns how long to wait after it, milliseconds */
  nextMs(): number {
    const { firstMs, mostMs } = this.bounds;
    const bound = Math.min(mostMs, firstMs * 2 ** Math.min(this.failures, 30));
    this.failures += 1;
    return bound * (0.5 + this.#random() / 2);
  }

  /** Wait after one more failure; ends early when the signal is aborted. */
  wait(signal: AbortSignal): Promise<void> {
    return pause(this.nextMs(), signal);
  }

  /** It went well: the next failure counts as the first. */
  reset(): void {
    this.failures = 0;
  }
}

/** Told of every failure. @returns the bounds of the waiting */
type OnFailure = (action: string, error: RedisError, failures: number) => BackOffBounds;

/** Work that a server has refused, or could not be reached with, and that is tried again. */
export class Retries {
  readonly #signal: AbortSignal;
  readonly #onFailure: OnFailure;
  /** Pieces of work that have failed and not been done since. */
  waiting = 0;

  /** @param signal ends the trying */
  constructor(signal: AbortSignal, onFailure: OnFailure) {
    this.#signal = signal;
    this.#onFailure = onFailure;
  }

  /**
   * Try until the server takes it.
   *
   * @param action for messages: `answer frame 17-0 of "frames"`
   * @returns what the work gives; `undefined` once the signal is aborted
   */
  async until<T>(action: string, work: () => Promise<T>): Promise<T | undefined> {
    let backOff: BackOff | undefined;
    try {
      while (!this.#signal.aborted) {
        try {
          return await work();
        } catch (error) {
          if (!(error instanceof RedisError)) throw error;
          if (backOff === undefined) this.waiting += 1;
          const bounds = this.#onFailure(action, error, (backOff?.failures ?? 0) + 1);
          backOff ??= new BackOff(bounds);
          await backOff.wait(this.#signal);
        }
      }
      return undefined;
    } finally {
      if (backOff !== undefined) this.waiting -= 1;
    }
  }
}
