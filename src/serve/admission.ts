/** @module Admission: so many pieces of work at once, so many waiting, and no more. */

import { refusal } from "./failure.ts";

/** How much is let in. */
export interface AdmissionOptions {
  /** Pieces of work at once, at least 1. */
  readonly concurrency: number;
  /** Requests that may wait, 0 or more. */
  readonly queue: number;
}

/** One that waits for its turn. */
interface Waiting {
  readonly enter: () => void;
}

/** Weight of the newest duration in the mean. */
const NEWEST = 0.1;

/** Lets work in, first come first served. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #waiting: Waiting[] = [];
  #running = 0;
  /** Of the recent pieces of work, in milliseconds. */
  #meanMs = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Pieces of work that run. */
  get running(): number {
    return this.#running;
  }

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Do a piece of work in its turn. When the signal ends the wait for it, the work goes on and keeps its place until it
   * is done: what is running stays counted.
   *
   * @param signal its reason is thrown, whether the turn had come or not
   * @throws {RequestError} 429 if too many wait already; `Retry-After` says when there may be room
   */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#enter(signal);
    const started = performance.now();
    const running = work().finally(() => this.#leave(performance.now() - started));
    return await untilAborted(running, signal);
  }

  #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { concurrency, queue } = this.#options;
    if (this.#running < concurrency) {
      this.#running += 1;
      return Promise.resolve();
    }
    if (this.#waiting.length >= queue) {
      const found = `as ${concurrency} requests are running and ${this.#waiting.length} are waiting`;
      const headers = { "Retry-After": String(this.#retryAfterSeconds()) };
      return Promise.reject(refusal(429, "busy", found, "ask again after the time in Retry-After", headers));
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal.reason);
      };
      const waiting: Waiting = {
        enter: () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(waiting);
    });
  }

  #leave(elapsedMs: number): void {
    this.#meanMs += (elapsedMs - this.#meanMs) * (this.#meanMs === 0 ? 1 : NEWEST);
    const next = this.#waiting.shift();
    if (next === undefined) this.#running -= 1;
    else next.enter();
  }

  /** Until half of those that wait now have had their turn, in whole seconds. */
  #retryAfterSeconds(): number {
    const rounds = (this.#waiting.length / 2 + 1) / this.#options.concurrency;
    return Math.min(60, Math.max(1, Math.ceil((rounds * this.#meanMs) / 1000)));
  }
}

/** A promise's outcome, or the reason of a signal that is aborted before. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
