/** @module TransformFlags: the flags of `transform`, and what they stand for. */

import { z } from "zod";
import type { ImageModelOptions } from "../api/image-model-config.ts";
import type { EncodedFormat } from "../image/encode-options.ts";
import { IMAGENET_MEAN, IMAGENET_STD } from "../image/preprocessing.ts";
import type { PixelRange } from "../tasks/image/image-recognition.ts";
import { type Flag, type ParsedArguments, parseFlags, refuse } from "./args.ts";
import { DECODING_FLAGS, decodingOf, decodingShape, given } from "./detector-flags.ts";
import { count, pixelSize, toggle, wholeNumber } from "./values.ts";

const RANGES: Readonly<Record<string, PixelRange>> = {
  "0-1": "0-1",
  "0-255": "0-255",
  "-1-1": "-1-1",
  imagenet: { mean: IMAGENET_MEAN, std: IMAGENET_STD },
};
const RANGE_NAMES: string = Object.keys(RANGES).join("|");
const FORMATS: Readonly<Record<string, EncodedFormat>> = { png: "png", jpg: "jpeg", jpeg: "jpeg", webp: "webp" };

/** In the order of the help. */
export const TRANSFORM_FLAGS: readonly Flag[] = [
  { name: "model", short: "m", value: "FILE", summary: "ONNX file or plan of an image-to-image model" },
  { name: "output", short: "o", value: "FILE|DIR", summary: "what is written: one file, or a folder for many" },
  {
    name: "format",
    short: "f",
    value: "png|jpg|webp",
    summary: "of files in a folder (default the source's, else png)",
  },
  { name: "quality", value: "1-100", summary: "of JPEG and WebP (default 90)" },
  { name: "tile", value: "N|WxH", summary: "largest tile of a model that takes any size (default 512)" },
  { name: "overlap", value: "N", summary: "pixels that tiles share (default an eighth of a tile)" },
  { name: "multiple", value: "N", summary: "what sides and places of tiles are multiples of (default 1, or 8)" },
  { name: "padding", value: "replicate|reflect", summary: "padding for images smaller than a tile" },
  { name: "batch", value: "N", summary: "batch size in tiles, if the model's batch is dynamic (default 1, GPU 4)" },
  { name: "range", value: RANGE_NAMES, summary: "value range of the model's input (default 0-1)" },
  { name: "output-range", value: RANGE_NAMES, summary: "value range of its output (default the input's)" },
  { name: "colour", value: "RGB|BGR|luma", summary: "order of its channels (default RGB; luma for one)" },
  { name: "layout", value: "NCHW|NHWC", summary: "where its input's channels lie, where the shape does not tell" },
  { name: "output-layout", value: "NCHW|NHWC", summary: "and its output's" },
  { name: "tensor", value: "NAME", summary: "the output that holds the image, if several could" },
  { name: "backend", value: "auto|cpu|gpu", summary: "where to run (default auto: the GPU where there is one)" },
  { name: "device", value: "N", summary: "number of the GPU (default 0)" },
  { name: "precision", value: "fp32|fp16", summary: "lowest precision an engine is built with (default fp16)" },
  { name: "threads", value: "N", summary: "CPU threads (default the physical cores)" },
  ...DECODING_FLAGS,
  { name: "json", summary: "one array of {file, output, width, height, tiles, timing (ms)}" },
  { name: "quiet", short: "q", summary: "no progress and no summary" },
];

/** The flags of `transform`, checked. */
export interface TransformArguments {
  /** Path or catalogue name. */
  readonly model: string;
  readonly options: ImageModelOptions;
  readonly output: string;
  readonly format: EncodedFormat | undefined;
  readonly quality: number | undefined;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

const path = z.string().min(1, "a path");
const range = z
  .enum(Object.keys(RANGES), `one of ${Object.keys(RANGES).join(", ")}`)
  .transform((name): PixelRange => RANGES[name]!);
const layout = z.enum(["NCHW", "NHWC"], "NCHW or NHWC");

const schema = z.object({
  model: path.optional(),
  output: path.optional(),
  format: z
    .enum(Object.keys(FORMATS), "png, jpg or webp")
    .transform((name): EncodedFormat => FORMATS[name]!)
    .optional(),
  quality: count(100).optional(),
  tile: pixelSize.optional(),
  overlap: wholeNumber(0, 16384).optional(),
  multiple: count(4096).optional(),
  padding: z.enum(["replicate", "reflect"], "replicate or reflect").optional(),
  batch: count(1024).optional(),
  range: range.optional(),
  "output-range": range.optional(),
  colour: z.enum(["RGB", "BGR", "luma"], "RGB, BGR or luma").optional(),
  layout: layout.optional(),
  "output-layout": layout.optional(),
  tensor: z.string().min(1, "the name of an output").optional(),
  backend: z.enum(["auto", "cpu", "gpu"], "auto, cpu or gpu").optional(),
  device: wholeNumber(0, 1023).optional(),
  precision: z.enum(["fp32", "fp16"], "fp32 or fp16").optional(),
  threads: count(1024).optional(),
  ...decodingShape,
  json: toggle,
  quiet: toggle,
});

/**
 * Check the flags of `transform`.
 *
 * @throws {OptionError} If a value is refused, or the model or the place for what is made is missing
 */
export function parseTransformFlags(parsed: ParsedArguments): TransformArguments {
  const flags = parseFlags(parsed, schema);
  const { model, output } = flags;
  if (model === undefined) {
    throw refuse("transform", "model", "Missing --model", "add --model super-resolution.onnx");
  }
  if (output === undefined) {
    throw refuse("transform", "output", "Missing --output", "add --output large.png, or a folder");
  }
  const options = given<ImageModelOptions>({
    backend: flags.backend,
    device: flags.device,
    precision: flags.precision,
    tile: flags.tile,
    overlap: flags.overlap,
    multiple: flags.multiple,
    padding: flags.padding,
    batch: flags.batch,
    range: flags.range,
    outputRange: flags["output-range"],
    colour: flags.colour,
    outputColour: undefined,
    layout: flags.layout,
    outputLayout: flags["output-layout"],
    output: flags.tensor,
    threads: flags.threads,
    alpha: undefined,
    inFlight: undefined,
    ...decodingOf(flags),
    onBuildProgress: undefined,
    signal: undefined,
  });
  const { format, quality } = flags;
  return { model, options, output, format, quality, isJson: flags.json, isQuiet: flags.quiet };
}
