/** @module Attempt: the outcome of one try at something that may fail for a while only. */

import { CatalogueError, TransferError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { pause } from "../core/settle.ts";

/** What a step of a download came to: a value, or what was wrong and whether another try may help. */
export type Attempt<T> = { readonly value: T } | { readonly problem: string; readonly transient: boolean };

/** How {@linkcode retry} tries. */
export interface RetryOptions {
  /** How often at most; at least 1. */
  readonly attempts: number;
  /** Pause before the second try in milliseconds; four times as long before each further one. */
  readonly pauseMs: number;
  /** Called before each further try with what was wrong. */
  readonly onRetry: (problem: string) => void;
  /** Ends it while it pauses; steps look after themselves. */
  readonly signal: AbortSignal | undefined;
}

const ATTEMPTS = 3;
const FIRST_PAUSE_MS = 300;

/** How often a step of fetching something is tried. @param signal ends the pauses between */
export function triesFor(name: string, signal: AbortSignal | undefined): RetryOptions {
  return {
    attempts: ATTEMPTS,
    pauseMs: FIRST_PAUSE_MS,
    onRetry: (problem) => logger.warn(`Trying again to fetch ${name}: ${problem}`),
    signal,
  };
}

/**
 * Try until it works, the problem is a lasting one, or the attempts are used up.
 *
 * @throws the reason of `signal` if that is aborted in a pause
 */
export async function retry<T>(step: () => Promise<Attempt<T>>, options: RetryOptions): Promise<Attempt<T>> {
  const { signal } = options;
  let { pauseMs } = options;
  for (let left = options.attempts; ; left--) {
    const attempt = await step();
    if ("value" in attempt || !attempt.transient || left <= 1) return attempt;
    options.onRetry(attempt.problem);
    await (signal === undefined ? Bun.sleep(pauseMs) : pause(pauseMs, signal));
    signal?.throwIfAborted();
    pauseMs *= 4;
  }
}

/**
 * Take one step of a download.
 *
 * @returns its value; or what it threw, as a problem that may pass
 * @throws {CatalogueError} If the step did: no further try would help
 * @throws the reason of `signal` once that is aborted
 */
export async function attempt<T>(step: () => Promise<T>, signal: AbortSignal | undefined): Promise<Attempt<T>> {
  try {
    return { value: await step() };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CatalogueError) throw error;
    const { message: text } = error as Error;
    return { problem: error instanceof TransferError ? text : `the transfer failed: ${text}`, transient: true };
  }
}
