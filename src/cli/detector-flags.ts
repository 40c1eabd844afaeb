/** @module DetectorFlags: the flags that say which detector is loaded, and how it detects; several commands have them. */

import { DETECTOR_OPTIONS, type DetectorOptions } from "../api/detector-config.ts";
import { refusePadding } from "../image/image-options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, loadOptionsFrom, type OptionFlag, spellingIn } from "./option-flags.ts";

const OPTION_FLAGS = flagsOf(DETECTOR_OPTIONS);

/** In the order of the help. */
export const DETECTOR_FLAGS: readonly Flag[] = [
  {
    name: "model",
    short: "m",
    value: "FILE|NAME",
    summary: "ONNX file, plan, or a name from `models` (default yolo11n)",
  },
  ...OPTION_FLAGS,
];

/** The flags of a detector, checked. */
export interface DetectorArguments {
  /** Path or catalogue name; `undefined` for the default model. */
  readonly model: string | undefined;
  /** What was said; the library's own defaults hold for the rest. */
  readonly detector: DetectorOptions;
}

/** What a detector is loaded with. @throws {OptionError} If a value is refused, or flags do not go together */
export function detectorOptionsFrom(parsed: ParsedArguments, flags: readonly OptionFlag[]): DetectorOptions {
  const options = loadOptionsFrom<DetectorOptions>(parsed, flags);
  refusePadding(options.preprocessing, spellingIn(flags));
  return options;
}

/**
 * Check the flags that are in {@linkcode DETECTOR_FLAGS}; others are left alone.
 *
 * @throws {OptionError} If a value is refused, flags do not go together, or the file of labels cannot be read
 */
export function parseDetectorFlags(parsed: ParsedArguments): DetectorArguments {
  const { model } = parsed.flags;
  if (model === "") throw refuse("model", '--model is refused, got ""', "a path or a name");
  return { model: model as string | undefined, detector: detectorOptionsFrom(parsed, OPTION_FLAGS) };
}
