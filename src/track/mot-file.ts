/** @module MotFile: tracks as the MOT challenge writes them: a line for each object of each frame. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { round } from "../core/units.ts";
import type { Detection } from "../tasks/detect/detection.ts";

/**
 * A line of a results file: frame and id from 1 on, left, top, width and height in pixels, score, and three numbers of the 3D
 * challenge, which are -1.
 */
export function motLine(frame: number, { trackId = -1, box: [x1, y1, x2, y2], score }: Detection): string {
  const sides = [x1, y1, x2 - x1, y2 - y1].map((side) => round(side, 3));
  return `${[frame, trackId, ...sides, round(score, 6), -1, -1, -1].join(",")}\n`;
}

/** The rows of a file as columns, by frame and in the order of the file. */
export interface MotRows {
  /** From 1 on. */
  readonly frames: Int32Array;
  readonly ids: Int32Array;
  /** Left, top, width, height. */
  readonly boxes: Float64Array;
  /** Of a result its score; of the truth 0 for what does not count. */
  readonly scores: Float64Array;
  /** -1 where the file has none. */
  readonly classes: Int32Array;
}

const HINT = "a line is frame,id,left,top,width,height,score,class,visibility";

/**
 * Read a file of tracks or of the truth.
 *
 * @param name for messages
 * @throws {BunTensorRtError} If a line has fewer than six numbers, or one that is none
 */
export function parseMot(text: string, name: string): MotRows {
  const lines = text.split(/\r?\n/);
  const rows: number[][] = [];
  for (const [at, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const numbers = line
      .trim()
      .split(/[,\s]+/)
      .filter((cell) => cell !== "")
      .map(Number);
    const [frame = 0, id = 0] = numbers;
    const isWhole = Number.isInteger(frame) && Number.isInteger(id) && frame >= 1;
    if (numbers.length < 6 || numbers.some(Number.isNaN) || !isWhole) {
      const found = `line ${at + 1} is ${JSON.stringify(line.slice(0, 80))}`;
      throw new BunTensorRtError(message(`read the tracks of ${JSON.stringify(name)}`, found, HINT));
    }
    rows.push(numbers);
  }
  return {
    frames: Int32Array.from(rows, ([frame]) => frame!),
    ids: Int32Array.from(rows, ([, id]) => id!),
    boxes: Float64Array.from(rows.flatMap((row) => row.slice(2, 6))),
    scores: Float64Array.from(rows, (row) => row[6] ?? 1),
    classes: Int32Array.from(rows, (row) => row[7] ?? -1),
  };
}
