/** @module COCO format: the results file that pycocotools scores. */

import { round } from "../service/result-json.ts";
import type { ResultFormat } from "./result-format.ts";

/** How pictures and classes are numbered in a results file. */
export interface CocoNumbers {
  /** The id of a picture; a frame of a video has its index. */
  readonly imageId: (file: string) => number;
  /** The id of a class; detections of a class without one are left out. */
  readonly categoryId: (classId: number) => number | undefined;
}

/** One array of `{image_id, category_id, bbox: [x, y, w, h], score}`, a detection a line, boxes in source pixels. */
export function cocoFormat(numbers: CocoNumbers): ResultFormat {
  return {
    open: "[\n",
    separator: ",\n",
    close: "\n]\n",
    rows: ({ file, result, frame }) => {
      const image_id = frame?.index ?? numbers.imageId(file);
      return result.detections.flatMap(({ classId, score, box: [x1, y1, x2, y2] }) => {
        const category_id = numbers.categoryId(classId);
        if (category_id === undefined) return [];
        const bbox = [x1, y1, x2 - x1, y2 - y1].map((side) => round(side, 3));
        return [JSON.stringify({ image_id, category_id, bbox, score: round(score, 6) })];
      });
    },
  };
}
