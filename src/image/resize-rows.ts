/** @module Resize rows: the inner loops of pre-processing, one row at a time, from u8 pixels to values of the tensor. */

import { WEIGHT_BITS } from "./resize-taps.ts";

const HALF = 1 << (2 * WEIGHT_BITS - 1);

/**
 * Where a row of values goes and how levels become values. One is kept and refilled for every row.
 *
 * The output is f32 alone, so that the loops below stay compiled for one kind of array: with three they ran at half the
 * speed. `Preprocessor` turns rows into the other dtypes.
 */
export interface RowTarget {
  output: Float32Array;
  /** Element of `output` that takes the first pixel of the first, second and third source channel. */
  first: number;
  second: number;
  third: number;
  /** Elements from one pixel to the next: 1 in planes, 3 where channels alternate. */
  step: number;
  /** f32 [3, 256]: the value of each level, by source channel. One array: three cost the loops their registers. */
  table: Float32Array;
}

/**
 * Resize one source row horizontally.
 *
 * @param source  u8 pixels
 * @param start   offset of the row in bytes
 * @param columns what `bilinearTaps` gave for the columns, in bytes
 * @param row     i32 [width, 3], written: levels × 2048
 */
export function resizeRow(source: Uint8Array, start: number, columns: Int32Array, row: Int32Array): void {
  const end = columns.length;
  for (let k = 0; k < end; k += 3) {
    const near = start + columns[k]!;
    const far = start + columns[k + 1]!;
    const weight = columns[k + 2]!;
    const a = source[near]!;
    const b = source[near + 1]!;
    const c = source[near + 2]!;
    row[k] = (a << WEIGHT_BITS) + Math.imul(weight, source[far]! - a);
    row[k + 1] = (b << WEIGHT_BITS) + Math.imul(weight, source[far + 1]! - b);
    row[k + 2] = (c << WEIGHT_BITS) + Math.imul(weight, source[far + 2]! - c);
  }
}

/**
 * Blend two resized rows and store their values.
 *
 * @param near   i32 [width, 3], from {@linkcode resizeRow}
 * @param far    likewise, of the next source row
 * @param weight of `far`, 0–2048
 * @param target where the values go
 */
export function storeBlend(near: Int32Array, far: Int32Array, weight: number, target: RowTarget): void {
  const { output, step, table } = target;
  let { first, second, third } = target;
  const end = near.length;
  for (let k = 0; k < end; k += 3) {
    const a = near[k]!;
    const b = near[k + 1]!;
    const c = near[k + 2]!;
    // At most 255 × 2²² + 2²¹: it fits in 32 bits.
    output[first] = table[((a << WEIGHT_BITS) + Math.imul(weight, far[k]! - a) + HALF) >> (2 * WEIGHT_BITS)]!;
    output[second] =
      table[256 + (((b << WEIGHT_BITS) + Math.imul(weight, far[k + 1]! - b) + HALF) >> (2 * WEIGHT_BITS))]!;
    output[third] =
      table[512 + (((c << WEIGHT_BITS) + Math.imul(weight, far[k + 2]! - c) + HALF) >> (2 * WEIGHT_BITS))]!;
    first += step;
    second += step;
    third += step;
  }
}

/**
 * Store the values of the source pixels that the columns lie on: what the two functions above come to where all weights
 * are 0, in a third of the time.
 *
 * @param source  u8 pixels
 * @param start   offset of the row in bytes
 * @param columns what `bilinearTaps` gave for the columns, in bytes
 * @param target  where the values go
 */
export function storePoints(source: Uint8Array, start: number, columns: Int32Array, target: RowTarget): void {
  const { output, step, table } = target;
  let { first, second, third } = target;
  const end = columns.length;
  for (let k = 0; k < end; k += 3) {
    const at = start + columns[k]!;
    output[first] = table[source[at]!]!;
    output[second] = table[256 + source[at + 1]!]!;
    output[third] = table[512 + source[at + 2]!]!;
    first += step;
    second += step;
    third += step;
  }
}
