/** @module FrameQueue: frames that have been read and wait for the detector, in the order they came. */

import type { HeldFrame } from "./held-frame.ts";

/** A line in which a newer frame may push out an older one of its source. */
export class FrameQueue {
  /** In order; a Map keeps it, and finds a frame by its key. */
  readonly #waiting = new Map<string, HeldFrame>();
  /** By source with the policy `latest`: the one frame that waits. */
  readonly #latest = new Map<string, HeldFrame>();

  /** Number of frames that wait. */
  get length(): number {
    return this.#waiting.size;
  }

  /** Number of those that nothing can push out. */
  get fixedLength(): number {
    return this.#waiting.size - this.#latest.size;
  }

  /**
   * Line up.
   *
   * @returns the frame that was pushed out: the older one of the two, which need not be the one that was there first
   */
  push(frame: HeldFrame): HeldFrame | undefined {
    if (frame.rule.policy === "all") {
      this.#waiting.set(frame.key, frame);
      return undefined;
    }
    const source = `${frame.entry.stream}\0${frame.message.sourceId}`;
    const former = this.#latest.get(source);
    // What was claimed from a dead worker may be older than what waits.
    if (former !== undefined && isOlder(frame.entry.id, former.entry.id)) return frame;
    if (former !== undefined) this.#waiting.delete(former.key);
    this.#latest.set(source, frame);
    this.#waiting.set(frame.key, frame);
    return former;
  }

  /** Take the frame that has waited longest. */
  shift(): HeldFrame | undefined {
    const [frame] = this.#waiting.values();
    if (frame === undefined) return undefined;
    this.#waiting.delete(frame.key);
    if (frame.rule.policy === "latest") this.#latest.delete(`${frame.entry.stream}\0${frame.message.sourceId}`);
    return frame;
  }
}

/** Compare two ids of a stream: `milliseconds-number`. */
export function isOlder(id: string, than: string): boolean {
  const [ms = "0", number = "0"] = id.split("-");
  const [thanMs = "0", thanNumber = "0"] = than.split("-");
  return ms === thanMs ? isLess(number, thanNumber) : isLess(ms, thanMs);
}

/** Compare two whole numbers in digits: those of an id have 64 bits, more than a number holds. */
function isLess(digits: string, than: string): boolean {
  return digits.length === than.length ? digits < than : digits.length < than.length;
}
