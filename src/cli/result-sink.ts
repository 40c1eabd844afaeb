/** @module ResultSink: where the results of pictures go, one after the other. */

import { join } from "node:path";
import { formatYolo } from "./format-yolo.ts";
import { type Output, writeFile } from "./output.ts";
import type { PictureResult, ResultFormat } from "./result-format.ts";

/** Takes the results of one run. */
export interface ResultSink {
  write(picture: PictureResult): Promise<void>;
  /** Write what ends the whole. */
  finish(): Promise<void>;
}

/** Rows of a text format into one output. What has been written, ended by `finish`, is always a valid whole. */
export function textSink(output: Output, format: ResultFormat): ResultSink {
  let hasRows = false;
  return {
    async write(picture) {
      const rows = format.rows(picture);
      if (rows.length === 0) return;
      await output.write((hasRows ? format.separator : format.open) + rows.join(format.separator));
      hasRows = true;
    },
    async finish() {
      await output.write((hasRows ? "" : format.open) + format.close);
    },
  };
}

/**
 * One text file a picture.
 *
 * @param folder exists and can be written
 * @param names  from a picture's file to its text file, relative to the folder
 */
export function yoloSink(folder: string, names: ReadonlyMap<string, string>): ResultSink {
  return {
    async write({ file, result }) {
      await writeFile(join(folder, names.get(file)!), formatYolo(result));
    },
    async finish() {},
  };
}
