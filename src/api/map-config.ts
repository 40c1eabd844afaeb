/** @module Map config: what callers may set of models that say something of every pixel, checked once with zod. */

import { z } from "zod";
import { type OpenOptions, refuseStrays } from "../accelerators/accelerator.ts";
import { sizeFrom } from "../core/from-text.ts";
import { type GivenOptions, type OptionsOf, type OptionTable, parseOptions, shapeOf } from "../core/options.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import type { Size } from "../image/geometry.ts";
import { RESIZES } from "../image/preprocessing.ts";
import { PREPROCESSING_OPTIONS } from "../image/preprocessing-options.ts";
import { DEPTH_KINDS, type DepthKind, type DepthTaskOptions } from "../tasks/depth/depth-task.ts";
import type { MapPreprocessingOptions, MapTaskOptions } from "../tasks/image/map-task.ts";
import type { SemanticTaskOptions } from "../tasks/semantic/semantic-task.ts";
import { CLASSIFIER_OPTIONS } from "./classifier-config.ts";
import { type StreamOptions, sides } from "./detector-config.ts";
import { IMAGE_MODEL_OPTIONS } from "./image-model-config.ts";
import { type MachineChoice, machineOf, withAccelerators } from "./machine-options.ts";

/** Options of one call. */
export interface MapOptions {
  /** Aborted: the call rejects at once with the signal's reason, and an image that had no slot yet never runs. */
  readonly signal?: AbortSignal;
}

/** Options of a stream. */
export interface MapStreamOptions extends Pick<StreamOptions, "policy" | "onError" | "onDrop" | "signal"> {}

/** Options of every façade for maps. */
export interface MapModelOptions extends DecodingLimits, MachineChoice {
  /**
   * What the model wants done to an image. Default: what Ultralytics' metadata says, else `preprocessor_config.json` beside the
   * model, else stretched with ImageNet's mean and deviation, and the log says so.
   */
  readonly preprocessing?: MapPreprocessingOptions;
  /**
   * Input size in pixels of a model with dynamic height and width: a square side, or [width, height]. Default: the model's, or
   * that of the file beside it, which may keep the ratio of the image.
   */
  readonly size?: number | readonly [width: number, height: number];
  /**
   * Size in pixels of the tiles that an image is cut into, each of which the model sees as it would see an image: a side, or
   * [width, height]. For detail that is lost where a large image is made as small as the input. Default: no tiles.
   */
  readonly tile?: number | readonly [width: number, height: number];
  /** Pixels that neighbouring tiles share at least; they are cut in the middle of what they share. Default an eighth of a tile. */
  readonly overlap?: number;
  /** Name of the output that holds the map, if several could. */
  readonly output?: string;
  /** Most images or tiles the model gets at once. Default 1; at most the model's own batch. */
  readonly batch?: number;
  /** With `batch` above 1: most milliseconds that an image waits for others to fill a batch. Default 0. */
  readonly batchWaitMs?: number;
  /** Batches in flight: each owns its buffers. Default 1. */
  readonly inFlight?: number;
  /** Number of the GPU, from 0 on. Default 0. */
  readonly device?: number;
}

/** Options of `SemanticSegmenter.load`. */
export interface SemanticSegmenterOptions extends MapModelOptions {
  /** Class names by id. Default: the model's own, else those of `config.json` beside it. */
  readonly labels?: readonly string[];
}

/** Options of `DepthEstimator.load`. */
export interface DepthEstimatorOptions extends MapModelOptions {
  /**
   * What the model's numbers are: metres (`"metric"`), or of no unit, larger is nearer (`"relative"`). Default: what the metadata
   * or `config.json` beside the model says, else relative, and the log says so.
   */
  readonly kind?: DepthKind;
}

const FILTERS = [...RESIZES, "bicubic", "lanczos"] as const;

const PREPROCESSING: GivenOptions<MapPreprocessingOptions> = {
  ...PREPROCESSING_OPTIONS,
  resize: {
    schema: z.enum(FILTERS, `one of ${FILTERS.join(", ")}`).optional(),
    value: "HOW",
    help: "bilinear as OpenCV; antialias, bicubic or lanczos as Pillow",
  },
};

const { top: _, labels, activation: __, preprocessing: ___, size, ...common } = CLASSIFIER_OPTIONS;
const { overlap, output } = IMAGE_MODEL_OPTIONS;

const table: OptionsOf<MapModelOptions> = {
  size: { ...size, otherwise: "the model's" },
  tile: {
    schema: sides.optional(),
    value: "N|WxH",
    fromText: sizeFrom,
    help: "cut images into tiles of this size",
    otherwise: "no tiles",
  },
  overlap,
  output: { ...output, help: "the output that holds the map, if several could" },
  ...common,
  preprocessing: { schema: z.strictObject(shapeOf(PREPROCESSING)).optional(), options: PREPROCESSING },
};

/** Every option of `SemanticSegmenter.load`. */
export const SEMANTIC_OPTIONS: OptionsOf<SemanticSegmenterOptions> = { labels, ...table };

/** Every option of `DepthEstimator.load`. */
export const DEPTH_OPTIONS: OptionsOf<DepthEstimatorOptions> = {
  kind: {
    schema: z.enum(DEPTH_KINDS, DEPTH_KINDS.join(" or ")).optional(),
    help: "what its numbers are: metres, or relative",
    otherwise: "told from the files",
  },
  ...table,
};

/** Complete options of either façade. */
export interface MapConfig<Options extends MapTaskOptions = MapTaskOptions> extends OpenOptions {
  readonly task: Options;
  readonly batch: number;
  readonly batchWaitMs: number;
  readonly maxPixels: number;
  readonly device: number;
}

/** Options as they are once they have been checked. */
type Checked = Omit<SemanticSegmenterOptions & DepthEstimatorOptions, "size" | "tile"> & {
  readonly size?: Size;
  readonly tile?: Size;
};

function parse<Options extends MapTaskOptions>(
  action: string,
  options: object,
  known: OptionTable,
): MapConfig<Options> {
  const parsed = parseOptions(withAccelerators(z.strictObject(shapeOf(known))), options, action, known) as Checked;
  const { batch = 1, batchWaitMs = 0, device = 0, maxPixels } = parsed;
  const machine = machineOf(parsed);
  refuseStrays(machine, [device]);
  return { ...machine, task: parsed as Options & Checked, batch, batchWaitMs, device, maxPixels: maxPixels! };
}

/** Check the options of `SemanticSegmenter.load`. @throws {OptionError} If one is unknown or out of range */
export function parseSemanticOptions(options: SemanticSegmenterOptions): MapConfig<SemanticTaskOptions> {
  return parse("load a semantic segmentation model", options, SEMANTIC_OPTIONS);
}

/** Check the options of `DepthEstimator.load`. @throws {OptionError} If one is unknown or out of range */
export function parseDepthOptions(options: DepthEstimatorOptions): MapConfig<DepthTaskOptions> {
  return parse("load a depth model", options, DEPTH_OPTIONS);
}

const signal = z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional();
const callback = z.custom<never>((value) => typeof value === "function", "a function").optional();
const callSchema = z.strictObject({ signal });
const streamSchema = callSchema.extend({
  policy: z.enum(["all", "latest"], '"all" or "latest"').default("all"),
  onError: callback,
  onDrop: callback,
});

/** Check the options of one call. @throws {OptionError} If one is unknown */
export function parseMapOptions(options: MapOptions, action: string): AbortSignal | undefined {
  return parseOptions(callSchema, options, action).signal;
}

/** Check the options of a stream, and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseMapStreamOptions(
  options: MapStreamOptions,
  action: string,
): { readonly [Name in keyof MapStreamOptions]-?: MapStreamOptions[Name] | undefined } & { policy: "all" | "latest" } {
  const parsed = parseOptions(streamSchema, options, `${action} in a stream`);
  return { ...parsed, signal: parsed.signal, onError: parsed.onError, onDrop: parsed.onDrop };
}
