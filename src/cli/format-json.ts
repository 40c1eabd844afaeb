/** @module JSON formats: one array of pictures, or one picture a line. */

import { type PictureResult, type ResultFormat, round } from "./result-format.ts";

/** What a picture becomes in JSON. Boxes are `[x1, y1, x2, y2]` in source pixels, times in milliseconds. */
export function pictureJson({ file, result }: PictureResult): unknown {
  const { width, height, dropped, timing } = result;
  return {
    file,
    width,
    height,
    detections: result.detections.map(({ label, classId, score, box }) => ({
      label,
      classId,
      score: round(score, 6),
      box: box.map((side) => round(side, 3)),
    })),
    dropped,
    timing: Object.fromEntries(Object.entries(timing).map(([stage, milliseconds]) => [stage, round(milliseconds, 3)])),
  };
}

/** One array, a picture a line. */
export function jsonFormat(): ResultFormat {
  return {
    open: "[\n",
    separator: ",\n",
    close: "\n]\n",
    rows: (picture) => [JSON.stringify(pictureJson(picture))],
  };
}

/** A picture a line, each a JSON document of its own. */
export function jsonLinesFormat(): ResultFormat {
  return { open: "", separator: "", close: "", rows: (picture) => [`${JSON.stringify(pictureJson(picture))}\n`] };
}
