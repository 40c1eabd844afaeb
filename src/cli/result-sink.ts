/** @module ResultSink: where the results of pictures go, one after the other. */

import { join } from "node:path";
import { type Output, writeFileWhole } from "../core/whole-file.ts";
import { formatYolo } from "./format-yolo.ts";
import { fileStem } from "./pictures.ts";
import { frameName, type PictureResult, type ResultFormat } from "./result-format.ts";

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
      await output.finish();
    },
  };
}

/**
 * One text file a picture.
 *
 * @param folder exists and can be written
 * @param stems from a picture's file to the name of its text file, relative to the folder, without the extension; a file
 * that is not in it, as it was not known before, goes by its own name
 */
export function yoloSink(folder: string, stems: ReadonlyMap<string, string>): ResultSink {
  return {
    async write({ file, result, frame }) {
      const stem = stems.get(file) ?? fileStem(file);
      const name = frame === undefined ? stem : frameName(stem, frame.index);
      await writeFileWhole(join(folder, `${name}.txt`), formatYolo(result));
    },
    async finish() {},
  };
}
