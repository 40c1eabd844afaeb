/** @module ImageModel config: what callers may set, checked once with zod, and what the internals then rely on. */

import { z } from "zod";
import { parseOptions } from "../core/options.ts";
import { DEFAULT_MAX_PIXELS, type DecodingLimits } from "../image/decode-limits.ts";
import { decodingShape } from "../image/decode-options.ts";
import type { BuildProgress, EngineBuild, Size } from "../runtime/backend.ts";
import type { PixelRange, TensorLayout } from "../tasks/image/image-recognition.ts";
import type { ImageTaskOptions } from "../tasks/image/image-task.ts";
import type { Padding } from "../tasks/image/tile-grid.ts";

/** Options of `ImageModel.load`. What a model's shapes tell needs none. */
export interface ImageModelOptions extends DecodingLimits {
  /** Where to run. Default `"auto"`: what `$BUN_TENSORRT_BACKEND` says, else the GPU where there is one, else the CPU. */
  readonly backend?: "auto" | "cpu" | "gpu";
  /** What the values of the input stand for. Default `"0-1"`; `"0-255"` for u8. Shapes do not tell it: see the model's card. */
  readonly range?: PixelRange;
  /** The same of the output. Default: the input's, unless that is a mean and a deviation, then `"0-1"`; `"0-255"` for u8. */
  readonly outputRange?: PixelRange;
  /** Order of the input's channels. Default `"RGB"` for three, `"luma"` for one. */
  readonly colour?: "RGB" | "BGR" | "luma";
  /** Order of the output's three channels. Default: the input's. */
  readonly outputColour?: "RGB" | "BGR";
  /** Where the input's channels lie. Default: on the axis that holds 1 or 3. */
  readonly layout?: TensorLayout;
  /** Where the output's channels lie. Default: as its shape fits the input's size. */
  readonly outputLayout?: TensorLayout;
  /** Name of the output that holds the image, if several could. */
  readonly output?: string;
  /**
   * Largest tile of a model with dynamic height and width, in pixels of the source: a side, or [width, height]; a picture
   * within it is run whole. Default 512. A model of fixed size has its own.
   */
  readonly tile?: number | readonly [width: number, height: number];
  /** Pixels that neighbouring tiles share at least. Default an eighth of the tile; twice the receptive radius hides every seam. */
  readonly overlap?: number;
  /** Sides and places of tiles are multiples of it. Default 1; 8 for a model of fixed size that is such a multiple itself. */
  readonly multiple?: number;
  /** What a picture smaller than its tile is filled up with: its last pixels, or itself mirrored. Default `"replicate"`. */
  readonly padding?: Padding;
  /** Tiles the model gets at once, where its batch is dynamic. Default 1 on the CPU, 4 on a GPU. */
  readonly batch?: number;
  /** Alpha of RGBA, enlarged with the picture; `"drop"` leaves that of files out. Default `"keep"`. */
  readonly alpha?: "keep" | "drop";
  /** Pictures in flight: each owns its buffers. Default 1. */
  readonly inFlight?: number;
  /** CPU threads of one inference. Default: the physical cores. */
  readonly threads?: number;
  /** Number of the GPU, from 0 on. Default 0. */
  readonly device?: number;
  /** What an engine built from an ONNX model may compute in. Default `"fp16"`; TensorRT 11 and RTX build what the model says. */
  readonly precision?: "fp32" | "fp16";
  /** Told a few times a second while an engine is built, which takes minutes; the plan is then kept. */
  readonly onBuildProgress?: (progress: BuildProgress) => void;
  /** Ends the building of an engine; its reason is thrown. */
  readonly signal?: AbortSignal;
}

/** Complete options of `ImageModel.load`. */
export interface ImageModelConfig extends ImageTaskOptions {
  readonly backend: "auto" | "cpu" | "gpu";
  readonly inFlight: number;
  readonly maxPixels: number;
  readonly threads: number | undefined;
  readonly device: number;
  readonly build: EngineBuild;
}

const side = z.int().min(1, "a whole number of pixels").max(16384, "at most 16384 pixels");
const sides = z.union(
  [side.transform((value): Size => [value, value]), z.tuple([side, side])],
  "a side from 1 to 16384 pixels, or [width, height]",
);
const number = z.number("a number, or one per channel");
const perChannel = z.union([number, z.tuple([number, number, number])], "a number, or one per channel");
const nonZero = number.refine((value) => value !== 0, "a number that is not 0");
const deviation = z.union(
  [nonZero, z.tuple([nonZero, nonZero, nonZero])],
  "a number that is not 0, or one per channel",
);
const range = z.union(
  [z.enum(["0-1", "0-255", "-1-1"]), z.strictObject({ mean: perChannel, std: deviation })],
  '"0-1", "0-255", "-1-1", or { mean, std } in 0-1 units, std not 0',
);
const layout = z.enum(["NCHW", "NHWC"], "NCHW or NHWC");

const schema = z.strictObject({
  backend: z.enum(["auto", "cpu", "gpu"], "auto, cpu or gpu").default("auto"),
  range: range.optional(),
  outputRange: range.optional(),
  colour: z.enum(["RGB", "BGR", "luma"], "RGB, BGR or luma").optional(),
  outputColour: z.enum(["RGB", "BGR"], "RGB or BGR").optional(),
  layout: layout.optional(),
  outputLayout: layout.optional(),
  output: z.string("the name of an output").optional(),
  tile: sides.default([512, 512]),
  overlap: z.int("a whole number of pixels").min(0, "0 or more pixels").max(16384, "at most 16384 pixels").optional(),
  multiple: z.int("a whole number of pixels").min(1, "at least 1").max(4096, "at most 4096").optional(),
  padding: z.enum(["replicate", "reflect"], "replicate or reflect").default("replicate"),
  batch: z.int().min(1, "at least 1").max(1024, "at most 1024").optional(),
  alpha: z.enum(["keep", "drop"], "keep or drop").default("keep"),
  inFlight: z.int().min(1, "at least 1").max(128, "at most 128").default(1),
  threads: z.int().min(1, "at least 1").max(1024, "at most 1024").optional(),
  maxPixels: z.int().min(1, "at least 1").default(DEFAULT_MAX_PIXELS),
  ...decodingShape,
  device: z.int().min(0, "0 or more").max(1023, "at most 1023").default(0),
  precision: z.enum(["fp32", "fp16"], "fp32 or fp16").optional(),
  onBuildProgress: z
    .custom<(progress: BuildProgress) => void>((value) => typeof value === "function", "a function")
    .optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional(),
});

/**
 * Check the options of `ImageModel.load` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseImageModelOptions(options: ImageModelOptions): ImageModelConfig {
  const parsed = parseOptions(schema, options, "load an image model");
  const { precision, onBuildProgress: onProgress, signal, ...others } = parsed;
  const { range: inputRange, outputRange, colour, outputColour, layout: inputLayout, outputLayout, output } = others;
  return {
    backend: others.backend,
    hints: { range: inputRange, outputRange, colour, outputColour, layout: inputLayout, outputLayout, output },
    tile: others.tile,
    overlap: others.overlap,
    multiple: others.multiple,
    padding: others.padding,
    batch: others.batch,
    alpha: others.alpha,
    inFlight: others.inFlight,
    threads: others.threads,
    maxPixels: others.maxPixels,
    damaged: others.damaged,
    vectors: others.vectors,
    decodeTimeoutMs: others.decodeTimeoutMs,
    device: others.device,
    build: { precision, onProgress, signal },
  };
}
