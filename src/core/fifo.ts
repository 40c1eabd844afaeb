/** @module Fifo: first in, first out, in the same time however many wait. */

const FIRST_CAPACITY = 16;

/** A queue over a circle of places that doubles when it is full; nothing moves when the first one leaves. */
export class Fifo<T> {
  /** A power of two of places. */
  #places: (T | undefined)[] = new Array(FIRST_CAPACITY).fill(undefined);
  #head = 0;
  #length = 0;

  /** Number of items that wait. */
  get length(): number {
    return this.#length;
  }

  /** Add an item at the end. */
  push(item: T): void {
    if (this.#length === this.#places.length) this.#grow();
    this.#places[(this.#head + this.#length) & (this.#places.length - 1)] = item;
    this.#length += 1;
  }

  /** Take the longest waiting item; `undefined` if none waits. */
  shift(): T | undefined {
    if (this.#length === 0) return undefined;
    const item = this.#places[this.#head];
    this.#places[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#places.length - 1);
    this.#length -= 1;
    return item;
  }

  #grow(): void {
    const { length } = this.#places;
    const places: (T | undefined)[] = new Array(length * 2).fill(undefined);
    for (let at = 0; at < length; at++) places[at] = this.#places[(this.#head + at) & (length - 1)];
    this.#places = places;
    this.#head = 0;
  }
}
