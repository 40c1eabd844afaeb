/** @module ResultFormat: the contract of an output format, and what it is given. */

import type { DetectionResult } from "../detector/detection.ts";

/** Where a picture stands in the video or the stream it comes from. */
export interface FramePlace {
  /** From 0 on; frames that were dropped count. */
  readonly index: number;
  /** `undefined` where pictures have no time. */
  readonly timestampMs: number | undefined;
}

/** What was found in one picture, and which picture it was. */
export interface PictureResult {
  /** As the user named it, or as it was found in a folder. */
  readonly file: string;
  readonly result: DetectionResult;
  /** Of a frame of a video, or a picture of a stream: `file` is then what it came from. */
  readonly frame?: FramePlace;
}

/** `clip-000012` of the frame 12 of clip.mp4: what is made from a frame is named so. */
export function frameName(stem: string, index: number): string {
  return `${stem}-${String(index).padStart(6, "0")}`;
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
