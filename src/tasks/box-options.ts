/** @module BoxOptions: what callers may say to the helpers for boxes, checked once. */

import { z } from "zod";
import { parseOptions } from "../core/options.ts";
import { numberWithin, wholeWithin } from "../core/value-options.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import type { NmsOptions } from "./detect/nms.ts";

/** Which objects `nms` keeps. */
export interface NmsChoice {
  /** Objects that overlap a better one by more are left out, 0–1. Default 0.7. */
  readonly iou?: number | undefined;
  /** Objects with a lower score are left out, 0–1. Default 0. */
  readonly threshold?: number | undefined;
  /** At most this many. Default: all. */
  readonly maxDetections?: number | undefined;
  /** True: objects of different classes suppress each other as well. Default false. */
  readonly classAgnostic?: boolean | undefined;
}

const COUNT = "a whole number above 0";
const fraction = numberWithin(0, 1);

const nmsSchema = z.strictObject({
  iou: fraction.default(0.7),
  threshold: fraction.default(0),
  maxDetections: z.int(COUNT).positive(COUNT).optional(),
  classAgnostic: z.boolean("true or false").default(false),
});

/** Check the options of `nms`. @param count of objects @throws {OptionError} If one is unknown or out of range */
export function parseNmsChoice(options: NmsChoice, count: number): NmsOptions {
  const { maxDetections = count, ...choice } = parseOptions(nmsSchema, options, "choose boxes");
  return { ...choice, maxDetections: Math.min(maxDetections, count), classIds: undefined };
}

/** How `letterbox` puts an image into another size. */
export type LetterboxOptions = Pick<PreprocessingOptions, "fit" | "resize" | "pad">;

const SIDES = "two whole numbers from 1 to 65535";
const side = wholeWithin(1, 65_535, SIDES);
const { fit, resize, pad } = PREPROCESSING_OPTIONS;
const letterboxSchema = z.strictObject({
  size: z.tuple([side, side], SIDES),
  ...{ fit: fit.schema, resize: resize.schema, pad: pad.schema },
});

/** Check the options of `letterbox`. @throws {OptionError} If one is unknown or out of range */
export function parseLetterboxOptions(
  size: readonly [width: number, height: number],
  options: LetterboxOptions,
): LetterboxOptions {
  const { size: _, ...checked } = parseOptions(letterboxSchema, { size, ...options }, "resize an image");
  return checked as LetterboxOptions;
}
