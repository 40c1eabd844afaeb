/** @module Observations: where a track was really seen of late, for OC-SORT, which trusts that more than its filter. */

/** Frame, x1, y1, x2, y2. */
const ENTRY = 5;

/** The last few boxes that each slot was seen at, and which way it goes by them. */
export class Observations {
  /** In frames: how far apart two boxes are of which a direction is made. */
  readonly #span: number;
  readonly #room: number;
  /** By slot: a ring of entries. */
  #entries = new Float64Array(0);
  /** By slot: how many entries were written. */
  #counts = new Int32Array(0);
  /** By slot: the unit vector that it goes along; 0, 0 for none. */
  #directions = new Float64Array(0);

  constructor(span: number) {
    this.#span = span;
    this.#room = span + 1;
  }

  /** Make room for more slots. */
  reserve(slots: number): void {
    const entries = new Float64Array(slots * this.#room * ENTRY);
    entries.set(this.#entries);
    this.#entries = entries;
    const counts = new Int32Array(slots);
    counts.set(this.#counts);
    this.#counts = counts;
    const directions = new Float64Array(2 * slots);
    directions.set(this.#directions);
    this.#directions = directions;
  }

  /** Begin anew. */
  start(slot: number): void {
    this.#counts[slot] = 0;
    this.#directions[2 * slot] = 0;
    this.#directions[2 * slot + 1] = 0;
  }

  /** Where the box is in {@linkcode boxes} that was seen last. */
  last(slot: number): number {
    return this.#entry(slot, this.#counts[slot]! - 1) + 1;
  }

  /** Boxes by {@linkcode last}: x1, y1, x2, y2. */
  get boxes(): Float64Array {
    return this.#entries;
  }

  /** The frame it was seen in last. */
  lastFrame(slot: number): number {
    return this.#entries[this.#entry(slot, this.#counts[slot]! - 1)]!;
  }

  #entry(slot: number, count: number): number {
    return (slot * this.#room + (count % this.#room)) * ENTRY;
  }

  /** It is seen at a box; the direction is that from the newest box which is at least the span older, else from the oldest that is kept. */
  add(slot: number, frame: number, boxes: Float64Array, at: number): void {
    const count = this.#counts[slot]!;
    const entries = this.#entries;
    if (count > 0) {
      const oldest = Math.max(0, count - this.#room);
      let former = this.#entry(slot, oldest);
      for (let index = count - 1; index > oldest; index--) {
        const entry = this.#entry(slot, index);
        if (entries[entry]! > frame - this.#span) continue;
        former = entry;
        break;
      }
      const dx = boxes[at]! + boxes[at + 2]! - entries[former + 1]! - entries[former + 3]!;
      const dy = boxes[at + 1]! + boxes[at + 3]! - entries[former + 2]! - entries[former + 4]!;
      // In pixels of the sum of two sides: what is no longer than a millionth of one is no direction.
      const length = Math.sqrt(dx * dx + dy * dy) + 2e-6;
      this.#directions[2 * slot] = dx / length;
      this.#directions[2 * slot + 1] = dy / length;
    }
    const entry = this.#entry(slot, count);
    entries[entry] = frame;
    for (let side = 0; side < 4; side++) entries[entry + 1 + side] = boxes[at + side]!;
    this.#counts[slot] = count + 1;
  }

  /** How far off a box lies from where the track was going: the angle over π, 0–1; 0 where it goes nowhere. */
  turn(slot: number, boxes: Float64Array, at: number): number {
    const [alongX, alongY] = [this.#directions[2 * slot]!, this.#directions[2 * slot + 1]!];
    if (alongX === 0 && alongY === 0) return 0;
    const entries = this.#entries;
    const last = this.last(slot);
    const dx = boxes[at]! + boxes[at + 2]! - entries[last]! - entries[last + 2]!;
    const dy = boxes[at + 1]! + boxes[at + 3]! - entries[last + 1]! - entries[last + 3]!;
    const length = Math.sqrt(dx * dx + dy * dy) + 2e-6;
    const cosine = (alongX * dx + alongY * dy) / length;
    return Math.acos(Math.min(Math.max(cosine, -1), 1)) / Math.PI;
  }
}
