/** @module WholeImageFlags: the flags of `classify`, `semantic` and `depth`, and what they stand for. */

import { z } from "zod";
import { CLASSIFIER_OPTIONS, type ClassifierOptions } from "../api/classifier-config.ts";
import type { MachineChoice } from "../api/machine-options.ts";
import {
  DEPTH_OPTIONS,
  type DepthEstimatorOptions,
  SEMANTIC_OPTIONS,
  type SemanticSegmenterOptions,
} from "../api/map-config.ts";
import type { OptionTable } from "../core/options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { flagsOf, loadOptionsFrom, valuesFrom } from "./option-flags.ts";
import { LIST, outputFile, path, QUIET } from "./values.ts";

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
