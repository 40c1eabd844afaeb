/** @module Map config: what callers may set of models that say something of every pixel, checked once with zod. */

import { z } from "zod";
import { sizeFrom } from "../core/from-text.ts";
import type { GivenOptions, OptionsOf } from "../core/options.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import type { DepthKind, DepthTaskOptions } from "../tasks/depth/depth-task.ts";
import type { MapPreprocessingOptions, MapTaskOptions } from "../tasks/image/map-recognition.ts";
import type { SemanticTaskOptions } from "../tasks/semantic/semantic-task.ts";
import type { CallOptions, StreamRules } from "./call-options.ts";
import { CLASSIFIER_PREPROCESSING } from "./classifier-config.ts";
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
