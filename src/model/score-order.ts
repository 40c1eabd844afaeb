/** @module Score order: the order of candidates, best score first, ties by index; sorted without allocation. */

import type { Candidates } from "./candidates.ts";

const RADIX_BITS = 11;
const RADIX = 1 << RADIX_BITS;
/** Passes of 11 bits over a key of 32. */
const PASSES = 3;
/** Below this many, inserting one by one is faster than three passes over the histogram. */
const FEW = 48;

/**
 * Sorts rows of {@linkcode Candidates} by score, highest first; rows of equal score by their number, lowest first.
 * Memory only grows.
 */
export class ScoreOrder {
  /** Rows, best first, after `sort()`; the first `count` are valid. */
  rows: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  count = 0;

  #keys: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  #otherRows: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  #otherKeys: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  readonly #histogram = new Uint32Array(RADIX);
  readonly #floatCell = new Float32Array(new ArrayBuffer(4));
  readonly #bitCell = new Uint32Array(this.#floatCell.buffer);

  /** Start over with room for as many rows as there are candidates. */
  begin(candidates: Candidates): void {
    this.count = 0;
    if (this.rows.length >= candidates.count) return;
    const capacity = candidates.scores.length;
    this.rows = new Uint32Array(capacity);
    this.#keys = new Uint32Array(capacity);
    this.#otherRows = new Uint32Array(capacity);
    this.#otherKeys = new Uint32Array(capacity);
  }

  /** Add a row; rows are added in ascending order. */
  add(row: number, score: number): void {
    // -0 counts as 0. The key falls as the score rises: the bits of positive floats are in the order of the floats.
    this.#floatCell[0] = score + 0;
    const bits = this.#bitCell[0]!;
    this.#keys[this.count] = bits >= 0x8000_0000 ? bits : ~(bits | 0x8000_0000) >>> 0;
    this.rows[this.count] = row;
    this.count += 1;
  }

  /** Bring the added rows into order. */
  sort(): void {
    if (this.count < FEW) this.#insert();
    else for (let pass = 0; pass < PASSES; pass++) this.#pass(pass * RADIX_BITS);
  }

  #insert(): void {
    const { rows, count } = this;
    const keys = this.#keys;
    for (let from = 1; from < count; from++) {
      const key = keys[from]!;
      const row = rows[from]!;
      let to = from;
      for (; to > 0 && keys[to - 1]! > key; to--) {
        keys[to] = keys[to - 1]!;
        rows[to] = rows[to - 1]!;
      }
      keys[to] = key;
      rows[to] = row;
    }
  }

  /** One stable counting sort by 11 bits of the key. */
  #pass(shift: number): void {
    const { rows, count } = this;
    const keys = this.#keys;
    const histogram = this.#histogram;
    histogram.fill(0);
    for (let at = 0; at < count; at++) histogram[(keys[at]! >>> shift) & (RADIX - 1)]! += 1;
    let start = 0;
    for (let digit = 0; digit < RADIX; digit++) {
      const length = histogram[digit]!;
      histogram[digit] = start;
      start += length;
    }
    const toKeys = this.#otherKeys;
    const toRows = this.#otherRows;
    for (let at = 0; at < count; at++) {
      const key = keys[at]!;
      const digit = (key >>> shift) & (RADIX - 1);
      const to = histogram[digit]!;
      histogram[digit] = to + 1;
      toKeys[to] = key;
      toRows[to] = rows[at]!;
    }
    this.#otherKeys = keys;
    this.#otherRows = rows;
    this.#keys = toKeys;
    this.rows = toRows;
  }
}
