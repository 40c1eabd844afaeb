/** @module Self-test: calls with known answers, made once when a library is bound, so that drift is an error and no crash. */

/** One call, or a few that belong together, whose answer is known. */
export interface SelfTestVector {
  /** What is proven: `GetErrorCode and GetErrorMessage echo CreateStatus`. */
  readonly what: string;
  readonly expected: string | RegExp;
  /** Make the calls; returns what was found. */
  readonly run: () => string;
}

/**
 * Run vectors in order, and stop at the first that fails: the later ones may rely on it.
 *
 * @returns what failed, one clause that fits into a `LibraryLoadError`; `undefined` if all is well
 */
export function selfTest(vectors: readonly SelfTestVector[]): string | undefined {
  for (const { what, expected, run } of vectors) {
    const found = run();
    const holds = typeof expected === "string" ? found === expected : expected.test(found);
    if (!holds) return `self-test failed: ${what}: expected ${expected}, found ${JSON.stringify(found)}`;
  }
  return undefined;
}
