/** @module AllEnded: waiting for several pieces of work without leaving one behind. */

/**
 * As `Promise.all`, but it settles once all of them have: what they use may be freed then.
 *
 * @throws the first one's reason, in their order
 */
export async function allEnded<T>(running: readonly Promise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(running);
  return outcomes.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
}

/** Wait so many milliseconds, or until the signal is aborted. Throws nothing, and leaves neither timer nor listener. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = (): void => resolve();
  const timer = setTimeout(end, milliseconds);
  signal.addEventListener("abort", end);
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", end);
}
