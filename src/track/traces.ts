/** @module Traces: the last places of each track, for drawings. */

/** A ring of places in each slot. */
export class Traces {
  readonly #length: number;
  /** By slot: x and y in turns. */
  #places = new Float64Array(0);
  /** By slot: how many were written. */
  #counts = new Int32Array(0);

  /** @param length places that are kept of each track */
  constructor(length: number) {
    this.#length = length;
  }

  /** Make room for more slots. */
  reserve(slots: number): void {
    const places = new Float64Array(2 * this.#length * slots);
    places.set(this.#places);
    this.#places = places;
    const counts = new Int32Array(slots);
    counts.set(this.#counts);
    this.#counts = counts;
  }

  /** Begin anew. */
  start(slot: number): void {
    this.#counts[slot] = 0;
  }

  /** The track is here now. @returns its last places, oldest first, this one among them */
  add(slot: number, x: number, y: number): (readonly [x: number, y: number])[] {
    const count = this.#counts[slot]!;
    const from = 2 * this.#length * slot;
    const at = from + 2 * (count % this.#length);
    this.#places[at] = x;
    this.#places[at + 1] = y;
    this.#counts[slot] = count + 1;
    const kept = Math.min(count + 1, this.#length);
    return Array.from({ length: kept }, (_, index) => {
      const place = from + 2 * ((count + 1 - kept + index) % this.#length);
      return [this.#places[place]!, this.#places[place + 1]!] as const;
    });
  }
}
