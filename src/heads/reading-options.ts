/** @module ReadingOptions: what a head of the caller's may say of a model, checked as options are. */

import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import { parseOptions, shapeOf } from "../core/options.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import type { HeadReading } from "./head-definition.ts";

const { fit, colour, scale, mean, std, pad, levels } = shapeOf(PREPROCESSING_OPTIONS);

/** Heads may want filters of the CPU as well, as built-in ones do. */
const PREPROCESSING = z.strictObject({
  ...{ fit, colour, scale, mean, std, pad, levels },
  resize: z.enum(["bilinear", "antialias", "bicubic", "lanczos", "lanczos4"]).optional(),
} satisfies Record<keyof PreprocessingOptions, z.ZodType>);

const FROM_ONE = z.int("a whole number from 1 on").min(1, "a whole number from 1 on");
const NAMES = z.array(z.string());

/** A reading as it is checked: no key but those of {@linkcode HeadReading}. */
const READING: z.ZodType = z.strictObject({
  reason: z.string().optional(),
  plan: z.unknown().optional(),
  outputs: NAMES.optional(),
  classes: FROM_ONE.optional(),
  labels: NAMES.optional(),
  preprocessing: PREPROCESSING.optional(),
  needsNms: z.boolean().optional(),
  usualIou: z.number().min(0).max(1).optional(),
  preferredSize: z.tuple([FROM_ONE, FROM_ONE], "a width and a height in pixels").optional(),
  stride: FROM_ONE.optional(),
  isImageSized: z.boolean().optional(),
  sizeInputs: z
    .array(
      z.strictObject({
        name: z.string(),
        dtype: z.enum(["i64", "i32", "f32"]),
        content: z.enum(["width-height", "height-width", "ones", "mask"]),
      }),
    )
    .optional(),
  keypoints: z
    .strictObject({
      count: FROM_ONE,
      numbers: z.union([z.literal(2), z.literal(3)], "2, x and y, or 3, these and a score"),
      names: NAMES.optional(),
      isClipped: z.boolean().optional(),
    })
    .optional(),
  masks: z
    .strictObject({ output: z.string(), coefficients: FROM_ONE.optional(), rule: z.string().optional() })
    .optional(),
} satisfies Record<keyof HeadReading, z.ZodType>);

/**
 * Check a reading: a misspelt key would do nothing, and a wrong value show nowhere but in what is found.
 *
 * @param refuse throws, with the name of the head
 */
export function checkReading(
  reading: HeadReading,
  refuse: (found: string, hint: string, cause?: unknown) => never,
): void {
  try {
    parseOptions(READING, reading, "read a model");
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const [found = "", hint = "docs/models.md and the type `HeadReading` have what its `recognise` may return"] =
      error.message.split("\nHint: ");
    refuse(`its reading is not one. ${found}`, hint, error);
  }
}
