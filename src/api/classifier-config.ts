/** @module Classifier config: what callers may set, checked once with zod, and what the internals then rely on. */

import { z } from "zod";
import { type OpenOptions, refuseStrays } from "../accelerators/accelerator.ts";
import { sizeFrom } from "../core/from-text.ts";
import { numberWithin, wholeWithin } from "../core/number-options.ts";
import { type GivenOptions, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { DEFAULT_MAX_PIXELS, type DecodingLimits } from "../image/decode-limits.ts";
import { DECODING_OPTIONS } from "../image/decode-options.ts";
import { RESIZES } from "../image/preprocessing.ts";
import { PREPROCESSING_OPTIONS } from "../image/preprocessing-options.ts";
import { ACTIVATIONS, type Activation } from "../tasks/classify/class-scores.ts";
import type { ClassifierPreprocessingOptions } from "../tasks/classify/classifier-recipe.ts";
import type { ClassifyParams, ClassifyTaskOptions } from "../tasks/classify/classifier-recognition.ts";
import { type StreamOptions, sides } from "./detector-config.ts";
import { MACHINE_OPTIONS, type MachineChoice, machineOf, withAccelerators } from "./machine-options.ts";

/** Options of one call; those given to `load` are the defaults. */
export interface ClassifyOptions {
  /** At most this many classes an image, the best. Default 5. */
  readonly top?: number;
  /**
   * Aborted: the call rejects at once with the signal's reason. An image that had no slot yet never runs; one that is running
   * runs to its end unseen, and until then its pixels are read. Other images are not affected.
   */
  readonly signal?: AbortSignal;
}

/** Options of `Classifier.stream`. */
export interface ClassifyStreamOptions
  extends ClassifyOptions,
    Pick<StreamOptions, "policy" | "onError" | "onDrop" | "signal"> {}

/** Options of `Classifier.load`. */
export interface ClassifierOptions extends Omit<ClassifyOptions, "signal">, DecodingLimits, MachineChoice {
  /** Class names by id. Default: the model's own, else those of `config.json` beside it. */
  readonly labels?: readonly string[];
  /**
   * What is done to the model's values: `"softmax"` makes logits probabilities that come to 1, `"sigmoid"` those of a model whose
   * images may be of several classes, `"none"` leaves them. Default: told from the model's values.
   */
  readonly activation?: Activation;
  /**
   * What the model wants done to an image. Default: what Ultralytics' metadata says, else `preprocessor_config.json` and
   * `config.json` beside the model, else torchvision's way. `bun-tensorrt inspect` shows what is assumed.
   */
  readonly preprocessing?: ClassifierPreprocessingOptions;
  /** Input size in pixels of a model with dynamic height and width: a square side, or [width, height]. Default: the model's, else 224. */
  readonly size?: number | readonly [width: number, height: number];
  /** Most images the model gets at once. Default 1; at most the model's own batch. */
  readonly batch?: number;
  /** With `batch` above 1: most milliseconds that an image waits for others to fill a batch. Default 0. */
  readonly batchWaitMs?: number;
  /** Batches in flight: each owns its buffers. Default 1. */
  readonly inFlight?: number;
  /** Number of the GPU, from 0 on. Default 0. */
  readonly device?: number;
}

/** Complete options of `Classifier.load`. */
export interface ClassifierConfig extends OpenOptions, ClassifyTaskOptions {
  readonly batch: number;
  readonly batchWaitMs: number;
  readonly maxPixels: number;
  readonly device: number;
  readonly classify: ClassifyParams;
}

const DEFAULT_TOP = 5;

const callTable: GivenOptions<ClassifyOptions> = {
  top: {
    schema: wholeWithin(1, 100_000).optional(),
    short: "t",
    help: "maximum classes per image, the best",
    otherwise: `${DEFAULT_TOP}`,
    aliases: ["topK"],
  },
  signal: { schema: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional() },
};
const callSchema = z.strictObject(shapeOf(callTable));

const callback = z.custom<never>((value) => typeof value === "function", "a function").optional();
const streamSchema = callSchema.extend({
  policy: z.enum(["all", "latest"], '"all" or "latest"').default("all"),
  onError: callback,
  onDrop: callback,
});

const FITS = ["shorter-side", "longer-side", "stretch"] as const;
const FILTERS = [...RESIZES, "bicubic", "lanczos"] as const;
const { colour, scale, mean, std, pad } = PREPROCESSING_OPTIONS;

const PREPROCESSING: GivenOptions<ClassifierPreprocessingOptions> = {
  fit: {
    schema: z.enum(FITS, "shorter-side, longer-side or stretch").optional(),
    value: "HOW",
    help: "resize: shorter-side cuts, longer-side pads, stretch changes the ratio",
  },
  resize: {
    schema: z.enum(FILTERS, `one of ${FILTERS.join(", ")}`).optional(),
    value: "HOW",
    help: "bilinear as OpenCV; antialias, bicubic or lanczos as Pillow",
  },
  crop: {
    schema: numberWithin(0.01, 1, "a share from 0.01 to 1").optional(),
    value: "SHARE",
    help: "share of the resized image that the model sees: 0.875, or 1",
  },
  ...{ colour, scale, mean, std },
  pad: { ...pad, help: "padding value beside an image that is smaller than the input, 0 to 255" },
};

const { maxPixels, ...decoding } = DECODING_OPTIONS;

const loadTable = {
  top: callTable.top,
  labels: {
    schema: z.array(z.string(), "a list of names").optional(),
    value: "FILE",
    help: "class names, one per line, if the model has none or others",
    aliases: ["names", "classNames"],
  },
  activation: {
    schema: z.enum(ACTIVATIONS, `one of ${ACTIVATIONS.join(", ")}`).optional(),
    value: "HOW",
    help: `what is done to its values: ${ACTIVATIONS.join(", ")}`,
    otherwise: "told from them",
  },
  size: {
    schema: sides.optional(),
    value: "N|WxH",
    fromText: sizeFrom,
    help: "input size for models with a dynamic input",
    otherwise: "the model's, else 224",
    aliases: ["imgsz", "imgSize", "inputSize"],
  },
  batch: { schema: wholeWithin(1, 1024).default(1), help: "batch size", aliases: ["batchSize"] },
  batchWaitMs: {
    schema: numberWithin(0, 60_000, "0 to 60000 milliseconds").default(0),
    value: "MS",
    help: "how long an image waits for others to fill a batch",
    aliases: ["batchWait"],
  },
  inFlight: { schema: wholeWithin(1, 128).default(1), help: "batches in flight" },
  device: { schema: wholeWithin(0, 1023, "a number from 0 to 1023").default(0), help: "number of the GPU" },
  ...decoding,
  maxPixels: { ...maxPixels, schema: maxPixels.schema.unwrap().default(DEFAULT_MAX_PIXELS) },
  preprocessing: { schema: z.strictObject(shapeOf(PREPROCESSING)).optional(), options: PREPROCESSING },
  ...MACHINE_OPTIONS,
} satisfies OptionsOf<ClassifierOptions>;
const loadSchema = z.strictObject(shapeOf(loadTable));

/** Every option of `Classifier.load`. */
export const CLASSIFIER_OPTIONS: OptionsOf<ClassifierOptions> = loadTable;

/**
 * Check the options of `Classifier.load` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseClassifierOptions(options: ClassifierOptions): ClassifierConfig {
  const parsed = parseOptions(withAccelerators(loadSchema), options, "load a classifier", loadTable);
  const { top = DEFAULT_TOP, labels, activation, size, batch, batchWaitMs, device } = parsed;
  const { maxPixels: most, damaged, vectors, decodeTimeoutMs } = parsed;
  const machine = machineOf(parsed);
  refuseStrays(machine, [device]);
  return {
    ...machine,
    ...{ labels, activation, size, batch, batchWaitMs, device },
    ...{ maxPixels: most, damaged, vectors, decodeTimeoutMs },
    preprocessing: parsed.preprocessing as ClassifierPreprocessingOptions | undefined,
    classify: { top },
  };
}

/** Check the options of one call. @throws {OptionError} If one is unknown or out of range */
export function parseClassifyOptions(options: ClassifyOptions, { top }: ClassifyParams): ClassifyParams {
  return { top: parseOptions(callSchema, options, "classify", callTable).top ?? top };
}

/** Complete options of one stream. */
export interface ClassifyStreamConfig {
  readonly policy: "all" | "latest";
  readonly onError: ClassifyStreamOptions["onError"] | undefined;
  readonly onDrop: ClassifyStreamOptions["onDrop"] | undefined;
  readonly signal: AbortSignal | undefined;
  readonly classify: ClassifyParams;
}

/** Check the options of a stream. @throws {OptionError} If one is unknown or out of range */
export function parseClassifyStreamOptions(
  options: ClassifyStreamOptions,
  defaults: ClassifyParams,
): ClassifyStreamConfig {
  const { top = defaults.top, ...rest } = parseOptions(streamSchema, options, "classify in a stream", callTable);
  return { ...rest, signal: rest.signal, onError: rest.onError, onDrop: rest.onDrop, classify: { top } };
}
