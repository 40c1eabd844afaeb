/** @module YOLO format: one text file a picture, boxes as fractions of it. */

import type { DetectionResult } from "../detector/detection.ts";

/** Lines of `class cx cy w h score`: centre and size as fractions of the picture's width and height. */
export function formatYolo(result: DetectionResult): string {
  const { width, height } = result;
  return result.detections
    .map(({ classId, score, box: [x1, y1, x2, y2] }) => {
      const numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height, score];
      return `${classId} ${numbers.map((number) => number.toFixed(6)).join(" ")}\n`;
    })
    .join("");
}
