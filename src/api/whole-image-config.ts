/**
 * @module Whole-image config: what callers may set of models that read an image, or a crop of one, as a whole: classifiers, those that say
 * something of every pixel, and pose models of crops; checked once with zod, and what the internals then rely on.
 */

import { z } from "zod";
import { message, OptionError } from "../core/errors.ts";
import type { GivenOptions, OptionsOf } from "../core/options.ts";
import { numberWithin, sizeFrom, wholeWithin } from "../core/value-options.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import { type PreprocessingOptions, RESIZES } from "../image/preprocessing.ts";
import type { ClassifierPreprocessingOptions } from "../tasks/classify/classifier-recipe.ts";
import type { Activation, ClassifyParams, ClassifyTaskOptions } from "../tasks/classify/classifier-recognition.ts";
import type { DepthKind, DepthTaskOptions } from "../tasks/depth/depth-task.ts";
import type { MapPreprocessingOptions, MapTaskOptions } from "../tasks/image/map-recognition.ts";
import type { Refinement, SimccScore } from "../tasks/pose/person-image.ts";
import type { TopDownTaskOptions } from "../tasks/pose/top-down.ts";
import type { SemanticTaskOptions } from "../tasks/semantic/semantic-task.ts";
import { type CallOptions, CallParser, type StreamRules } from "./call-options.ts";
import { TILING_OPTIONS } from "./image-model-config.ts";
import {
  group,
  LABELS_OPTION,
  LOAD_OPTIONS,
  type LoadConfig,
  type LoadOptions,
  loadingOf,
  SIDES_TEXT,
  SIZE_OPTION,
  sides,
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
const CLASSIFIER_PREPROCESSING: GivenOptions<ClassifierPreprocessingOptions> = {
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

const classifierTable = {
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
const classifierLoading = loadingOf("load a classifier", classifierTable);

/** Every option of `Classifier.load`. */
export const CLASSIFIER_OPTIONS: OptionsOf<ClassifierOptions> = classifierTable;

/**
 * Check the options of `Classifier.load` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseClassifierOptions(options: ClassifierOptions): ClassifierConfig {
  const { top = DEFAULT_TOP, ...config } = classifierLoading(options);
  return { ...config, classify: { top } };
}

/** Options of one call. */
export interface MapOptions extends CallOptions {}

/** Options of a stream. */
export interface MapStreamOptions extends StreamRules {}

/** Options of every façade for maps. */
interface MapModelOptions extends LoadOptions {
  /**
   * What the model wants done to an image. Default: what Ultralytics' metadata says, else `preprocessor_config.json` beside the
   * model, else stretched with ImageNet's mean and deviation, and the log says so.
   */
  readonly preprocessing?: MapPreprocessingOptions | undefined;
  /**
   * Input size in pixels of a model with dynamic height and width: a square side, or [width, height]. Default: the model's, or
   * that of the file beside it, which may keep the ratio of the image.
   */
  readonly size?: number | readonly [width: number, height: number] | undefined;
  /**
   * Size in pixels of the tiles that an image is cut into, each of which the model sees as it would see an image: a side, or
   * [width, height]. For detail that is lost where a large image is made as small as the input. Default: no tiles.
   */
  readonly tile?: number | readonly [width: number, height: number] | undefined;
  /** Pixels that neighbouring tiles share at least; they are cut in the middle of what they share. Default an eighth of a tile. */
  readonly overlap?: number | undefined;
  /** Name of the output that holds the map, if several could. */
  readonly output?: string | undefined;
  /** Most images or tiles the model gets at once. Default 1; at most the model's own batch. */
  readonly batch?: number | undefined;
}

/** Options of `SemanticSegmenter.load`. */
export interface SemanticSegmenterOptions extends MapModelOptions {
  /** Class names by id. Default: the model's own, else those of `config.json` beside it. */
  readonly labels?: readonly string[] | undefined;
}

/** Options of `DepthEstimator.load`. */
export interface DepthEstimatorOptions extends MapModelOptions {
  /**
   * What the model's numbers are: metres (`"metric"`), or of no unit, larger is nearer (`"relative"`). Default: what the metadata
   * or `config.json` beside the model says, else relative, and the log says so.
   */
  readonly kind?: DepthKind | undefined;
}

const PREPROCESSING: GivenOptions<MapPreprocessingOptions> = {
  ...PREPROCESSING_OPTIONS,
  resize: CLASSIFIER_PREPROCESSING.resize,
};

const { overlap, output } = TILING_OPTIONS;

const table = {
  size: { ...SIZE_OPTION, otherwise: "the model's" },
  tile: {
    schema: sides.optional(),
    value: "N|WxH",
    fromText: sizeFrom,
    textRule: SIDES_TEXT,
    help: "cut images into tiles of this size",
    otherwise: "no tiles",
  },
  overlap,
  output: { ...output, help: "the output that holds the map, if several could" },
  ...LOAD_OPTIONS,
  preprocessing: group<MapPreprocessingOptions>(PREPROCESSING),
} satisfies OptionsOf<MapModelOptions>;

const semanticTable = { labels: LABELS_OPTION, ...table } satisfies OptionsOf<SemanticSegmenterOptions>;
/** Every option of `SemanticSegmenter.load`. */
export const SEMANTIC_OPTIONS: OptionsOf<SemanticSegmenterOptions> = semanticTable;

const KINDS = ["metric", "relative"] as const satisfies readonly DepthKind[];
const depthTable = {
  kind: {
    schema: z.enum(KINDS, KINDS.join(" or ")).optional(),
    help: "what its numbers are: metres, or relative",
    otherwise: "told from the files",
  },
  ...table,
} satisfies OptionsOf<DepthEstimatorOptions>;
/** Every option of `DepthEstimator.load`. */
export const DEPTH_OPTIONS: OptionsOf<DepthEstimatorOptions> = depthTable;

/** Complete options of either façade. */
export interface MapConfig extends LoadConfig, MapTaskOptions {
  readonly batch: number;
  readonly maxPixels: number;
}

/** Checks the options of `SemanticSegmenter.load`, and throws an {@linkcode OptionError} if one is unknown or out of range. */
export const parseSemanticOptions: (options: SemanticSegmenterOptions) => MapConfig & SemanticTaskOptions = loadingOf(
  "load a semantic segmentation model",
  semanticTable,
);

/** Checks the options of `DepthEstimator.load`, and throws an {@linkcode OptionError} if one is unknown or out of range. */
export const parseDepthOptions: (options: DepthEstimatorOptions) => MapConfig & DepthTaskOptions = loadingOf(
  "load a depth model",
  depthTable,
);

/** Options of `TopDownPoseEstimator.load`. */
export interface TopDownPoseOptions extends LoadOptions {
  /** Sides of what the model sees of a person in those of the person's. Default 1.25, as the models are trained. */
  readonly padding?: number | undefined;
  /** What a score is of the largest values for x and y, where a model has SimCC: `"min"` as mmpose, `"mean"` as rtmlib. Default `"min"`. */
  readonly simccScore?: SimccScore | undefined;
  /**
   * How points are found between the pixels of a heat map: `"quarter"` moves them a quarter of a pixel towards the larger
   * neighbour, as HRNet does, `"dark"` by a parabola through the neighbours. Default: `"dark"` for ViTPose as transformers exports
   * it, else `"quarter"`.
   */
  readonly refinement?: Refinement | undefined;
  /**
   * What the model wants done to a crop. Default: RGB by ImageNet's mean and deviation, black beyond the image. rtmlib gives its
   * models BGR by the same numbers: `{ colour: "BGR" }`.
   */
  readonly preprocessing?: PreprocessingOptions | undefined;
  /** Input size in pixels of a model with dynamic height and width. Default: the model's, else 192x256. */
  readonly size?: number | readonly [width: number, height: number] | undefined;
  /** Most people in a run of a model whose batch is open. Default 32; at most the model's own batch. */
  readonly batch?: number | undefined;
  /** With `batch` above 1: most milliseconds that people wait for others. Default 0: those of one call share runs. */
  readonly batchWaitMs?: number | undefined;
}

const topDownTable = {
  padding: {
    schema: numberWithin(0.1, 10, "a number from 0.1 to 10").default(1.25),
    flag: "pose-padding",
    help: "size of what --pose-model sees of a person, in boxes",
  },
  simccScore: {
    schema: z.enum(["min", "mean"], "min or mean").default("min"),
    help: "score of a point by SimCC, of those for x and y",
  },
  refinement: {
    schema: z.enum(["quarter", "dark"], "quarter or dark").optional(),
    help: "points between pixels of heat maps",
    otherwise: "dark: transformers, else quarter",
  },
  preprocessing: group<PreprocessingOptions>(PREPROCESSING_OPTIONS),
  size: SIZE_OPTION,
  ...LOAD_OPTIONS,
  batch: { ...LOAD_OPTIONS.batch, schema: LOAD_OPTIONS.batch.schema.unwrap().default(32) },
} satisfies OptionsOf<TopDownPoseOptions>;
const topDownLoading = loadingOf("load a top-down pose model", topDownTable);

/** Every option of `TopDownPoseEstimator.load`. */
export const TOP_DOWN_OPTIONS: OptionsOf<TopDownPoseOptions> = topDownTable;

/** Complete options of `TopDownPoseEstimator.load`. */
export interface TopDownConfig extends LoadConfig, TopDownTaskOptions {
  readonly padding: number;
  readonly batch: number;
  readonly maxPixels: number;
}

/** Check the options and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseTopDownOptions(options: TopDownPoseOptions): TopDownConfig {
  const config = topDownLoading(options);
  if (config.preprocessing?.fit !== undefined) {
    const found = "a crop has the ratio of the input already";
    throw new OptionError(message("fit a crop", found, "leave out `fit`"), "preprocessing.fit");
  }
  return config;
}
