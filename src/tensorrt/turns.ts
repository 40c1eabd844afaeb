/** @module Turns: one after the other, in the order of asking. */

/** A queue for work that must not overlap. */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /**
   * Wait for one's turn. The next one's begins when the result is disposed of.
   *
   * @param signal ends the waiting; its reason is thrown
   */
  async take(signal?: AbortSignal): Promise<Disposable> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    const aborted = Promise.withResolvers<never>();
    const give = (): void => aborted.reject(signal?.reason);
    signal?.addEventListener("abort", give);
    try {
      signal?.throwIfAborted();
      await Promise.race([before, aborted.promise]);
    } catch (error) {
      // Whoever comes next still waits for those before.
      before.then(resolve);
      throw error;
    } finally {
      signal?.removeEventListener("abort", give);
    }
    return { [Symbol.dispose]: resolve };
  }
}
