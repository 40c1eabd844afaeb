/** @module PixelTensor: how a picture stands in a tensor of a model, as plain data; CPU and GPU both work by it. */

import type { Line } from "../../image/preprocess-values.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";

/**
 * What the values stand for. `"0-1"`, `"0-255"`, `"-1-1"`: the darkest and the brightest level; or the mean and the standard
 * deviation, in 0–1 units by tensor channel, of values that were normalised with them.
 */
export type PixelRange = "0-1" | "0-255" | "-1-1" | { readonly mean: PerChannel; readonly std: PerChannel };

/** A number for all channels, or one a tensor channel. */
export type PerChannel = number | readonly [number, number, number];

/**
 * What the channels are. `luma`: Y of BT.601, full range; chroma is carried over from the source. `grey`: one channel of an
 * output whose input has colour, such as a depth map; it becomes R, G and B.
 */
export type PixelChannels = "RGB" | "BGR" | "luma" | "grey";

/** Where the channels lie. */
export type TensorLayout = Preprocessing["layout"];

/** An input or output that holds pictures: value = (level × scale − mean) / std. */
export interface PixelTensor extends Pick<Preprocessing, "layout" | "dtype" | "scale" | "mean" | "std"> {
  readonly name: string;
  readonly channels: PixelChannels;
}

/** Number of channels. */
export function channelCount(channels: PixelChannels): 1 | 3 {
  return channels === "luma" || channels === "grey" ? 1 : 3;
}

function triple(value: PerChannel): readonly [number, number, number] {
  return typeof value === "number" ? [value, value, value] : value;
}

/** Scale, mean and standard deviation of a range. */
export function normalisation(range: PixelRange): Pick<Preprocessing, "scale" | "mean" | "std"> {
  if (range === "0-255") return { scale: 1, mean: [0, 0, 0], std: [1, 1, 1] };
  if (range === "0-1") return { scale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] };
  if (range === "-1-1") return { scale: 1 / 255, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
  return { scale: 1 / 255, mean: triple(range.mean), std: triple(range.std) };
}

/** Shape of the tensor. @param size in pixels */
export function pixelShape(
  { layout, channels }: Pick<PixelTensor, "layout" | "channels">,
  batch: number,
  [width, height]: readonly [width: number, height: number],
): number[] {
  const count = channelCount(channels);
  return layout === "NCHW" ? [batch, count, height, width] : [batch, height, width, count];
}

/** From the values of an output's channel to levels 0–255. */
export function levelLine({ scale, mean, std }: Pick<PixelTensor, "scale" | "mean" | "std">, channel: number): Line {
  return { slope: Math.fround(std[channel]! / scale), offset: Math.fround(mean[channel]! / scale) };
}
