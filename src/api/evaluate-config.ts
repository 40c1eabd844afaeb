/** @module Evaluate config: what callers of `evaluate` may set. */

import { z } from "zod";
import { type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { CALLBACK_OPTION } from "./call-options.ts";
import { DETECTOR_OPTIONS, type DetectOptions } from "./detector-config.ts";

/** Options of `evaluate`. Those of a call to `detect` hold for every image; a classifier has none of them. */
export interface EvaluateOptions extends Omit<DetectOptions, "slices"> {
  /** Lowest score that counts, 0–1. Default 0.001, as average precision needs all that a model finds. */
  readonly threshold?: number | undefined;
  /** Names or ids of the classes to score; objects of others are left out of the ground truth. Default: all. */
  readonly classes?: readonly (string | number)[] | undefined;
  /** Folder with the images of an annotation file. Default: a folder beside it that has them. */
  readonly images?: string | undefined;
  /** Which part of a dataset is scored, where it has several. Default `"val"`. */
  readonly split?: string | undefined;
  /** Called after each image. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Called with an image that cannot be read or scored; it is skipped. Without it the first one ends the evaluation. */
  readonly onError?: ((error: Error, path: string) => void) | undefined;
}

/** Scores below this say nothing. */
export const EVALUATE_THRESHOLD = 0.001;

const folder = z.string("a path").min(1, "a path").optional();
const { threshold, iou, maxDetections, classAgnostic, classes, signal } = DETECTOR_OPTIONS;

/** Every option of `evaluate`. */
export const EVALUATE_OPTIONS: OptionsOf<EvaluateOptions> = {
  images: { schema: folder, value: "DIR", help: "folder with the images of an annotation file" },
  split: { schema: folder, value: "NAME", help: "part of the dataset to score", otherwise: "val" },
  threshold: { ...threshold, otherwise: `${EVALUATE_THRESHOLD}` },
  ...{ iou, maxDetections, classAgnostic, classes, signal },
  onProgress: CALLBACK_OPTION,
  onError: CALLBACK_OPTION,
};
const schema = z.strictObject(shapeOf(EVALUATE_OPTIONS));

/** Check the options of an evaluation. @throws {OptionError} If one is unknown or out of range */
export function parseEvaluateOptions(options: EvaluateOptions): EvaluateOptions {
  return parseOptions(schema, options, "evaluate a model", EVALUATE_OPTIONS) as EvaluateOptions;
}
