/** @module Preprocessing: what a model wants done to an image, as plain data; CPU and GPU both work by it. */

import { allocate, type DTypeMap } from "../core/tensor.ts";
import type { Fit } from "./geometry.ts";

/**
 * How an image is resized; both have half-pixel centres and round to 8 bits.
 * `bilinear` is OpenCV's INTER_LINEAR: of an image that shrinks, what lies between the pixels looked at does not count.
 * `antialias` is Pillow's BILINEAR, and torchvision's with antialias: every pixel counts, by a filter as wide as the ratio.
 */
export type Resize = "bilinear" | "antialias";

/** Every way to resize that runs on every machine, for option schemas and tests. */
export const RESIZES: readonly Resize[] = ["bilinear", "antialias"];

/**
 * From u8 pixels to the input tensor: resize, pad, order the colours, then per channel
 * value = (level × scale − mean) / std.
 */
export interface Preprocessing {
  readonly fit: Fit;
  /**
   * As the model's training did; a model that was trained with one and gets the other finds less. `bicubic` and `lanczos` are
   * Pillow's BICUBIC and LANCZOS, with antialias as well. `lanczos4` is OpenCV's INTER_LANCZOS4, without antialias, and runs on the
   * CPU only.
   */
  readonly resize: Resize | "bicubic" | "lanczos" | "lanczos4";
  /** Order of the tensor's channels; `luma` is a single one, Y of BT.601 in full range, from levels before they are rounded. */
  readonly colour: "RGB" | "BGR" | "luma";
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

/**
 * What a caller says of a model's pre-processing; the rest stays as its head has it. Values for channels are in the order
 * of the tensor's channels: blue first where `colour` is `"BGR"`.
 */
export interface PreprocessingOptions {
  /**
   * `"letterbox"` keeps the image's ratio and centres it, `"letterbox-top-left"` pads right and below, `"stretch"` fills
   * the input.
   */
  readonly fit?: Fit | undefined;
  /** `"bilinear"` as OpenCV's, `"antialias"` as Pillow's and torchvision's, which most DETRs are trained with. */
  readonly resize?: Resize | undefined;
  /** Order of the input's channels. */
  readonly colour?: "RGB" | "BGR" | undefined;
  /** Multiplies the levels 0–255: 1/255 for an input in 0–1, 1 for one in 0–255. */
  readonly scale?: number | undefined;
  /** Subtracted from the scaled levels: one number, or one for each channel. */
  readonly mean?: number | readonly [number, number, number] | undefined;
  /** Divides what is left: one number, or one for each channel; never 0. */
  readonly std?: number | readonly [number, number, number] | undefined;
  /** Level 0–255 of the padding: one number, or one for each channel. */
  readonly pad?: number | readonly [number, number, number] | undefined;
}

/** Channels of the tensor. */
export function channelsOf({ colour }: Pick<Preprocessing, "colour">): 1 | 3 {
  return colour === "luma" ? 1 : 3;
}

type Triple = readonly [number, number, number];

/** A value for each channel, of one for all or one for each. */
export function triple(value: number | Triple): Triple {
  return typeof value === "number" ? [value, value, value] : value;
}

/** A head's pre-processing with what the caller says in its place. */
export function withOptions(base: Preprocessing, options: PreprocessingOptions | undefined): Preprocessing {
  if (options === undefined) return base;
  const { fit = base.fit, resize = base.resize, scale = base.scale } = options;
  // One channel has no order.
  const colour = base.colour === "luma" ? "luma" : (options.colour ?? base.colour);
  const values = {
    mean: triple(options.mean ?? base.mean),
    std: triple(options.std ?? base.std),
    pad: triple(options.pad ?? base.pad),
  };
  return { ...base, fit, resize, colour, scale, ...values };
}

/** What most YOLO exports want: centred letterbox padded with 114, RGB in 0–1, f32 NCHW. */
export const YOLO_PREPROCESSING: Preprocessing = {
  fit: "letterbox",
  resize: "bilinear",
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

/** Array that holds an input tensor of any dtype that pre-processing writes. */
export type InputArray = DTypeMap[Preprocessing["dtype"]];

/** What turns levels into values; a model that makes images has this, and nothing to fit or pad. */
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
