/** @module Scratch: out-parameters over explicit ArrayBuffers, which never move (small typed arrays do). */

import { ArgumentError, message } from "../core/errors.ts";

const LARGEST_POINTER = 2 ** 53;

/**
 * A block of 64-bit cells for `T *out` parameters: pass {@linkcode OutCells.cells} to the call, read a cell afterwards.
 * Valid until the next call that uses the same block, so each wrapper keeps its own.
 */
export class OutCells {
  /** What is passed as the pointer. */
  readonly cells: BigUint64Array<ArrayBuffer>;
  readonly #low: Uint32Array<ArrayBuffer>;
  readonly #signed: Int32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;

  /** @param count number of 64-bit cells */
  constructor(count: number) {
    const buffer = new ArrayBuffer(count * 8);
    this.cells = new BigUint64Array(buffer);
    this.#low = new Uint32Array(buffer);
    this.#signed = new Int32Array(buffer);
    this.#floats = new Float32Array(buffer);
  }

  /** Zero all cells. */
  clear(): void {
    this.#low.fill(0);
  }

  /** A pointer, handle or size as a number. @throws {ArgumentError} If it is 2^53 or more */
  pointer(cell = 0): number {
    const value = this.#low[cell * 2]! + this.#low[cell * 2 + 1]! * 2 ** 32;
    if (value >= LARGEST_POINTER) {
      throw new ArgumentError(message("use a native pointer", `it must be below 2^53: 0x${value.toString(16)}`));
    }
    return value;
  }

  /** The low 32 bits as `uint32_t`. */
  u32(cell = 0): number {
    return this.#low[cell * 2]!;
  }

  /** The low 32 bits as `int32_t`. */
  i32(cell = 0): number {
    return this.#signed[cell * 2]!;
  }

  /** The low 32 bits as `float`. */
  f32(cell = 0): number {
    return this.#floats[cell * 2]!;
  }

  /** Write a pointer or size, for in-out parameters and arrays of pointers. */
  setPointer(cell: number, value: number): void {
    this.#low[cell * 2] = value % 2 ** 32;
    this.#low[cell * 2 + 1] = Math.floor(value / 2 ** 32);
  }
}
