/** @module ClassifyFlags: the flags of `classify`, and what they stand for. */

import { z } from "zod";
import { refuseStrays } from "../accelerators/accelerator.ts";
import { CLASSIFIER_OPTIONS, type ClassifierOptions } from "../api/classifier-config.ts";
import { machineOf } from "../api/machine-options.ts";
import type { OptionTable } from "../core/options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, optionsFrom, spellingIn, valuesFrom } from "./option-flags.ts";
import { outputFile, path, QUIET } from "./values.ts";

const OPTION_FLAGS = flagsOf(CLASSIFIER_OPTIONS);

const FORMATS = ["table", "json", "jsonl", "csv"] as const;

const OWN = {
  model: { schema: path, short: "m", value: "FILE", help: "ONNX file of a classifier" },
  format: {
    schema: z.enum(FORMATS, `one of ${FORMATS.join(", ")}, ndjson`).default("table"),
    short: "f",
    fromText: (text) => (text === "ndjson" ? "jsonl" : text),
    help: "how results are written",
  },
  output: { schema: path, short: "o", value: "FILE", help: "where to (default `-`, standard output)" },
  save: {
    schema: path,
    short: "s",
    value: "DIR|FILE",
    help: "write copies with the classes drawn to a folder, or one image to a file",
  },
  isQuiet: QUIET,
} satisfies OptionTable;

/** In the order of the help. */
export const CLASSIFY_FLAGS: readonly Flag[] = [...flagsOf(OWN), ...OPTION_FLAGS];

/** The flags of `classify`, checked. */
export interface ClassifyArguments {
  /** Path of the model. */
  readonly model: string;
  readonly options: ClassifierOptions;
  readonly format: (typeof FORMATS)[number];
  readonly output: string | undefined;
  /** For a results file in the form of COCO, which classifiers have not. */
  readonly annotations: undefined;
  readonly save: string | undefined;
  readonly isQuiet: boolean;
}

/** Check the flags of `classify`. @throws {OptionError} If a value is refused, or the model is missing */
export function parseClassifyFlags(parsed: ParsedArguments): ClassifyArguments {
  const { model, output, ...flags } = valuesFrom(parsed, OWN);
  if (model === undefined) throw refuse("model", "Missing --model", "add --model yolo11n-cls.onnx");
  const options = optionsFrom<ClassifierOptions>(parsed, OPTION_FLAGS);
  refuseStrays(machineOf(options), [options.device ?? 0], spellingIn(OPTION_FLAGS));
  return { ...flags, model, options, output: outputFile(output), annotations: undefined };
}
