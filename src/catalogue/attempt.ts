/** @module Attempt: the outcome of one try at something that may fail for a while only. */

import { CatalogueError, TransferError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { pause } from "../core/resource.ts";

/** What was wrong with a step of a download. */
interface Problem {
  /** One clause. */
  readonly problem: string;
  /** Another try may help. */
  readonly transient: boolean;
  /** Who asks matters: a client that knows passwords, certificates and proxies may be given it. */
  readonly withheld?: boolean;
}

/** What a step of a download came to. */
export type Attempt<T> = { readonly value: T } | Problem;

const ATTEMPTS = 3;
const FIRST_PAUSE_MS = 300;

/**
 * Try up to three times, unless the problem is a lasting one, with longer and longer pauses between.
 *
 * @param name   what is fetched, for the log
 * @param signal ends the pauses; steps look after themselves
 * @throws the reason of `signal` if that is aborted in a pause
 */
export async function retry<T>(
  name: string,
  signal: AbortSignal | undefined,
  step: () => Promise<Attempt<T>>,
): Promise<Attempt<T>> {
  for (let left = ATTEMPTS, pauseMs = FIRST_PAUSE_MS; ; left--, pauseMs *= 4) {
    const outcome = await step();
    if ("value" in outcome || !outcome.transient || left <= 1) return outcome;
    logger.warn(`Trying again to fetch ${name}: ${outcome.problem}`);
    await (signal === undefined ? Bun.sleep(pauseMs) : pause(pauseMs, signal));
    signal?.throwIfAborted();
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
