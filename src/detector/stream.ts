/** @module Stream: a sequence of pictures through a few runs at a time, results in order. */

import type { ImageSource } from "../image/source.ts";
import type { Outcome } from "../pipeline/pipeline.ts";
import type { DetectOptions } from "./detector-config.ts";

/** Options of `Detector.stream`. */
export interface StreamOptions extends DetectOptions {
  /** Called with the error of one picture and its place in the sequence; the picture is left out of the results. */
  readonly onError?: (error: unknown, index: number) => void;
}

/** The two halves of {@linkcode StreamOptions}. */
export interface SplitStreamOptions {
  readonly onError: StreamOptions["onError"] | undefined;
  /** `undefined` where nothing but `onError` was given. */
  readonly detect: DetectOptions | undefined;
}

/** Take `onError` out, so that the rest can be checked as options of a call. */
export function splitStreamOptions(options: StreamOptions): SplitStreamOptions {
  const { onError, ...detect } = options;
  return { onError, detect: Object.keys(detect).length === 0 ? undefined : detect };
}

/** How {@linkcode inOrder} works. */
export interface InOrderOptions<T> {
  /** Runs at a time, at least 1. */
  readonly inFlight: number;
  /** Pictures a run, at least 1. */
  readonly batch: number;
  /** Run one group: one outcome a picture, in order. */
  readonly run: (sources: readonly ImageSource[]) => Promise<Outcome<T>[]>;
  readonly onError: StreamOptions["onError"] | undefined;
}

/**
 * Run groups of a sequence, a few at a time, and yield the values in order. The sequence is read only as fast as runs
 * finish and the caller takes the results.
 *
 * However it ends, with the sequence, an error, or the caller's `break`, the runs in flight are awaited first and the
 * sequence is closed.
 */
export async function* inOrder<T>(
  sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
  options: InOrderOptions<T>,
): AsyncGenerator<T, void, undefined> {
  const { inFlight, batch, run, onError } = options;
  const iterator =
    Symbol.asyncIterator in sources
      ? sources[Symbol.asyncIterator]()
      : (sources as Iterable<ImageSource>)[Symbol.iterator]();
  const running: Promise<Outcome<T>[]>[] = [];
  let isEnded = false;
  let index = 0;

  const startNext = async (): Promise<void> => {
    const group: ImageSource[] = [];
    while (group.length < batch && !isEnded) {
      const next = await iterator.next();
      if (next.done) isEnded = true;
      else group.push(next.value);
    }
    if (group.length === 0) return;
    const outcomes = run(group);
    // It is awaited in its turn; until then a failure must not count as unhandled.
    outcomes.catch(() => {});
    running.push(outcomes);
  };

  try {
    while (true) {
      while (!isEnded && running.length < inFlight) await startNext();
      const oldest = running.shift();
      if (oldest === undefined) return;
      for (const outcome of await oldest) {
        const at = index++;
        if ("value" in outcome) yield outcome.value;
        else if (onError !== undefined) onError(outcome.error, at);
        else throw outcome.error;
      }
    }
  } finally {
    await Promise.allSettled(running);
    if (!isEnded) await iterator.return?.();
  }
}
