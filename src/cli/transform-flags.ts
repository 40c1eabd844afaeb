/** @module TransformFlags: the flags of `transform`, and what they stand for. */

import { z } from "zod";
import { refuseStrays } from "../accelerators/accelerator.ts";
import { IMAGE_MODEL_OPTIONS, type ImageModelOptions } from "../api/image-model-config.ts";
import { machineOf } from "../api/machine-options.ts";
import type { EncodedFormat } from "../image/encode-options.ts";
import { type Flag, type ParsedArguments, parseFlags, refuse } from "./args.ts";
import { flagsOf, optionsFrom, spellingIn } from "./option-flags.ts";
import { count, toggle } from "./values.ts";

const FORMATS: Readonly<Record<string, EncodedFormat>> = { png: "png", jpg: "jpeg", jpeg: "jpeg", webp: "webp" };

const OPTION_FLAGS = flagsOf(IMAGE_MODEL_OPTIONS);

/** In the order of the help. */
export const TRANSFORM_FLAGS: readonly Flag[] = [
  { name: "model", short: "m", value: "FILE", summary: "ONNX file or plan of an image-to-image model" },
  { name: "output", short: "o", value: "FILE|DIR", summary: "what is written: one file, or a folder for many" },
  {
    name: "format",
    short: "f",
    value: "png|jpg|webp",
    summary: "of files in a folder (default the source's, else png)",
  },
  { name: "quality", value: "1-100", summary: "of JPEG and WebP (default 90)" },
  ...OPTION_FLAGS,
  { name: "json", summary: "one array of {file, output, width, height, tiles, timing (ms)}" },
  { name: "quiet", short: "q", summary: "no progress and no summary" },
];

/** The flags of `transform`, checked. */
export interface TransformArguments {
  /** Path or catalogue name. */
  readonly model: string;
  readonly options: ImageModelOptions;
  readonly output: string;
  readonly format: EncodedFormat | undefined;
  readonly quality: number | undefined;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

const path = z.string().min(1, "a path");

const schema = z.object({
  model: path.optional(),
  output: path.optional(),
  format: z
    .enum(Object.keys(FORMATS), "png, jpg or webp")
    .transform((name): EncodedFormat => FORMATS[name]!)
    .optional(),
  quality: count(100).optional(),
  json: toggle,
  quiet: toggle,
});

/**
 * Check the flags of `transform`.
 *
 * @throws {OptionError} If a value is refused, or the model or the place for what is made is missing
 */
export function parseTransformFlags(parsed: ParsedArguments): TransformArguments {
  const flags = parseFlags(parsed, schema);
  const { model, output } = flags;
  if (model === undefined) {
    throw refuse("transform", "model", "Missing --model", "add --model super-resolution.onnx");
  }
  if (output === undefined) {
    throw refuse("transform", "output", "Missing --output", "add --output large.png, or a folder");
  }
  const options = optionsFrom<ImageModelOptions>(parsed, OPTION_FLAGS);
  refuseStrays(machineOf(options), [options.device ?? 0], spellingIn(OPTION_FLAGS));
  const { format, quality } = flags;
  return { model, options, output, format, quality, isJson: flags.json, isQuiet: flags.quiet };
}
