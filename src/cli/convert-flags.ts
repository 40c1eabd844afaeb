/** @module ConvertFlags: the flags of `convert`, and what they stand for. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { OptionTable } from "../core/options.ts";
import { statsOf } from "../core/paths.ts";
import { CONVERT_OPTIONS, type ConvertOptions } from "../precision/precision-config.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, valuesFrom } from "./option-flags.ts";
import { QUIET, toggle } from "./values.ts";

const OWN = {
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
export const CONVERT_FLAGS: readonly Flag[] = flagsOf(OWN);

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
  const { isJson, isQuiet, calibration: said, ...options } = valuesFrom(parsed, OWN);
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
