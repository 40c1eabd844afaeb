/** @module JSON formats: one array of pictures, or one picture a line. */

import { printableJson, redact } from "../core/shown.ts";
import { resultJson } from "../service/result-json.ts";
import type { PictureResult, ResultFormat } from "./result-format.ts";

/** What a picture becomes in JSON. Boxes are `[x1, y1, x2, y2]` in source pixels, times in milliseconds; a frame has its place. */
export function pictureJson({ file, result, frame }: PictureResult): unknown {
  if (frame === undefined) return { file: redact(file), ...resultJson(result) };
  const { index, timestampMs } = frame;
  const time = timestampMs === undefined ? {} : { timestampMs: Math.round(timestampMs * 1000) / 1000 };
  return { file: redact(file), index, ...time, ...resultJson(result) };
}

/** One array, a picture a line. */
export function jsonFormat(): ResultFormat {
  return {
    open: "[\n",
    separator: ",\n",
    close: "\n]\n",
    rows: (picture) => [printableJson(pictureJson(picture))],
  };
}

/** A picture a line, each a JSON document of its own. */
export function jsonLinesFormat(): ResultFormat {
  return { open: "", separator: "", close: "", rows: (picture) => [`${printableJson(pictureJson(picture))}\n`] };
}
