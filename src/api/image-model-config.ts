/** @module ImageModel config: what callers may set, checked once with zod, and what the internals then rely on. */

import { z } from "zod";
import type { OpenOptions } from "../accelerators/accelerator.ts";
import { type GivenOptions, type OptionsOf, type OptionTable, parseOptions, shapeOf } from "../core/options.ts";
import { sizeFrom, wholeWithin } from "../core/value-options.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import { IMAGENET_MEAN, IMAGENET_STD } from "../image/preprocessing.ts";
import type { PixelRange, TensorLayout } from "../tasks/image/image-recognition.ts";
import type { ImageTaskOptions } from "../tasks/image/image-task.ts";
import type { Padding } from "../tasks/image-grid.ts";
import { DETECTOR_OPTIONS } from "./detector-config.ts";
import { LOAD_OPTIONS, loadingOf, type MachineChoice, SIDES_TEXT, sides, withAccelerators } from "./machine-options.ts";

/** Options of `ImageModel.load`. What follows from the model's shapes needs none. */
export interface ImageModelOptions extends DecodingLimits, MachineChoice {
  /** What the values of the input stand for. Default `"0-1"`; `"0-255"` for u8. See the model's card: shapes do not show it. */
  readonly range?: PixelRange | undefined;
  /** The same of the output. Default: the input's, unless that is a mean and a deviation, then `"0-1"`; `"0-255"` for u8. */
  readonly outputRange?: PixelRange | undefined;
  /** Order of the input's channels. Default `"RGB"` for three, `"luma"` for one. */
  readonly colour?: "RGB" | "BGR" | "luma" | undefined;
  /** Order of the output's three channels. Default: the input's. */
  readonly outputColour?: "RGB" | "BGR" | undefined;
  /** Where the input's channels lie. Default: on the axis that holds 1 or 3. */
  readonly layout?: TensorLayout | undefined;
  /** Where the output's channels lie. Default: as its shape fits the input's size. */
  readonly outputLayout?: TensorLayout | undefined;
  /** Name of the output that holds the image, if several could. */
  readonly output?: string | undefined;
  /**
   * Largest tile of a model with dynamic height and width, in pixels of the source: a side, or [width, height]; an image
   * within it is run in one piece. Default 512. A model of fixed size has its own.
   */
  readonly tile?: number | readonly [width: number, height: number] | undefined;
  /** Pixels that neighbouring tiles share at least. Default an eighth of the tile; twice the receptive radius hides every seam. */
  readonly overlap?: number | undefined;
  /** Sides and places of tiles are multiples of it. Default 1; 8 for a model of fixed size that is such a multiple itself. */
  readonly multiple?: number | undefined;
  /** What an image smaller than its tile is filled up with: its last pixels, or itself mirrored. Default `"replicate"`. */
  readonly padding?: Padding | undefined;
  /** Tiles the model gets at once, where its batch is dynamic. Default 1 on the CPU, 4 on a GPU. */
  readonly batch?: number | undefined;
  /** Alpha of RGBA, enlarged with the image; `"drop"` leaves that of files out. Default `"keep"`. */
  readonly alpha?: "keep" | "drop" | undefined;
  /** Images in flight: each owns its buffers. Default 1. */
  readonly inFlight?: number | undefined;
  /** Number of the GPU, from 0 on. Default 0. */
  readonly device?: number | undefined;
}

/** Complete options of `ImageModel.load`. */
export interface ImageModelConfig extends ImageTaskOptions, OpenOptions {
  readonly inFlight: number;
  readonly maxPixels: number;
  readonly device: number;
}

const number = z.number("a number, or one per channel");
const perChannel = z.union([number, z.tuple([number, number, number])], "a number, or one per channel");
const nonZero = number.refine((value) => value !== 0, "a number that is not 0");
const deviation = z.union(
  [nonZero, z.tuple([nonZero, nonZero, nonZero])],
  "a number that is not 0, or one per channel",
);
const levels = z.union(
  [z.enum(["0-1", "0-255", "-1-1"]), z.strictObject({ mean: perChannel, std: deviation })],
  "0-1, 0-255, -1-1, or { mean, std } in 0-1 units, std not 0",
);
/** Names of ranges on a command line. */
const RANGES: Readonly<Record<string, PixelRange>> = {
  "0-1": "0-1",
  "0-255": "0-255",
  "-1-1": "-1-1",
  imagenet: { mean: IMAGENET_MEAN, std: IMAGENET_STD },
};
const RANGE_NAMES = Object.keys(RANGES);

function rangeFrom(text: string): PixelRange | string {
  return RANGES[text] ?? text;
}

const channelOrder = z.enum(["NCHW", "NHWC"], "NCHW or NHWC");

/** Options that models of maps have as well. */
export const TILING_OPTIONS: GivenOptions<Pick<ImageModelOptions, "overlap" | "output">> = {
  overlap: {
    schema: wholeWithin(0, 16_384, "0 to 16384 pixels").optional(),
    help: "pixels that tiles share",
    otherwise: "an eighth of a tile",
  },
  output: {
    schema: z.string("the name of an output").min(1, "the name of an output").optional(),
    flag: "tensor",
    value: "NAME",
    help: "the output that holds the image, if several could",
  },
};

const { batch: _, batchWaitMs: __, ...common } = LOAD_OPTIONS;

const table = {
  tile: {
    schema: sides.default([512, 512]),
    value: "N|WxH",
    fromText: sizeFrom,
    textRule: SIDES_TEXT,
    help: "largest tile of a model that takes any size",
    otherwise: "512",
  },
  overlap: TILING_OPTIONS.overlap,
  multiple: {
    schema: wholeWithin(1, 4096, "1 to 4096 pixels").optional(),
    help: "what sides and places of tiles are multiples of",
    otherwise: "1, or 8",
  },
  padding: {
    schema: z.enum(["replicate", "reflect"], "replicate or reflect").default("replicate"),
    help: "padding for images smaller than a tile",
  },
  batch: {
    schema: wholeWithin(1, 1024).optional(),
    help: "batch size in tiles, if the model's batch is dynamic",
    otherwise: "1, GPU 4",
  },
  range: {
    schema: levels.optional(),
    value: RANGE_NAMES.join("|"),
    fromText: rangeFrom,
    textRule: RANGE_NAMES.join(", "),
    help: "value range of the model's input",
    otherwise: "0-1",
  },
  outputRange: {
    schema: levels.optional(),
    value: RANGE_NAMES.join("|"),
    fromText: rangeFrom,
    textRule: RANGE_NAMES.join(", "),
    help: "value range of its output",
    otherwise: "the input's",
  },
  colour: {
    schema: z.enum(["RGB", "BGR", "luma"], "RGB, BGR or luma").optional(),
    help: "order of its channels",
    otherwise: "RGB; luma for one",
  },
  outputColour: {
    schema: z.enum(["RGB", "BGR"], "RGB or BGR").optional(),
    help: "and its output's",
    otherwise: "the input's",
  },
  layout: { schema: channelOrder.optional(), help: "where its input's channels lie, if its shape fits both" },
  outputLayout: { schema: channelOrder.optional(), help: "and its output's" },
  output: TILING_OPTIONS.output,
  alpha: {
    schema: z.enum(["keep", "drop"], "keep or drop").default("keep"),
    help: "alpha of RGBA, enlarged with the image or dropped",
  },
  ...common,
  inFlight: { ...common.inFlight, help: "images in flight" },
} satisfies OptionsOf<ImageModelOptions>;
const loading = loadingOf("load an image model", table);

/** Every option of `ImageModel.load`. */
export const IMAGE_MODEL_OPTIONS: OptionsOf<ImageModelOptions> = table;

/**
 * Check the options of `ImageModel.load` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseImageModelOptions(options: ImageModelOptions): ImageModelConfig {
  const { range, outputRange, colour, outputColour, layout, outputLayout, output, ...config } = loading(options);
  const { accelerators } = config;
  return {
    ...config,
    // Images are decoded on the CPU: those of a GPU may be a level off.
    accelerators: { ...accelerators, tensorrt: { ...accelerators.tensorrt, jpeg: "cpu" } },
    hints: { range, outputRange, colour, outputColour, layout, outputLayout, output },
  };
}

const commonTable: OptionTable = Object.fromEntries(
  Object.entries(DETECTOR_OPTIONS).filter(([name]) => name in IMAGE_MODEL_OPTIONS),
);
const commonSchema = z.strictObject(shapeOf(commonTable));

/**
 * Check the options of `Model.load`, before those of each task are parsed.
 *
 * @throws {OptionError} If one is not of every task: its hint names those that are
 */
export function checkCommonOptions(options: object): void {
  parseOptions(withAccelerators(commonSchema), options, "load a model", commonTable);
}
