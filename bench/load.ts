/** @module Load: the model that is measured, and whether this build of the library has an option that a study varies. */

import { OptionError } from "../src/core/errors.ts";
import { Detector } from "../src/detector/detector.ts";
import { type DetectorOptions, parseDetectorOptions } from "../src/detector/detector-config.ts";

/** Options of `Detector.load`, those that only newer builds have included. */
export type LoadOptions = DetectorOptions & {
  readonly streams?: "auto" | "one" | "split" | "parallel";
  readonly wait?: "auto" | "poll" | "off-thread";
  readonly jpeg?: "auto" | "gpu" | "cpu";
  /** False: every piece of a frame is enqueued by itself. */
  readonly graph?: boolean;
};

/** True if `Detector.load` takes these options. */
export function hasOptions(options: LoadOptions): boolean {
  try {
    parseDetectorOptions(options as DetectorOptions);
    return true;
  } catch (error) {
    if (error instanceof OptionError) return false;
    throw error;
  }
}

/** Load what is measured. @throws as `Detector.load` does */
export function loadDetector(source: string, options: LoadOptions): Promise<Detector> {
  return Detector.load(source, options as DetectorOptions);
}
