/** @module Ring: a fixed number of slots, handed out in turn; who finds none waits. */

import { ClosedError } from "../core/errors.ts";

/** Anything a ring can hold. */
export interface RingItem {
  close(): void;
}

/** A fixed set of slots with back-pressure: `acquire` waits, first come first served, until one is released. */
export class Ring<Item extends RingItem> {
  readonly #items: readonly Item[];
  readonly #free: Item[];
  readonly #waiting: ((item: Item) => void)[] = [];
  #drained: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** @param items owned by the ring from now on */
  constructor(items: readonly Item[]) {
    this.#items = items;
    this.#free = [...items];
  }

  /** Number of slots. */
  get length(): number {
    return this.#items.length;
  }

  /**
   * Take a slot; give it back with `release`, whatever happens.
   *
   * @throws {ClosedError} If the ring is closing
   */
  acquire(): Promise<Item> {
    if (this.#closed !== undefined)
      return Promise.reject(new ClosedError("start another frame", `ring of ${this.length} slots`));
    const item = this.#free.pop();
    if (item !== undefined) return Promise.resolve(item);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Give a slot back; the longest waiting caller gets it. */
  release(item: Item): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next(item);
      return;
    }
    this.#free.push(item);
    if (this.#free.length === this.length) this.#drained?.();
  }

  /** Refuse new frames, wait for those that are running or waiting, then close every slot. */
  close(): Promise<void> {
    this.#closed ??= this.#drain();
    return this.#closed;
  }

  async #drain(): Promise<void> {
    if (this.#free.length < this.length) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    for (const item of this.#items) item.close();
  }
}
