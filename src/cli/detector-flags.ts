/** @module DetectorFlags: the flags that say which detector is loaded, and how it detects; several commands have them. */

import { closeSync, openSync, readSync } from "node:fs";
import { DETECTOR_OPTIONS, type DetectorOptions } from "../api/detector-config.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import { flagsOf, optionsFrom } from "./option-flags.ts";

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

/** @throws {Error} With `code: "EFBIG"` where there is more than that */
function readLabels(file: string): string {
  const bytes = Buffer.alloc(MOST_LABEL_BYTES + 1);
  const descriptor = openSync(file, "r");
  try {
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got) {
      got = readSync(descriptor, bytes, length, bytes.length - length, null);
    }
    if (length > MOST_LABEL_BYTES) throw Object.assign(new Error("too large"), { code: "EFBIG" });
    return bytes.toString("utf8", 0, length);
  } finally {
    closeSync(descriptor);
  }
}

/** Class names from a file, one a line; an empty line is a class without a name, empty lines at the end are none. */
export function labelsReader(command: string): (file: string) => readonly string[] {
  return (file) => {
    try {
      const text = readLabels(file).trimEnd();
      if (text !== "") return text.split(/\r?\n/).map((line) => line.trim());
      throw Object.assign(new Error("empty"), { code: "empty" });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      const found = `${JSON.stringify(file)} ${code === "empty" ? "holds no name" : `cannot be read: ${code}`}`;
      throw refuse(command, "labels", found, "give a file with one name a line");
    }
  };
}

/**
 * Check the flags that are in {@linkcode DETECTOR_FLAGS}; others are left alone.
 *
 * @param command for messages
 * @throws {OptionError} If a value is refused, or the file of labels cannot be read
 */
export function parseDetectorFlags(command: string, parsed: ParsedArguments): DetectorArguments {
  const { model } = parsed.flags;
  if (model === "") throw refuse(command, "model", '--model is refused, got ""', "a path or a name");
  const detector = optionsFrom<DetectorOptions>(parsed, OPTION_FLAGS, { labels: labelsReader(command) });
  return { model: model as string | undefined, detector };
}
