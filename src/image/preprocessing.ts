/** @module Preprocessing: what a model wants done to a picture, as plain data; CPU and GPU both work by it. */

import type { Fit } from "./geometry.ts";

/**
 * From u8 pixels to the input tensor: resize (bilinear, half-pixel centres), pad, order the colours, then per channel
 * value = (level × scale − mean) / std.
 */
export interface Preprocessing {
  readonly fit: Fit;
  /** Order of the tensor's channels. */
  readonly colour: "RGB" | "BGR";
  /** Where the channels lie in the tensor. */
  readonly layout: "NCHW" | "NHWC";
  readonly dtype: "f32" | "f16" | "u8";
  /** Multiplies the level 0–255: 1/255 for inputs in 0–1, 1 for inputs in 0–255. */
  readonly scale: number;
  /** Per tensor channel, in scaled units. */
  readonly mean: readonly [number, number, number];
  /** Per tensor channel, in scaled units. */
  readonly std: readonly [number, number, number];
  /** Level 0–255 of the padding, per tensor channel, before scale, mean and std. */
  readonly pad: readonly [number, number, number];
}

/** What most YOLO exports want: centred letterbox padded with 114, RGB in 0–1, f32 NCHW. */
export const YOLO_PREPROCESSING: Preprocessing = {
  fit: "letterbox",
  colour: "RGB",
  layout: "NCHW",
  dtype: "f32",
  scale: 1 / 255,
  mean: [0, 0, 0],
  std: [1, 1, 1],
  pad: [114, 114, 114],
};

/** Mean of ImageNet's channels, RGB, in 0–1 units. */
export const IMAGENET_MEAN: readonly [number, number, number] = [0.485, 0.456, 0.406];
/** Standard deviation of ImageNet's channels, RGB, in 0–1 units. */
export const IMAGENET_STD: readonly [number, number, number] = [0.229, 0.224, 0.225];
