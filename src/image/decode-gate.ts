/** @module DecodeGate: how many images are decoded at once, and what becomes of one that takes too long. */

import { availableParallelism } from "node:os";
import { DecodeStalledError, DecodeTimeoutError, message } from "../core/errors.ts";
import { Fifo } from "../core/fifo.ts";
import { quoted } from "./decode-limits.ts";

/** How the process stands with decoding. */
interface DecodeLoad {
  /** Images being decoded; overdue ones count until they have ended. */
  readonly running: number;
  /** Images that wait for one of these to end. */
  readonly waiting: number;
  /** Native calls whose callers have been told that time has run out, and which have not ended. */
  readonly overdue: number;
  /** Images that may be decoded at once. All of them overdue: nothing is decoded any more, until one ends. */
  readonly places: number;
}

/** An image that waits. */
interface Waiting {
  begin(): void;
  refuse(error: DecodeStalledError): void;
}

/**
 * Lets decodes begin while there are threads for them, so that the time of one that waits does not run. Native code cannot be
 * stopped: what is overdue keeps its thread, and its caller is told.
 */
export class DecodeGate {
  readonly #places: number;
  readonly #line = new Fifo<Waiting>();
  #running = 0;
  #overdue = 0;
  /** Since when what holds the last free place has been decoded. */
  #stalledAt = 0;

  /** @param places as many as there are threads, and as many that are about to begin */
  constructor(places: number) {
    this.#places = places;
  }

  get load(): DecodeLoad {
    return { running: this.#running, waiting: this.#line.length, overdue: this.#overdue, places: this.#places };
  }

  /** For how long every place has been held by work that is overdue, in milliseconds; 0 while one is not. */
  get stalledMs(): number {
    return this.#overdue < this.#places ? 0 : performance.now() - this.#stalledAt;
  }

  /**
   * Decode when it is its turn.
   *
   * @param work      settles once no native code uses its memory any more
   * @param timeoutMs from when it begins
   * @param onOverdue called in front of the rejection; the work goes on
   * @throws {DecodeTimeoutError} If it takes longer
   * @throws {DecodeStalledError} If every thread is held by work that is overdue
   */
  run<T>(
    work: () => Promise<T>,
    source: string,
    timeoutMs: number,
    onOverdue: (ended: Promise<T>) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        this.#running += 1;
        let isOverdue = false;
        const ended = work();
        const timer = setTimeout(() => {
          isOverdue = true;
          this.#overdue += 1;
          this.#stalledAt = performance.now() - timeoutMs;
          onOverdue(ended);
          reject(timeoutError(source, timeoutMs));
          this.#refuseAll();
        }, timeoutMs);
        const end = (): void => {
          clearTimeout(timer);
          this.#running -= 1;
          if (isOverdue) this.#overdue -= 1;
          this.#line.shift()?.begin();
        };
        ended.finally(end).then(resolve, reject);
      };
      if (this.#running < this.#places) begin();
      else if (this.#overdue < this.#places) this.#line.push({ begin, refuse: reject });
      else reject(this.#stalled());
    });
  }

  #stalled(): DecodeStalledError {
    const found = `all ${this.#places} places are held by images that take longer than allowed`;
    return new DecodeStalledError(message("decode an image", found, "start the process anew if none of them ends"));
  }

  #refuseAll(): void {
    if (this.#overdue < this.#places) return;
    for (let waiting = this.#line.shift(); waiting !== undefined; waiting = this.#line.shift()) {
      waiting.refuse(this.#stalled());
    }
  }
}

function timeoutError(source: string, timeoutMs: number): DecodeTimeoutError {
  const found = `decoding must end within ${timeoutMs} ms, and has not`;
  const hint = "raise decodeTimeoutMs if the image can be trusted";
  return new DecodeTimeoutError(message(`decode ${quoted(source)}`, found, hint), source, timeoutMs);
}

/** Of the process: its threads are shared. */
export const decodeGate: DecodeGate = new DecodeGate(availableParallelism() * 2);
