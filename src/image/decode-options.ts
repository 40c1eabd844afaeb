/** @module DecodeOptions: what callers may say about decoding, declared and checked once. */

import { z } from "zod";
import { secondsFlag } from "../core/from-text.ts";
import { type GivenOptions, parseOptions } from "../core/options.ts";
import type { DecodingLimits } from "./decode-limits.ts";

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
const schema = z.strictObject({
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
  return parseOptions(schema, options, "decode an image") as Options;
}
