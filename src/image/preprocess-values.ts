/** @module Preprocess values: what a level 0–255 of a channel becomes in the input tensor. */

import { allocate, type DTypeMap } from "../core/dtype.ts";
import type { Preprocessing } from "./preprocessing.ts";

/** Array that holds an input tensor of any dtype that pre-processing writes. */
export type InputArray = DTypeMap[Preprocessing["dtype"]];

/** What turns levels into values; a model that makes pictures has this, and nothing to fit or pad. */
export type ValueRange = Pick<Preprocessing, "dtype" | "scale" | "mean" | "std">;

/**
 * The value of a level: (level × scale − mean) / std in double precision, rounded once to the tensor's dtype, halves to
 * even; for u8 cut to 0–255 as well.
 *
 * @param channel of the tensor, 0–2
 * @param level   0–255
 */
export function levelValue(preprocessing: ValueRange, channel: number, level: number): number {
  const { scale, mean, std, dtype } = preprocessing;
  const value = (level * scale - mean[channel]!) / std[channel]!;
  switch (dtype) {
    case "f32":
      return Math.fround(value);
    case "f16":
      return Math.f16round(value);
    case "u8":
      return Uint8ClampedArray.of(value)[0]!;
  }
}

/**
 * The values of all levels.
 *
 * @param channels tensor channels, in the order wanted
 * @returns f32 [3, 256], which holds f16 and u8 values exactly
 */
export function levelTable(
  preprocessing: ValueRange,
  channels: readonly [number, number, number],
): Float32Array<ArrayBuffer> {
  const table = allocate("f32", 768);
  for (const [at, channel] of channels.entries()) {
    for (let level = 0; level < 256; level++) table[at * 256 + level] = levelValue(preprocessing, channel, level);
  }
  return table;
}

/** The values of padding, by tensor channel. */
export function paddingValues(preprocessing: Pick<Preprocessing, "colour" | "pad"> & ValueRange): number[] {
  const { colour, pad } = preprocessing;
  if (colour !== "luma") return pad.map((level, channel) => levelValue(preprocessing, channel, level));
  const value = lumaValue(pad[0] * 65536, lumaLine(preprocessing));
  if (preprocessing.dtype === "u8") return [Uint8ClampedArray.of(value)[0]!];
  return [preprocessing.dtype === "f16" ? Math.f16round(value) : value];
}

/** A straight line: f(x) = x × slope + offset, each step rounded to f32, as a GPU does it. */
export interface Line {
  readonly slope: number;
  readonly offset: number;
}

/** BT.601 weights of R, G and B in 1/65536; together the whole. */
export const LUMA_WEIGHTS = { red: 19595, green: 38470, blue: 7471 } as const;

/** From 65536 × luma, which f32 holds exactly, to the value of a luma tensor. */
export function lumaLine({ scale, mean, std }: Pick<Preprocessing, "scale" | "mean" | "std">): Line {
  return { slope: Math.fround(scale / std[0] / 65536), offset: Math.fround(-mean[0] / std[0]) };
}

/** The value of a luma tensor, before it is rounded to f16 or u8. @param luma × 65536 */
export function lumaValue(luma: number, { slope, offset }: Line): number {
  return Math.fround(Math.fround(luma * slope) + offset);
}
