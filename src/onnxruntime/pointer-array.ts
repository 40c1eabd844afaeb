/** @module Pointer array: a `T **` argument of a call that runs off the JS thread. */

import { addressOf } from "../ffi/pointer.ts";
import { OutCells } from "../ffi/scratch.ts";

/** Pointers in a row, NULL at first, at an address that stays. Keep it referenced while a call uses it. */
export class PointerArray {
  readonly length: number;
  readonly #cells: OutCells;

  constructor(length: number) {
    this.length = length;
    // No cells have no address.
    this.#cells = new OutCells(Math.max(length, 1));
  }

  /** Of the first pointer. */
  get address(): number {
    return addressOf(this.#cells.cells);
  }

  get(index: number): number {
    return this.#cells.pointer(index);
  }

  set(index: number, pointer: number): void {
    this.#cells.setPointer(index, pointer);
  }
}
