/** @module DecodeOptions: what callers may say about decoding, checked once. */

import { z } from "zod";
import { parseOptions } from "../core/options.ts";
import type { PictureDecodeOptions } from "./picture-decoder.ts";
import type { ReadSourceOptions } from "./source.ts";

/** How a picture is read and decoded. */
export interface DecodeOptions extends PictureDecodeOptions, ReadSourceOptions {}

const pixels = z.int("a whole number of pixels").min(1, "at least 1");

/** Of {@linkcode DecodingLimits}, for the options of whoever decodes. */
export const decodingShape: {
  readonly damaged: z.ZodOptional<z.ZodEnum<{ refuse: "refuse"; take: "take" }>>;
  readonly vectors: z.ZodOptional<z.ZodBoolean>;
  readonly decodeTimeoutMs: z.ZodOptional<z.ZodNumber>;
} = {
  damaged: z.enum(["refuse", "take"], "refuse or take").optional(),
  vectors: z.boolean("true or false").optional(),
  // Timers count no further.
  decodeTimeoutMs: z
    .number("milliseconds")
    .min(1, "at least 1 ms")
    .max(2 ** 31 - 1, "at most 24 days")
    .optional(),
};

const schema = z.strictObject({
  maxPixels: pixels.exactOptional(),
  minWidth: pixels.exactOptional(),
  minHeight: pixels.exactOptional(),
  needs: z.enum(["both", "either"], "both or either").exactOptional(),
  alpha: z.enum(["drop", "keep"], "drop or keep").exactOptional(),
  damaged: decodingShape.damaged.unwrap().exactOptional(),
  vectors: decodingShape.vectors.unwrap().exactOptional(),
  decodeTimeoutMs: decodingShape.decodeTimeoutMs.unwrap().exactOptional(),
  timeoutMs: z.number("a number of milliseconds").positive("more than 0").exactOptional(),
});

/** Check decoding options. @throws {OptionError} If one is unknown or out of range */
export function parseDecodeOptions(options: DecodeOptions): DecodeOptions {
  return parseOptions(schema, options, "decode a picture");
}
