/** @module Preprocessing: what a model wants done to an image, as plain data; CPU and GPU both work by it. */

import { allocate, type DTypeMap } from "../core/tensor.ts";
import { type Fit, roundHalfEven } from "./geometry.ts";

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
  /**
   * Order of the tensor's channels; `luma` is a single one, Y of BT.601 in full range, from levels before they are rounded. A fourth
   * channel is the image's own, such as depth.
   */
  readonly colour: "RGB" | "BGR" | "luma" | "RGBA" | "BGRA";
  /** Where the channels lie in the tensor. */
  readonly layout: "NCHW" | "NHWC";
  readonly dtype: "f32" | "f16" | "u8" | "u16";
  /** Multiplies the level 0–255: 1/255 for inputs in 0–1, 1 for inputs in 0–255. */
  readonly scale: number;
  /** Per tensor channel, in scaled units. */
  readonly mean: readonly [number, number, number];
  /** Per tensor channel, in scaled units. */
  readonly std: readonly [number, number, number];
  /** Level 0–255 of the padding, per tensor channel, before scale, mean and std. */
  readonly pad: readonly [number, number, number];
  /** Of a fourth channel. Left out: mean 0, deviation 1, padding as the third. */
  readonly fourth?: Readonly<Record<"mean" | "std" | "pad", number>> | undefined;
  /** Samples of 16 bits that count as the levels 0 and 255, where the image does not say. Left out: 0 and 65535. */
  readonly levels?: readonly [black: number, white: number] | undefined;
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
  readonly mean?: number | Triple | Quadruple | undefined;
  /** Divides what is left: one number, or one for each channel; never 0. */
  readonly std?: number | Triple | Quadruple | undefined;
  /** Level 0–255 of the padding: one number, or one for each channel. */
  readonly pad?: number | Triple | Quadruple | undefined;
  /**
   * Samples of images of 16 bits that count as the levels 0 and 255: `[0, 16383]` of a camera of 14 bits. Others are cut. Default: 0
   * and 65535; what an image says of itself comes first.
   */
  readonly levels?: readonly [black: number, white: number] | undefined;
}

/** Channels of the tensor. */
export function channelsOf({ colour }: Pick<Preprocessing, "colour">): 1 | 3 | 4 {
  return colour === "luma" ? 1 : hasFourth(colour) ? 4 : 3;
}

/** True if the tensor has a fourth channel. */
export function hasFourth(colour: Preprocessing["colour"]): boolean {
  return colour === "RGBA" || colour === "BGRA";
}

/** True if the tensor's first channel is blue. */
export function isBlueFirst(colour: Preprocessing["colour"]): boolean {
  return colour === "BGR" || colour === "BGRA";
}

/** Values of a fourth channel of which nothing is said. */
function fourthOf({ fourth, pad }: Pick<Preprocessing, "fourth" | "pad">): NonNullable<Preprocessing["fourth"]> {
  return fourth ?? { mean: 0, std: 1, pad: pad[2] };
}

/** A value for each of three channels. */
export type Triple = readonly [number, number, number];
/** A value for each of four channels. */
export type Quadruple = readonly [number, number, number, number];

/** A value for each channel, of one for all or one for each. */
export function triple(value: number | Triple | Quadruple): Triple {
  return typeof value === "number" ? [value, value, value] : [value[0], value[1], value[2]];
}

/** What is said of a fourth channel; of three values nothing is. */
function fourthIn(value: number | Triple | Quadruple | undefined): number | undefined {
  return typeof value === "object" ? value[3] : value;
}

/** What a file beside a model says, whose filters may be others than callers name. */
export interface PreprocessingSaid extends Omit<PreprocessingOptions, "resize"> {
  readonly resize?: Preprocessing["resize"] | undefined;
}

/** A head's pre-processing with what the caller says, or a file, in its place. */
export function withOptions(base: Preprocessing, options: PreprocessingSaid | undefined): Preprocessing {
  if (options === undefined) return base;
  const { fit = base.fit, resize = base.resize, scale = base.scale, levels = base.levels } = options;
  const isOfFour = hasFourth(base.colour);
  // One channel has no order.
  const ordered = isOfFour && options.colour !== undefined ? (`${options.colour}A` as const) : options.colour;
  const colour = base.colour === "luma" ? "luma" : (ordered ?? base.colour);
  const before = fourthOf(base);
  const fourth = {
    mean: fourthIn(options.mean) ?? before.mean,
    std: fourthIn(options.std) ?? before.std,
    pad: fourthIn(options.pad) ?? before.pad,
  };
  const values = {
    mean: triple(options.mean ?? base.mean),
    std: triple(options.std ?? base.std),
    pad: triple(options.pad ?? base.pad),
  };
  const further = { ...(isOfFour ? { fourth } : {}), ...(levels === undefined ? {} : { levels }) };
  return { ...base, fit, resize, colour, scale, ...values, ...further };
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
type ValueRange = Pick<Preprocessing, "dtype" | "scale" | "mean" | "std"> & Partial<Pick<Preprocessing, "fourth">>;

/**
 * The value of a level: (level × scale − mean) / std in double precision, rounded once to the tensor's dtype, halves to
 * even; for u8 and u16 cut to what these hold as well.
 *
 * @param channel of the tensor, 0–3
 * @param level   0–255
 */
export function levelValue(preprocessing: ValueRange, channel: number, level: number): number {
  const { scale, mean, std, fourth, dtype } = preprocessing;
  const value = (level * scale - (mean[channel] ?? fourth?.mean ?? 0)) / (std[channel] ?? fourth?.std ?? 1);
  return roundedTo(dtype, value);
}

/** A value as a dtype holds it. */
export function roundedTo(dtype: Preprocessing["dtype"], value: number): number {
  switch (dtype) {
    case "f32":
      return Math.fround(value);
    case "f16":
      return Math.f16round(value);
    case "u8":
      return Uint8ClampedArray.of(value)[0]!;
    case "u16":
      return Math.min(Math.max(roundHalfEven(value), 0), 65_535);
  }
}

/**
 * The values of all levels.
 *
 * @param channels tensor channels, in the order wanted
 * @returns f32 [3, 256], which holds f16 and u8 values exactly
 */
export function levelTable(preprocessing: ValueRange, channels: Triple): Float32Array<ArrayBuffer> {
  const table = allocate("f32", 768);
  for (const [at, channel] of channels.entries()) {
    for (let level = 0; level < 256; level++) table[at * 256 + level] = levelValue(preprocessing, channel, level);
  }
  return table;
}

/** The values of padding, by tensor channel. */
export function paddingValues(preprocessing: Pick<Preprocessing, "colour" | "pad"> & ValueRange): number[] {
  const { colour, pad } = preprocessing;
  const levels = hasFourth(colour) ? [...pad, fourthOf(preprocessing).pad] : pad;
  if (colour !== "luma") return levels.map((level, channel) => levelValue(preprocessing, channel, level));
  return [roundedTo(preprocessing.dtype, lumaValue(pad[0] * 65536, lumaLine(preprocessing)))];
}

/** A straight line: f(x) = x × slope + offset, each step rounded to f32, as a GPU does it. */
export interface Line {
  readonly slope: number;
  readonly offset: number;
}

/** BT.601 weights of R, G and B in 1/65536; together the whole. */
export const LUMA_WEIGHTS = { red: 19595, green: 38470, blue: 7471 } as const;

/** From a level to its value, by tensor channel. */
export function levelLines(preprocessing: ValueRange & Pick<Preprocessing, "pad">): Line[] {
  const { scale, mean, std } = preprocessing;
  const fourth = fourthOf(preprocessing);
  const lineOf = (mean: number, std: number): Line => ({
    slope: Math.fround(scale / std),
    offset: Math.fround(-mean / std),
  });
  return [...mean.map((value, channel) => lineOf(value, std[channel]!)), lineOf(fourth.mean, fourth.std)];
}

/** From 65536 × luma, which f32 holds exactly, to the value of a luma tensor. */
export function lumaLine({ scale, mean, std }: Pick<Preprocessing, "scale" | "mean" | "std">): Line {
  return { slope: Math.fround(scale / std[0] / 65536), offset: Math.fround(-mean[0] / std[0]) };
}

/** The value of a luma tensor, before it is rounded to f16 or u8. @param luma × 65536 */
function lumaValue(luma: number, { slope, offset }: Line): number {
  return Math.fround(Math.fround(luma * slope) + offset);
}
