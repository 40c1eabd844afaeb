/** @module Described tensors: the same numbers golden.py makes, from a generator's seed and ranges by channel. */

import { allocate, type Tensor, tensorOf, volume } from "../../src/core/tensor.ts";

/** A tensor as golden.py describes it. */
export interface TensorDescription {
  readonly name: string;
  readonly dtype: "f32" | "f16" | "i32" | "i64";
  readonly shape: readonly number[];
  /** Axis of the channels that `ranges` covers. */
  readonly axis: number;
  readonly ranges: readonly (readonly [channels: number, low: number, high: number])[];
  readonly seed: number;
  /** Columns of the last axis that hold whole numbers. */
  readonly whole?: number | readonly number[];
}

/** Numbers from 0 to 1 of a linear congruential generator; exact in f32. */
export function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 0x100_0000;
  };
}

/** The tensor of a description. */
export function describedTensor(description: TensorDescription): Tensor {
  const { dtype, shape, axis, ranges, seed, whole = [] } = description;
  const wholeColumns = new Set([whole].flat());
  const channels = ranges.flatMap(([count, low, high]) => new Array<[number, number]>(count).fill([low, high]));
  const next = uniform(seed);
  const inner = volume(shape.slice(axis + 1));
  const columns = shape.at(-1)!;
  const data = allocate(dtype, volume(shape));
  for (let at = 0; at < data.length; at++) {
    const [low, high] = channels[Math.floor(at / inner) % channels.length]!;
    const value = low + next() * (high - low);
    const isWhole = dtype === "i32" || dtype === "i64" || wholeColumns.has(at % columns);
    const number = isWhole ? Math.floor(value) : Math.fround(value);
    data[at] = dtype === "i64" ? BigInt(number) : number;
  }
  return tensorOf(dtype, shape, data);
}
