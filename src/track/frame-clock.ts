/** @module FrameClock: how many frames' time has passed since the last one. */

/** Intervals that the usual one is told from. */
const RECENT = 31;
/** What is this near to whole frames is taken for them: times are rounded, and cameras unsteady. */
const SLACK = 0.25;
/** Shortest and longest step, in frames. */
const SHORTEST = 0.25;
const LONGEST = 1e6;

/** When a frame was taken: a `VideoFrame` says it. */
export interface FrameTime {
  /** Milliseconds since any moment. */
  readonly timestampMs?: number | undefined;
  /** For how long a frame is shown at the usual rate; without it, or with 0, the usual rate is learned. */
  readonly durationMs?: number | undefined;
}

/**
 * Counts time in frames of the usual rate. At a constant rate every step is 1, to the bit, whatever the rounding of times.
 * Frames that were dropped make the step larger.
 */
export class FrameClock {
  #last: number | undefined;
  /** The last intervals, and the same in order. */
  readonly #intervals = new Float64Array(RECENT).fill(Number.POSITIVE_INFINITY);
  readonly #sorted = new Float64Array(RECENT);
  #count = 0;

  /** @returns in frames; 1 where nothing is known, and where time did not go on */
  step({ timestampMs, durationMs = 0 }: FrameTime): number {
    if (timestampMs === undefined || !Number.isFinite(timestampMs)) return 1;
    const interval = this.#last === undefined ? 0 : timestampMs - this.#last;
    this.#last = timestampMs;
    if (!(interval > 0)) return 1;
    const usual = durationMs > 0 ? durationMs : this.#usual(interval);
    const frames = interval / usual;
    const whole = Math.max(1, Math.round(frames));
    return Math.abs(frames - whole) <= SLACK ? whole : Math.min(Math.max(frames, SHORTEST), LONGEST);
  }

  /** The median of the last intervals, this one among them. */
  #usual(interval: number): number {
    this.#intervals[this.#count % RECENT] = interval;
    this.#count += 1;
    this.#sorted.set(this.#intervals);
    this.#sorted.sort();
    return this.#sorted[(Math.min(this.#count, RECENT) - 1) >> 1]!;
  }
}
