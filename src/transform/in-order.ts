/** @module InOrder: a sequence through a few runs at a time, results in order. */

/** How {@linkcode inOrder} works. */
export interface InOrderOptions<Source, Result> {
  /** Runs at a time, at least 1. */
  readonly inFlight: number;
  readonly run: (source: Source) => Promise<Result>;
  /** Told what went wrong with one, and its place; it is then left out. Without it the first error ends the sequence. */
  readonly onError: ((error: unknown, index: number) => void) | undefined;
  /** Ends the sequence: nothing more is read, and its reason is thrown. */
  readonly signal: AbortSignal | undefined;
}

/** What came of one run. */
type Settled<Result> = { readonly value: Result } | { readonly error: unknown };

/** Never rejects, so that a failure counts as handled until its turn comes. */
async function settle<Result>(running: Promise<Result>): Promise<Settled<Result>> {
  try {
    return { value: await running };
  } catch (error) {
    return { error };
  }
}

/**
 * Run a sequence and yield the values in order, each with its place in the sequence, which is read only as fast as runs
 * finish and the caller takes the results.
 *
 * However it ends, with the sequence, an error, or the caller's `break`, the runs in flight are awaited first and the
 * sequence is closed.
 */
export async function* inOrder<Source, Result extends object>(
  sources: Iterable<Source> | AsyncIterable<Source>,
  { inFlight, run, onError, signal }: InOrderOptions<Source, Result>,
): AsyncGenerator<Result & { readonly index: number }, void, undefined> {
  const iterator =
    Symbol.asyncIterator in sources
      ? sources[Symbol.asyncIterator]()
      : (sources as Iterable<Source>)[Symbol.iterator]();
  const running: Promise<Settled<Result>>[] = [];
  let isEnded = false;
  let index = 0;
  try {
    while (true) {
      while (!isEnded && running.length < inFlight) {
        signal?.throwIfAborted();
        // One that throws needs no closing.
        isEnded = true;
        const next = await iterator.next();
        isEnded = next.done === true;
        if (!next.done) running.push(settle(run(next.value)));
      }
      const oldest = running.shift();
      if (oldest === undefined) return;
      const settled = await oldest;
      signal?.throwIfAborted();
      const at = index++;
      if ("value" in settled) yield { ...settled.value, index: at };
      else if (onError !== undefined) onError(settled.error, at);
      else throw settled.error;
    }
  } finally {
    await Promise.all(running);
    if (!isEnded) await iterator.return?.();
  }
}
