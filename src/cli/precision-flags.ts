/** @module PrecisionFlags: the flags of `convert` and of `compare`, and what they stand for. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { acceleratorNames, refuseStrays } from "../accelerators/accelerator.ts";
import { ONNXRUNTIME_OPTIONS, TENSORRT_OPTIONS } from "../accelerators/accelerator-options.ts";
import { LOAD_OPTIONS, machineOf } from "../api/machine-options.ts";
import type { ModelOptions } from "../api/model.ts";
import type { OptionTable } from "../core/options.ts";
import { statsOf } from "../core/paths.ts";
import {
  COMPARE_OPTIONS,
  CONVERT_OPTIONS,
  type CompareOptions,
  type ConvertOptions,
} from "../precision/precision-config.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, optionsFrom, path, QUIET, spellingIn, toggle, valuesFrom } from "./option-flags.ts";

const CONVERT = {
  precision: CONVERT_OPTIONS.precision,
  calibration: CONVERT_OPTIONS.calibration,
  samples: CONVERT_OPTIONS.samples,
  method: CONVERT_OPTIONS.method,
  maxLoss: CONVERT_OPTIONS.maxLoss,
  annotations: CONVERT_OPTIONS.annotations,
  sensitivityImages: CONVERT_OPTIONS.sensitivityImages,
  exclude: CONVERT_OPTIONS.exclude,
  io: CONVERT_OPTIONS.io,
  output: CONVERT_OPTIONS.output,
  report: CONVERT_OPTIONS.report,
  isJson: {
    ...toggle,
    flag: "json",
    help: "as JSON: {path, precision, byteLength, layers, casts, …}",
  },
  isQuiet: QUIET,
} satisfies OptionTable;

/** In the order of the help. */
export const CONVERT_FLAGS: readonly Flag[] = flagsOf(CONVERT);

/** The flags of `convert`, checked. */
interface ConvertArguments {
  readonly options: ConvertOptions;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

const IMAGES_HINT = "give a folder of images, or a text file with one a line";

/** The images that a text file lists, one a line, seen from here or else from its folder. @throws {OptionError} If it cannot be read */
function listedIn(flag: string, file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw refuse(flag, `--${flag} ${JSON.stringify(file)} cannot be read: ${code}`, IMAGES_HINT);
  }
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const named = lines.filter((line) => line !== "" && !line.startsWith("#"));
  return named.map((line) => (existsSync(line) ? line : resolve(dirname(file), line)));
}

/** The images that a flag names, `--calibration` or another. @throws {OptionError} If there is no such folder or file */
export function imagesFrom(flag: string, said: string): string | string[] {
  if (/\.(txt|list)$/i.test(said)) return listedIn(flag, said);
  if (statsOf(said) !== undefined) return said;
  throw refuse(flag, `--${flag} ${JSON.stringify(said)} does not exist`, IMAGES_HINT);
}

/** The error for a precision that needs images. */
export function refuseUncalibrated(precision: string): Error {
  const hint = "give a folder of 64 to 512 images like those that the model will see";
  return refuse("calibration", `--precision ${precision} needs --calibration`, hint);
}

/** Check the flags of `convert`. @throws {OptionError} If a value is refused, or the precision is missing */
export function parseConvertFlags(parsed: ParsedArguments): ConvertArguments {
  const { isJson, isQuiet, calibration: said, ...options } = valuesFrom(parsed, CONVERT);
  if (options.precision === undefined) {
    throw refuse("precision", "Missing --precision", "bunx bun-tensorrt convert yolo11n --precision fp16");
  }
  const { precision } = options;
  if (said === undefined && precision !== "fp16") throw refuseUncalibrated(String(precision));
  const isMeasured = options.maxLoss !== undefined || options.report !== undefined;
  if (options.annotations !== undefined && !isMeasured) {
    throw refuse("annotations", "--annotations needs --max-loss or --report", "add --max-loss 0.01");
  }
  if (parsed.flags["sensitivity-images"] !== undefined && options.maxLoss === undefined) {
    throw refuse("sensitivity-images", "--sensitivity-images needs --max-loss", "add --max-loss 0.01");
  }
  if (options.maxLoss !== undefined && precision === "fp16") {
    throw refuse("max-loss", "--max-loss is for int8 and fp8, and --precision is fp16", "leave it out");
  }
  const given = said === undefined ? {} : { calibration: imagesFrom("calibration", said as string) };
  return { options: { ...(options as ConvertOptions), ...given }, isJson: isJson === true, isQuiet: isQuiet === true };
}

const COMPARE = {
  images: { ...COMPARE_OPTIONS.images, schema: path, short: "i" },
  samples: COMPARE_OPTIONS.samples,
  threshold: COMPARE_OPTIONS.threshold,
  tolerance: COMPARE_OPTIONS.tolerance,
  maxLoss: COMPARE_OPTIONS.maxLoss,
  layers: COMPARE_OPTIONS.layers,
  backend: {
    schema: path,
    value: "NAME[,NAME]",
    help: "where to run both, or each of them: cpu, gpu",
    otherwise: "auto: the GPU where there is one",
  },
  isJson: {
    ...toggle,
    flag: "json",
    help: "as JSON: {models, images, skipped, outputs, unmatched, layers, agreement, isWithin}",
  },
  isQuiet: QUIET,
} satisfies OptionTable;

const { precision } = TENSORRT_OPTIONS;
const { threads, providers } = ONNXRUNTIME_OPTIONS;
const GPU_FLAGS = flagsOf({ device: LOAD_OPTIONS.device, precision });
const CPU_FLAGS = flagsOf({ threads, providers });
const MACHINE_FLAGS = [...GPU_FLAGS, ...CPU_FLAGS];

/** In the order of the help. */
export const COMPARE_FLAGS: readonly Flag[] = [...flagsOf(COMPARE), ...MACHINE_FLAGS];

/** The flags of `compare`, checked. */
interface CompareArguments {
  /** What the two models are called. */
  readonly models: readonly [first: string, second: string];
  readonly options: Omit<CompareOptions, "first" | "second">;
  readonly first: ModelOptions;
  readonly second: ModelOptions;
  readonly isJson: boolean;
  readonly isQuiet: boolean;
}

/** Names of what takes no options of a GPU. */
const CPU_NAMES: readonly string[] = ["cpu", "onnxruntime"];

const EXAMPLE = "bunx bun-tensorrt compare yolo11n.onnx yolo11n.int8.onnx --images photos";

/** One name for both models, or one for each. @throws {OptionError} If it is none */
function backendsFrom(said: string | undefined): readonly [string, string] {
  const names = (said ?? "auto").split(",").map((name) => name.trim());
  const known = ["auto", ...acceleratorNames()];
  const [first = "", second = first] = names;
  if (names.length <= 2 && [first, second].every((name) => known.includes(name))) return [first, second];
  const rule = `one or two of ${known.join(", ")}`;
  throw refuse("backend", `--backend must be ${rule}, got ${JSON.stringify(said)}`, "write --backend cpu,gpu");
}

/** Check the flags of `compare`. @throws {OptionError} If a value is refused, or the models or the images are missing */
export function parseCompareFlags(parsed: ParsedArguments): CompareArguments {
  const { isJson, isQuiet, backend, images, ...options } = valuesFrom(parsed, COMPARE);
  const backends = backendsFrom(backend);
  const [first, second = first, ...others] = parsed.operands;
  if (first === undefined || others.length > 0) {
    throw refuse("model", `Expected two models, got ${parsed.operands.length}`, EXAMPLE);
  }
  if (parsed.operands.length === 1 && backends[0] === backends[1]) {
    const hint = `${EXAMPLE}; of one model, --backend cpu,gpu compares two backends`;
    throw refuse("model", "Expected two models, got 1", hint);
  }
  if (images === undefined) throw refuse("images", "Missing --images", EXAMPLE);
  const optionsOf = (name: string): ModelOptions => {
    // Of two backends each takes what is its own.
    const own = backends[0] === backends[1] ? MACHINE_FLAGS : CPU_NAMES.includes(name) ? CPU_FLAGS : GPU_FLAGS;
    const options = optionsFrom<ModelOptions>(parsed, own);
    refuseStrays(machineOf({ ...options, backend: name }), [options.device ?? 0], spellingIn(own));
    return { ...options, backend: name };
  };
  return {
    models: [first, second as string],
    options: { ...(options as Omit<CompareOptions, "images">), images: imagesFrom("images", images) },
    first: optionsOf(backends[0]),
    second: optionsOf(backends[1]),
    isJson: isJson === true,
    isQuiet: isQuiet === true,
  };
}
