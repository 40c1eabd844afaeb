/** @module EncodeOptions: what callers may say about encoding, checked once. */

import { extname } from "node:path";
import { z } from "zod";
import { type Filled, parseOptions } from "../core/options.ts";

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

const schema = z.strictObject({
  format: z.enum(["jpeg", "png", "webp"], "jpeg, png or webp").default("jpeg"),
  quality: z.int("a whole number").min(1, "at least 1").max(100, "at most 100").default(90),
  alpha: z.enum(["drop", "keep"], "drop or keep").default("drop"),
});

/** Check encoding options. @throws {OptionError} If one is unknown or out of range */
export function parseEncodeOptions(options: EncodeOptions): EncodeConfig {
  return parseOptions(schema, options, "encode an image");
}
