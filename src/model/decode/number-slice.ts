/** @module Number slice: a part of a tensor of any dtype, as an array that a hot loop can index. */

import type { TypedArray } from "../../core/dtype.ts";
import type { Tensor } from "../../core/tensor.ts";

let halfTable: Float32Array | undefined;

/** The f32 of every f16 by its bits: six times as fast as Float32Array.set, 25 times as fast as reading the elements. */
function halfValues(): Float32Array {
  if (halfTable === undefined) {
    const bits = Uint16Array.from({ length: 0x10000 }, (_, half) => half);
    halfTable = new Float32Array(new Float16Array(bits.buffer));
  }
  return halfTable;
}

/**
 * A window on a tensor. f32 is read in place, anything else widened into memory of the slice's own: hot loops then see
 * one type of array. Keep one for each tensor a decoder reads; it only grows.
 */
export class NumberSlice {
  /** The elements lie from `offset` on. */
  data: Float32Array = new Float32Array(0);
  offset = 0;
  #own: Float32Array = new Float32Array(0);
  /** The array last widened and the view of its bits, so that a buffer that stays costs one view. */
  #source: TypedArray | undefined;
  #halves: Uint16Array = new Uint16Array(0);
  #words: Int32Array = new Int32Array(0);

  /**
   * Look at `length` elements from `start` on, until the next call.
   *
   * @param tensor f32, f16, i32 or i64; integers beyond 2^24 are rounded, as f32 has them
   */
  load(tensor: Tensor, start: number, length: number): void {
    const { data } = tensor;
    if (data instanceof Float32Array) {
      this.data = data;
      this.offset = start;
      return;
    }
    if (this.#own.length < length) this.#own = new Float32Array(length);
    if (data instanceof Float16Array) this.#widenHalves(data, start, length);
    else if (data instanceof BigInt64Array) this.#widenLongs(data, start, length);
    else for (let at = 0; at < length; at++) this.#own[at] = data[start + at]!;
    this.data = this.#own;
    this.offset = 0;
  }

  #widenHalves(data: Float16Array<ArrayBuffer>, start: number, length: number): void {
    if (this.#source !== data) {
      this.#halves = new Uint16Array(data.buffer, data.byteOffset, data.length);
      this.#source = data;
    }
    const own = this.#own;
    const halves = this.#halves;
    const table = halfValues();
    for (let at = 0; at < length; at++) own[at] = table[halves[start + at]!]!;
  }

  /** Low and high words, little-endian as every platform Bun runs on: no BigInt is made. */
  #widenLongs(data: BigInt64Array<ArrayBuffer>, start: number, length: number): void {
    if (this.#source !== data) {
      this.#words = new Int32Array(data.buffer, data.byteOffset, data.length * 2);
      this.#source = data;
    }
    const own = this.#own;
    const words = this.#words;
    for (let at = 0; at < length; at++) {
      const word = (start + at) * 2;
      own[at] = (words[word]! >>> 0) + words[word + 1]! * 0x1_0000_0000;
    }
  }
}
