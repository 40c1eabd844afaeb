/** @module Top-down config: what callers may set of a pose model of crops, checked once with zod. */

import { z } from "zod";
import { message, OptionError } from "../core/errors.ts";
import type { OptionsOf } from "../core/options.ts";
import { numberWithin } from "../core/value-options.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import type { Refinement, SimccScore } from "../tasks/pose/person-image.ts";
import type { TopDownTaskOptions } from "../tasks/pose/top-down.ts";
import { group, LOAD_OPTIONS, type LoadConfig, type LoadOptions, loadingOf, SIZE_OPTION } from "./machine-options.ts";

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

const loadTable = {
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
const loading = loadingOf("load a top-down pose model", loadTable);

/** Every option of `TopDownPoseEstimator.load`. */
export const TOP_DOWN_OPTIONS: OptionsOf<TopDownPoseOptions> = loadTable;

/** Complete options of `TopDownPoseEstimator.load`. */
export interface TopDownConfig extends LoadConfig, TopDownTaskOptions {
  readonly padding: number;
  readonly batch: number;
  readonly maxPixels: number;
}

/** Check the options and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseTopDownOptions(options: TopDownPoseOptions): TopDownConfig {
  const config = loading(options);
  if (config.preprocessing?.fit !== undefined) {
    const found = "a crop has the ratio of the input already";
    throw new OptionError(message("fit a crop", found, "leave out `fit`"), "preprocessing.fit");
  }
  return config;
}
