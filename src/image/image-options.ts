/** @module ImageOptions: what callers may say about decoding and encoding images, and of a model's pre-processing, checked once. */

import { extname } from "node:path";
import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import { type Filled, type GivenOptions, parseOptions } from "../core/options.ts";
import { fractionFrom, numbersFrom, secondsFlag } from "../core/value-options.ts";
import type { DecodingLimits } from "./decode-limits.ts";
import { FITS, type Fit } from "./geometry.ts";
import { type PreprocessingOptions, type Quadruple, RESIZES, type Resize, type Triple } from "./preprocessing.ts";

/** Images with more pixels are refused unless the caller raises the limit: 268 million, 768 MiB of RGB. */
export const DEFAULT_MAX_PIXELS: number = 2 ** 28;

/** Options of a detector for images of strangers, in `serve` and `worker`: 64 Mi pixels are 192 MiB of RGB. */
export const SERVED_DECODING: DecodingLimits = {
  maxPixels: 2 ** 26,
  decodeTimeoutMs: 10_000,
};

/** Of {@linkcode DecodingLimits}, for the options of whoever decodes. */
export const DECODING_OPTIONS: GivenOptions<DecodingLimits> = {
  maxPixels: {
    schema: z.int("a whole number of pixels, at least 1").min(1, "a whole number of pixels, at least 1").optional(),
    help: "most pixels of an image",
    otherwise: "2^28; serve and worker 2^26",
  },
  decodeTimeoutMs: {
    // Timers count no further.
    schema: z
      .number("a number of milliseconds")
      .min(1, "at least 1 ms")
      .max(2 ** 31 - 1, "at most 24 days")
      .optional(),
    value: "MS",
    help: "time to decode an image",
    otherwise: "60000; serve and worker 10000",
    aliases: [secondsFlag("decodeTimeout")],
  },
  damaged: {
    schema: z.enum(["refuse", "take"], "refuse or take").optional(),
    help: "take what is left of damaged JPEGs, marked",
    otherwise: "refuse",
  },
  vectors: { schema: z.boolean("true or false").optional(), help: "render SVG: only for images you trust" },
};

const pixels = DECODING_OPTIONS.maxPixels.schema.unwrap();
const decodeSchema = z.strictObject({
  maxPixels: pixels.optional(),
  minWidth: pixels.optional(),
  minHeight: pixels.optional(),
  needs: z.enum(["both", "either"], "both or either").optional(),
  alpha: z.enum(["drop", "keep"], "drop or keep").optional(),
  depth: z.enum(["drop", "keep"], "drop or keep").optional(),
  damaged: DECODING_OPTIONS.damaged.schema.unwrap().optional(),
  vectors: DECODING_OPTIONS.vectors.schema.unwrap().optional(),
  decodeTimeoutMs: DECODING_OPTIONS.decodeTimeoutMs.schema.unwrap().optional(),
  timeoutMs: z.number("a number of milliseconds").positive("more than 0").optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional(),
});

/** Check the options of decoding one image. @throws {OptionError} If one is unknown or out of range */
export function parseDecodeOptions<Options extends object>(options: Options): Options {
  return parseOptions(decodeSchema, options, "decode an image") as Options;
}

/** File formats that can be written. */
export type EncodedFormat = "jpeg" | "png" | "webp";

const FORMATS: Readonly<Record<string, EncodedFormat>> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/** The format that a name asks for; `undefined` where it ends as none that can be written. */
export function formatOf(path: string): EncodedFormat | undefined {
  return FORMATS[extname(path).toLowerCase()];
}

/** How an image is written. */
export interface EncodeOptions {
  /** Default `"jpeg"`. */
  readonly format?: EncodedFormat | undefined;
  /** 1 (small) to 100 (like the original), default 90; PNG loses nothing and takes none. */
  readonly quality?: number | undefined;
  /** `keep`: PNG and WebP keep the alpha of RGBA; JPEG has none. Default `drop`: it is left out, not blended. */
  readonly alpha?: "drop" | "keep" | undefined;
}

/** The same, complete. */
type EncodeConfig = Filled<EncodeOptions>;

const encodeSchema = z.strictObject({
  format: z.enum(["jpeg", "png", "webp"], "jpeg, png or webp").default("jpeg"),
  quality: z.int("a whole number").min(1, "at least 1").max(100, "at most 100").default(90),
  alpha: z.enum(["drop", "keep"], "drop or keep").default("drop"),
});

/** Check encoding options. @throws {OptionError} If one is unknown or out of range */
export function parseEncodeOptions(options: EncodeOptions): EncodeConfig {
  return parseOptions(encodeSchema, options, "encode an image");
}

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
