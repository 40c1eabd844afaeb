/** @module DetectorFlags: the flags that say which detector is loaded, and how it detects; several commands have them. */

import { closeSync, openSync, readSync } from "node:fs";
import { refuseStrays } from "../accelerators/accelerator.ts";
import { DETECTOR_OPTIONS, type DetectorOptions } from "../api/detector-config.ts";
import { machineOf } from "../api/machine-options.ts";
import { refusePadding } from "../image/preprocessing-options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, optionsFrom, spellingIn } from "./option-flags.ts";

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

/** More than the names of any model take; what has no end is not read on. */
const MOST_LABEL_BYTES = 2 ** 24;

/** @returns the text, or what is wrong with the file */
function readLabels(file: string): { readonly text: string } | { readonly fault: string } {
  const bytes = Buffer.alloc(MOST_LABEL_BYTES + 1);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, "r");
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got) {
      got = readSync(descriptor, bytes, length, bytes.length - length, null);
    }
    if (length > MOST_LABEL_BYTES) return { fault: "cannot be read: EFBIG" };
    const text = bytes.toString("utf8", 0, length).trimEnd();
    return text === "" ? { fault: "holds no name" } : { text };
  } catch (error) {
    return { fault: `cannot be read: ${(error as NodeJS.ErrnoException).code}` };
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** Class names from a file, one a line; an empty line is a class without a name, empty lines at the end are none. */
export function labelsFrom(file: string): readonly string[] {
  const labels = readLabels(file);
  if ("text" in labels) return labels.text.split(/\r?\n/).map((line) => line.trim());
  throw refuse("labels", `${JSON.stringify(file)} ${labels.fault}`, "give a file with one name a line");
}

/**
 * Check the flags that are in {@linkcode DETECTOR_FLAGS}; others are left alone.
 *
 * @throws {OptionError} If a value is refused, flags do not go together, or the file of labels cannot be read
 */
export function parseDetectorFlags(parsed: ParsedArguments): DetectorArguments {
  const { model } = parsed.flags;
  if (model === "") throw refuse("model", '--model is refused, got ""', "a path or a name");
  const detector = optionsFrom<DetectorOptions>(parsed, OPTION_FLAGS, { labels: labelsFrom });
  const spell = spellingIn(OPTION_FLAGS);
  refusePadding(detector.preprocessing, spell);
  refuseStrays(machineOf(detector), [detector.device ?? 0].flat(), spell);
  return { model: model as string | undefined, detector };
}
