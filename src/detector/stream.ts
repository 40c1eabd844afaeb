/** @module Stream: a sequence of pictures through a detector, several in flight, results in order. */

import type { ImageSource } from "../image/source.ts";
import type { DetectionResult } from "./detection.ts";
import type { StreamOptions } from "./detector-config.ts";
import { Feed, type FeedOptions } from "./feed.ts";

/** What was found in one picture of a stream. */
export type StreamResult = DetectionResult & {
  /** Place of the picture in the sequence, from 0 on. Those that failed or were dropped leave gaps. */
  readonly index: number;
};

/** What became of the pictures of a stream that has ended: the generator's return value. */
export interface StreamSummary {
  /** Pictures that were read. */
  readonly frames: number;
  /** Results that were yielded. */
  readonly results: number;
  /** Pictures that went to `onError`. */
  readonly failed: number;
  /** Pictures that were dropped for newer ones; 0 unless the policy is `"latest"`. */
  readonly dropped: number;
}

/** How {@linkcode inOrder} works. */
export interface InOrderOptions<T> extends FeedOptions<T> {
  readonly onError: StreamOptions["onError"] | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Run a sequence, several pictures at a time, and yield the values in order, each with its place in the sequence.
 *
 * However it ends, with the sequence, an error, the signal, or the caller's `break`, the pictures that are running are
 * awaited first, those that are not never run, and the sequence is closed.
 */
export async function* inOrder<T extends object>(
  sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
  options: InOrderOptions<T>,
): AsyncGenerator<T & { readonly index: number }, StreamSummary, undefined> {
  const { onError, signal } = options;
  signal?.throwIfAborted();
  const feed = new Feed(sources, options);
  const onAbort = (): void => feed.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  let results = 0;
  let failed = 0;
  try {
    for (let next = await feed.next(); next !== undefined; next = await feed.next()) {
      if ("value" in next) {
        results += 1;
        yield Object.assign(next.value, { index: next.index });
      } else {
        if (onError === undefined) throw next.error;
        failed += 1;
        onError(next.error, next.index);
      }
    }
    return { frames: feed.frames, results, failed, dropped: feed.dropped };
  } finally {
    signal?.removeEventListener("abort", onAbort);
    await feed.close();
  }
}
