/** @module RepeatedLine: a line of the log that thousands of pictures may cause a minute. */

/** So many lines in so many milliseconds. */
const MOST_LINES = 10;
const INTERVAL_MS = 5_000;

/** Tells the first lines of an interval; the first line of the next says how many were left out. */
export class RepeatedLine {
  readonly #tell: (text: string) => void;
  readonly #now: () => number;
  #since = Number.NEGATIVE_INFINITY;
  #count = 0;

  /**
   * @param tell writes a line
   * @param now milliseconds
   */
  constructor(tell: (text: string) => void, now: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
  }

  /** Tell, or count. */
  tell(text: string): void {
    const now = this.#now();
    const leftOut = this.#count - MOST_LINES;
    const isNext = now - this.#since >= INTERVAL_MS;
    if (isNext) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    if (this.#count > MOST_LINES) return;
    this.#tell(isNext && leftOut > 0 ? `${text} (${leftOut} more like it before)` : text);
  }
}
