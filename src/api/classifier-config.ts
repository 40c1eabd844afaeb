/** @module Classifier config: what callers may set, checked once with zod, and what the internals then rely on. */

import { z } from "zod";
import { numberWithin, wholeWithin } from "../core/number-options.ts";
import type { GivenOptions, OptionsOf } from "../core/options.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import { RESIZES } from "../image/preprocessing.ts";
import type { ClassifierPreprocessingOptions } from "../tasks/classify/classifier-recipe.ts";
import type { Activation, ClassifyParams, ClassifyTaskOptions } from "../tasks/classify/classifier-recognition.ts";
import { CallParser, type StreamRules } from "./call-options.ts";
import {
  group,
  LABELS_OPTION,
  LOAD_OPTIONS,
  type LoadConfig,
  type LoadOptions,
  loadingOf,
  SIZE_OPTION,
} from "./machine-options.ts";

const ACTIVATIONS: readonly [Activation, ...Activation[]] = ["softmax", "sigmoid", "none"];

/** Options of one call; those given to `load` are the defaults. */
export interface ClassifyOptions {
  /** At most this many classes an image, the best. Default 5. */
  readonly top?: number | undefined;
  /**
   * Aborted: the call rejects at once with the signal's reason. An image that had no slot yet never runs; one that is running
   * runs to its end unseen, and until then its pixels are read. Other images are not affected.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `Classifier.stream`. */
export interface ClassifyStreamOptions extends Omit<ClassifyOptions, "signal">, StreamRules {}

/** Options of `Classifier.load`. */
export interface ClassifierOptions extends Omit<ClassifyOptions, "signal">, LoadOptions {
  /** Class names by id. Default: the model's own, else those of `config.json` beside it. */
  readonly labels?: readonly string[] | undefined;
  /**
   * What is done to the model's values: `"softmax"` makes logits probabilities that come to 1, `"sigmoid"` those of a model whose
   * images may be of several classes, `"none"` leaves them. Default: told from the model's values.
   */
  readonly activation?: Activation | undefined;
  /**
   * What the model wants done to an image. Default: what Ultralytics' metadata says, else `preprocessor_config.json` and
   * `config.json` beside the model, else torchvision's way. `bun-tensorrt inspect` shows what is assumed.
   */
  readonly preprocessing?: ClassifierPreprocessingOptions | undefined;
  /** Input size in pixels of a model with dynamic height and width: a square side, or [width, height]. Default: the model's, else 224. */
  readonly size?: number | readonly [width: number, height: number] | undefined;
}

/** Complete options of `Classifier.load`. */
export interface ClassifierConfig extends LoadConfig, ClassifyTaskOptions {
  readonly batch: number;
  readonly maxPixels: number;
  readonly classify: ClassifyParams;
}

const DEFAULT_TOP = 5;

const callTable: GivenOptions<Omit<ClassifyOptions, "signal">> = {
  top: {
    schema: wholeWithin(1, 100_000).optional(),
    short: "t",
    help: "maximum classes per image, the best",
    otherwise: `${DEFAULT_TOP}`,
    aliases: ["topK"],
  },
};

/** Checks what calls and streams of a classifier are told. */
export const CLASSIFY_CALLS: CallParser<ClassifyOptions> = new CallParser("classify", callTable);

const FITS = ["shorter-side", "longer-side", "stretch"] as const;
const FILTERS = [...RESIZES, "bicubic", "lanczos", "lanczos4"] as const;
const ROUNDINGS = ["half-even", "floor", "nearest"] as const;
const { colour, scale, mean, std, pad } = PREPROCESSING_OPTIONS;

/** What a classifier wants done to an image. */
export const CLASSIFIER_PREPROCESSING: GivenOptions<ClassifierPreprocessingOptions> = {
  fit: {
    schema: z.enum(FITS, "shorter-side, longer-side or stretch").optional(),
    value: "HOW",
    help: "resize: shorter-side cuts, longer-side pads, stretch changes the ratio",
  },
  resize: {
    schema: z.enum(FILTERS, `one of ${FILTERS.join(", ")}`).optional(),
    value: "HOW",
    help: "bilinear, lanczos4 (CPU only) as OpenCV; antialias, bicubic, lanczos as Pillow",
  },
  crop: {
    schema: numberWithin(0.01, 1, "a share from 0.01 to 1").optional(),
    value: "SHARE",
    help: "share of the resized image that the model sees: 0.875, or 1",
  },
  rounding: {
    schema: z.enum(ROUNDINGS, "half-even, floor or nearest").optional(),
    value: "HOW",
    help: "half-even as torchvision, floor as transformers, nearest as PaddleClas",
  },
  ...{ colour, scale, mean, std },
  pad: { ...pad, help: "padding value beside an image that is smaller than the input, 0 to 255" },
};

const loadTable = {
  ...callTable,
  labels: LABELS_OPTION,
  activation: {
    schema: z.enum(ACTIVATIONS, `one of ${ACTIVATIONS.join(", ")}`).optional(),
    value: "HOW",
    help: `what is done to its values: ${ACTIVATIONS.join(", ")}`,
    otherwise: "told from them",
  },
  size: { ...SIZE_OPTION, otherwise: "the model's, else 224" },
  ...LOAD_OPTIONS,
  preprocessing: group<ClassifierPreprocessingOptions>(CLASSIFIER_PREPROCESSING),
} satisfies OptionsOf<ClassifierOptions>;
const loading = loadingOf("load a classifier", loadTable);

/** Every option of `Classifier.load`. */
export const CLASSIFIER_OPTIONS: OptionsOf<ClassifierOptions> = loadTable;

/**
 * Check the options of `Classifier.load` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseClassifierOptions(options: ClassifierOptions): ClassifierConfig {
  const { top = DEFAULT_TOP, ...config } = loading(options);
  return { ...config, classify: { top } };
}
