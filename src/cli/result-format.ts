/** @module ResultFormat: the contract of an output format, and what it is given. */

import type { DetectionResult } from "../detector/detection.ts";

/** What was found in one picture, and which picture it was. */
export interface PictureResult {
  /** As the user named it, or as it was found in a folder. */
  readonly file: string;
  readonly result: DetectionResult;
}

/**
 * A way to write results as text. The whole is `open`, the rows with `separator` between them, `close`; so that every
 * prefix that ends with `close` is valid, and nothing has to be kept in memory.
 */
export interface ResultFormat {
  readonly open: string;
  readonly separator: string;
  readonly close: string;
  /** The rows of one picture; there may be none. */
  rows(picture: PictureResult): readonly string[];
}
