/** @module PreprocessingOptions: what callers may say of a model's pre-processing, declared once. */

import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import { fractionFrom, numbersFrom } from "../core/from-text.ts";
import type { GivenOptions } from "../core/options.ts";
import { FITS, type Fit } from "./geometry.ts";
import { type PreprocessingOptions, type Quadruple, RESIZES, type Resize, type Triple } from "./preprocessing.ts";

/** One value for all channels, or one for each of three or four. */
function channels(value: z.ZodType<number>, rule: string): z.ZodType<number | Triple | Quadruple> {
  return z.union([value, z.tuple([value, value, value]), z.tuple([value, value, value, value])], rule);
}

const LEVELS = "a level from 0 to 255, or one for each channel";
const DEVIATIONS = "a number other than 0, or one for each channel";
const RANGE = "two numbers, of black and of white";
const SCALE = "a number above 0: 1/255, or 1";
const nonZero = z.number(DEVIATIONS).refine((value) => value !== 0, DEVIATIONS);

/** What a model wants done to an image, where its head's way is wrong. */
export const PREPROCESSING_OPTIONS: GivenOptions<PreprocessingOptions> = {
  fit: {
    schema: z.enum(FITS as readonly [Fit, ...Fit[]], `one of ${FITS.join(", ")}`).optional(),
    value: "HOW",
    help: `how an image is fitted to the input: ${FITS.join(", ")}`,
  },
  resize: {
    schema: z.enum(RESIZES as readonly [Resize, ...Resize[]], RESIZES.join(" or ")).optional(),
    value: "HOW",
    help: `${RESIZES.join(", as OpenCV, or ")}, as Pillow and torchvision`,
  },
  colour: { schema: z.enum(["RGB", "BGR"], "RGB or BGR").optional(), help: "order of the input's channels" },
  scale: {
    schema: z.number(SCALE).positive(SCALE).optional(),
    value: "NUMBER",
    fromText: fractionFrom,
    help: "multiplies levels 0 to 255: 1/255 for an input in 0 to 1, or 1",
  },
  mean: {
    schema: channels(z.number(), "a number, or one for each channel").optional(),
    value: "N|N,N,N",
    fromText: numbersFrom,
    help: "subtracted after that, for each channel: 0.485,0.456,0.406",
  },
  std: {
    schema: channels(nonZero, DEVIATIONS).optional(),
    value: "N|N,N,N",
    fromText: numbersFrom,
    help: "divides after that, for each channel: 0.229,0.224,0.225",
  },
  pad: {
    schema: channels(z.number().min(0).max(255), LEVELS).optional(),
    value: "N|N,N,N",
    fromText: numbersFrom,
    help: "padding value of a letterboxed image, 0 to 255",
  },
  levels: {
    schema: z
      .tuple([z.number(RANGE), z.number(RANGE)], RANGE)
      .refine(([black, white]) => black < white, `${RANGE}, which is larger`)
      .optional(),
    value: "N,N",
    fromText: numbersFrom,
    help: "samples of a 16-bit image that are black and white: 0,16383",
    otherwise: "0,65535",
  },
};

/**
 * Refuse padding for images that are stretched.
 *
 * @param spell how whoever gave an option writes its name
 * @throws {OptionError} If both were asked for
 */
export function refusePadding(
  { fit, pad }: PreprocessingOptions = {},
  spell: (name: string) => string = (name) => `Option "preprocessing.${name}"`,
): void {
  if (fit !== "stretch" || pad === undefined) return;
  const found = `${spell("pad")} is for letterboxed images: an image that is stretched has no padding`;
  throw new OptionError(
    `${found}\nHint: leave it out, or choose ${FITS.filter((one) => one !== "stretch").join(" or ")}`,
    "pad",
  );
}
