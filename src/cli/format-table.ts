/** @module Table format: for people. */

import { printable, redact } from "../core/shown.ts";
import { formatDuration } from "../core/units.ts";
import type { PictureResult, ResultFormat } from "./result-format.ts";
import type { Paint } from "./terminal.ts";
import { type Alignment, alignRows } from "./text-table.ts";

const ALIGNMENTS: readonly Alignment[] = ["left", "right", "right", "right", "right", "right"];

/** `5 objects`, `1 object` */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A picture's block of lines, ended by a line break. Boxes are x1, y1, x2, y2 in source pixels. */
export function formatPicture({ file, result, frame }: PictureResult, paint: Paint): string {
  const { detections, width, height, dropped, implausible, timing } = result;
  const facts = [`${width}x${height}`, plural(detections.length, "object"), formatDuration(timing.total)];
  if (dropped > 0) facts.push(paint("yellow", `${plural(dropped, "row")} with NaN left out`));
  if (implausible > 0) facts.push(paint("yellow", `${implausible} implausible`));
  const time = frame?.timestampMs === undefined ? "" : ` at ${(frame.timestampMs / 1000).toFixed(3)} s`;
  const place = frame === undefined ? "" : ` #${frame.index}${time}`;
  const lines = [`${paint("bold", printable(redact(file)))}${place}  ${facts.join(", ")}`];
  if (detections.length > 0) {
    const head = ["label", "score", "x1", "y1", "x2", "y2"].map((title) => paint("dim", title));
    const rows = detections.map(({ label, score, box }) => [
      paint("cyan", printable(label)),
      score.toFixed(3),
      ...box.map((side) => side.toFixed(1)),
    ]);
    lines.push(...alignRows([head, ...rows], ALIGNMENTS).map((line) => `  ${line}`));
  }
  return `${lines.join("\n")}\n`;
}

/** Blocks of lines, one a picture, divided by an empty line. */
export function tableFormat(paint: Paint): ResultFormat {
  return { open: "", separator: "\n", close: "", rows: (picture) => [formatPicture(picture, paint)] };
}
