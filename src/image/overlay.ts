/** @module Overlay: boxes and their labels as an SVG picture. Pure. */

import { classColour, hexColour, readableOn } from "./class-colour.ts";
import { drawableText, LINE_UNITS, STROKE_UNITS, textPath, textUnits } from "./stroke-font.ts";

/** What is drawn of one detection. */
export interface LabelledBox {
  readonly label: string;
  /** 0–1. */
  readonly score: number;
  /** x1, y1, x2, y2 in pixels of the picture. */
  readonly box: readonly [x1: number, y1: number, x2: number, y2: number];
}

const PIXELS_PER_LINE_WIDTH = 700;
const PIXELS_PER_UNIT = 1400;
/** Below this many pixels a grid unit, letters run together. */
const SMALLEST_UNIT = 1.5;
/** Room between the text and the edge of its background, in grid units. */
const MARGIN_UNITS = 2;

/** Text for XML, without the control characters that XML 1.0 has no way to write. */
export function escapeXml(text: string): string {
  return text
    .replace(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, "\ufffd")
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}

/** Width in grid units of a text that the system's font draws: its metrics are not known here, so this is an estimate. */
function estimatedUnits(text: string): number {
  let width = 0;
  for (const character of text) width += character.codePointAt(0)! >= 0x1100 ? 8.4 : 5;
  return width;
}

/** A label on its background, beside the corner at `x`, `y` and always inside the picture. */
function labelMarkup(text: string, fill: string, ink: string, x: number, y: number, picture: PictureSize): string {
  const drawable = drawableText(text);
  const units = (drawable === undefined ? estimatedUnits(text) : textUnits(drawable)) + 2 * MARGIN_UNITS;
  const lineUnits = LINE_UNITS + 2 * MARGIN_UNITS;
  const wanted = Math.max(SMALLEST_UNIT, (picture.width + picture.height) / PIXELS_PER_UNIT);
  const unit = Math.min(wanted, picture.width / units, picture.height / lineUnits);
  const width = units * unit;
  const height = lineUnits * unit;
  const left = clamp(x, picture.width - width);
  const top = clamp(y - height < 0 ? y : y - height, picture.height - height);
  const background = `<rect x="${left.toFixed(2)}" y="${top.toFixed(2)}" width="${width.toFixed(2)}" height="${height.toFixed(2)}" fill="${fill}"/>`;
  const textLeft = left + MARGIN_UNITS * unit;
  const textTop = top + MARGIN_UNITS * unit;
  if (drawable !== undefined) {
    const path = textPath(drawable, textLeft, textTop, unit);
    return `${background}<path d="${path}" stroke="${ink}" stroke-width="${(STROKE_UNITS * unit).toFixed(2)}"/>`;
  }
  const baseline = (textTop + 6.5 * unit).toFixed(2);
  return `${background}<text x="${textLeft.toFixed(2)}" y="${baseline}" font-family="sans-serif" font-size="${(8.4 * unit).toFixed(2)}" fill="${ink}">${escapeXml(text)}</text>`;
}

interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/**
 * Boxes and labels as an SVG document of the picture's size; better scores lie on top.
 *
 * Line width and letters grow with the picture. Labels of Latin letters are drawn as lines and need no font; labels of
 * other scripts use the system's fonts, and show only their background where it has none.
 *
 * @param width  of the picture, in pixels
 * @param height of the picture, in pixels
 * @param rows   boxes may reach outside the picture; one that is wholly outside, or has NaN in it, is left out
 */
export function overlaySvg(width: number, height: number, rows: readonly LabelledBox[]): string {
  const line = Math.max(1, Math.round((width + height) / PIXELS_PER_LINE_WIDTH));
  const boxes: string[] = [];
  const labels: string[] = [];
  for (const { label, score, box } of [...rows].sort((a, b) => a.score - b.score)) {
    const colour = classColour(label);
    const fill = hexColour(colour);
    const x1 = clamp(Math.min(box[0], box[2]), width);
    const y1 = clamp(Math.min(box[1], box[3]), height);
    const x2 = clamp(Math.max(box[0], box[2]), width);
    const y2 = clamp(Math.max(box[1], box[3]), height);
    if (!(x2 > x1 && y2 > y1)) continue;
    // The line lies inside the box, so that it is whole at the picture's edge, and leaves a small box open.
    const boxLine = Math.min(line, (x2 - x1) / 3, (y2 - y1) / 3);
    const left = (x1 + boxLine / 2).toFixed(2);
    const top = (y1 + boxLine / 2).toFixed(2);
    const boxWidth = (x2 - x1 - boxLine).toFixed(2);
    const boxHeight = (y2 - y1 - boxLine).toFixed(2);
    boxes.push(
      `<rect x="${left}" y="${top}" width="${boxWidth}" height="${boxHeight}" stroke="${fill}" stroke-width="${boxLine.toFixed(2)}"/>`,
    );
    const ink = hexColour(readableOn(colour));
    labels.push(labelMarkup(`${label} ${score.toFixed(2)}`, fill, ink, x1, y1, { width, height }));
  }
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"`;
  const style = 'fill="none" stroke-linecap="round" stroke-linejoin="round"';
  return `${head}><g ${style}>${boxes.join("")}${labels.join("")}</g></svg>`;
}
