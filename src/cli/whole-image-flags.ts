/** @module WholeImageFlags: the flags of `classify`, `semantic`, `depth` and `transform`, and what they stand for. */

import { z } from "zod";
import { IMAGE_MODEL_OPTIONS, type ImageModelOptions } from "../api/image-model-config.ts";
import type { MachineChoice } from "../api/machine-options.ts";
import {
  CLASSIFIER_OPTIONS,
  type ClassifierOptions,
  DEPTH_OPTIONS,
  type DepthEstimatorOptions,
  SEMANTIC_OPTIONS,
  type SemanticSegmenterOptions,
} from "../api/whole-image-config.ts";
import type { OptionTable } from "../core/options.ts";
import type { EncodedFormat } from "../image/image-options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { count, flagsOf, LIST, loadOptionsFrom, outputFile, path, QUIET, toggle, valuesFrom } from "./option-flags.ts";

const FORMATS = ["table", "json", "jsonl", "csv"] as const;

const OWN = {
  model: { schema: path, short: "m", value: "FILE", help: "ONNX file or plan of such a model" },
  list: LIST,
  format: {
    schema: z.enum(FORMATS, `one of ${FORMATS.join(", ")}, ndjson`).default("table"),
    short: "f",
    fromText: (text) => (text === "ndjson" ? "jsonl" : text),
    synonyms: ["ndjson"],
    value: "FORMAT",
    help: `${FORMATS.join(", ")}; ndjson is jsonl`,
  },
  output: { schema: path, short: "o", value: "FILE", help: "where to (default `-`, standard output)" },
  save: {
    schema: path,
    short: "s",
    value: "DIR|FILE",
    help: "write what is drawn of results to a folder, or one image to a file",
  },
  isQuiet: QUIET,
} satisfies OptionTable;

/** The flags of such a command, checked. */
interface WholeImageArguments<Options>
  extends Pick<DetectArguments, "list" | "format" | "output" | "save" | "isQuiet"> {
  /** Path of the model. */
  readonly model: string;
  readonly options: Options;
}

/** The flags of one of these commands. */
export interface WholeImageFlags<Options> {
  /** In the order of the help. */
  readonly flags: readonly Flag[];
  /** @throws {OptionError} If a value is refused, or the model is missing */
  parse(parsed: ParsedArguments): WholeImageArguments<Options>;
}

function flagsFor<Options extends MachineChoice & { readonly device?: number | undefined }>(
  options: OptionTable,
  example: string,
): WholeImageFlags<Options> {
  const optionFlags = flagsOf(options);
  return {
    flags: [...flagsOf(OWN), ...optionFlags],
    parse(parsed) {
      const { model, output, ...flags } = valuesFrom(parsed, OWN);
      if (model === undefined) throw refuse("model", "Missing --model", `add --model ${example}`);
      const given = loadOptionsFrom<Options>(parsed, optionFlags);
      return { ...flags, model, options: given, output: outputFile(output) };
    },
  };
}

/** Of `classify`. */
export const CLASSIFY_FLAGS: WholeImageFlags<ClassifierOptions> = flagsFor(CLASSIFIER_OPTIONS, "yolo11n-cls.onnx");
/** Of `semantic`. */
export const SEMANTIC_FLAGS: WholeImageFlags<SemanticSegmenterOptions> = flagsFor(
  SEMANTIC_OPTIONS,
  "segformer/model.onnx",
);
/** Of `depth`. */
export const DEPTH_FLAGS: WholeImageFlags<DepthEstimatorOptions> = flagsFor(DEPTH_OPTIONS, "depth-anything/model.onnx");

const IMAGE_FLAGS = flagsOf(IMAGE_MODEL_OPTIONS);

const TRANSFORM = {
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
export const TRANSFORM_FLAGS: readonly Flag[] = [...flagsOf(TRANSFORM), ...IMAGE_FLAGS];

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
  const { model, output, ...flags } = valuesFrom(parsed, TRANSFORM);
  if (model === undefined) {
    throw refuse("model", "Missing --model", "add --model super-resolution.onnx");
  }
  if (output === undefined) {
    throw refuse("output", "Missing --output", "add --output large.png, or a folder");
  }
  return { ...flags, model, options: loadOptionsFrom<ImageModelOptions>(parsed, IMAGE_FLAGS), output };
}
