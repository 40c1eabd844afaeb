/** @module Tally: what a run of `detect` came to, and its summary. */

import { formatDuration } from "../core/units.ts";
import { plural } from "./format-table.ts";

/** Counts of a run. */
export interface Tally {
  /** Pictures or frames that were answered. */
  good: number;
  /** Those that could not be read. */
  bad: number;
  objects: number;
}

/** `103 pictures, 868 objects in 12.3 s, 8.4 pictures/s` */
export function formatTally(good: number, objects: number, elapsedMs: number, noun = "picture"): string {
  const rate = `${(good / (elapsedMs / 1000)).toFixed(1)} ${noun}s/s`;
  return `${plural(good, noun)}, ${plural(objects, "object")} in ${formatDuration(elapsedMs)}, ${rate}`;
}
