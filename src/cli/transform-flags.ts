/** @module TransformFlags: the flags of `transform`, and what they stand for. */

import { z } from "zod";
import { IMAGE_MODEL_OPTIONS, type ImageModelOptions } from "../api/image-model-config.ts";
import type { OptionTable } from "../core/options.ts";
import type { EncodedFormat } from "../image/image-options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, loadOptionsFrom, valuesFrom } from "./option-flags.ts";
import { count, LIST, path, QUIET, toggle } from "./values.ts";

const OPTION_FLAGS = flagsOf(IMAGE_MODEL_OPTIONS);

const OWN = {
  model: { schema: path, short: "m", value: "FILE", help: "ONNX file or plan of an image-to-image model" },
  list: LIST,
  output: { schema: path, short: "o", value: "FILE|DIR", help: "what is written: one file, or a folder for many" },
  format: {
    schema: z.enum(["png", "jpeg", "webp"], "png, jpg or webp"),
    short: "f",
    value: "png|jpg|webp",
    fromText: (text) => (text === "jpg" ? "jpeg" : text),
    help: "of files in a folder (default the source's, else png)",
  },
  quality: { schema: count(100), value: "1-100", help: "of JPEG and WebP (default 90)" },
  isJson: { ...toggle, flag: "json", help: "one array of {file, output, width, height, tiles, timing (ms)}" },
  isQuiet: QUIET,
} satisfies OptionTable;

/** In the order of the help. */
export const TRANSFORM_FLAGS: readonly Flag[] = [...flagsOf(OWN), ...OPTION_FLAGS];

/** The flags of `transform`, checked. */
export interface TransformArguments {
  /** Path or catalogue name. */
  readonly model: string;
  readonly options: ImageModelOptions;
  readonly list: string | undefined;
  readonly output: string;
  readonly format: EncodedFormat | undefined;
  readonly quality: number | undefined;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

/**
 * Check the flags of `transform`.
 *
 * @throws {OptionError} If a value is refused, or the model or the place for what is made is missing
 */
export function parseTransformFlags(parsed: ParsedArguments): TransformArguments {
  const { model, output, ...flags } = valuesFrom(parsed, OWN);
  if (model === undefined) {
    throw refuse("model", "Missing --model", "add --model super-resolution.onnx");
  }
  if (output === undefined) {
    throw refuse("output", "Missing --output", "add --output large.png, or a folder");
  }
  return { ...flags, model, options: loadOptionsFrom<ImageModelOptions>(parsed, OPTION_FLAGS), output };
}
