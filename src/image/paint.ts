/** @module Paint: boxes and labels straight onto the pixels of a picture, for video. */

import { type Canvas, canvasOf } from "./canvas.ts";
import { type Colour, classColour, readableOn } from "./class-colour.ts";
import { GlyphMasks } from "./glyph-mask.ts";
import { type Image, imageOf } from "./image.ts";
import type { LabelledBox } from "./overlay.ts";
import { drawableText, LINE_UNITS } from "./stroke-font.ts";

const PIXELS_PER_LINE_WIDTH = 700;
const PIXELS_PER_UNIT = 1400;
/** Below this many pixels a grid unit, letters run together. */
const SMALLEST_UNIT = 1.5;
const MARGIN_UNITS = 1.5;
/** Class names whose colours are kept. */
const MOST_COLOURS = 4096;

/** Masks by tenths of a pixel a grid unit: a video has one size. */
const fonts = new Map<number, GlyphMasks>();
const colours = new Map<string, readonly [fill: Colour, ink: Colour]>();

function coloursOf(label: string): readonly [fill: Colour, ink: Colour] {
  let known = colours.get(label);
  if (known === undefined) {
    const fill = classColour(label);
    known = [fill, readableOn(fill)];
    if (colours.size >= MOST_COLOURS) colours.clear();
    colours.set(label, known);
  }
  return known;
}

function fontOf(unit: number): GlyphMasks {
  const tenths = Math.round(unit * 10);
  let font = fonts.get(tenths);
  if (font === undefined) {
    font = new GlyphMasks(tenths / 10);
    fonts.set(tenths, font);
  }
  return font;
}

function drawText(canvas: Canvas, text: string, x: number, y: number, font: GlyphMasks, ink: Colour): void {
  let pen = x - font.margin;
  for (const character of text) {
    const mask = font.of(character);
    canvas.stamp(mask, pen, y - font.margin, ink);
    pen += mask.advance;
  }
}

function drawLabel(canvas: Canvas, text: string, x: number, y: number, [fill, ink]: readonly [Colour, Colour]): void {
  const wanted = Math.max(SMALLEST_UNIT, (canvas.width + canvas.height) / PIXELS_PER_UNIT);
  const unit = Math.min(wanted, canvas.height / (LINE_UNITS + 2 * MARGIN_UNITS));
  const font = fontOf(Math.max(0.1, unit));
  const margin = Math.max(1, Math.round(MARGIN_UNITS * unit));
  let width = 2 * margin;
  for (const character of text) width += font.of(character).advance;
  const height = Math.ceil(LINE_UNITS * unit) + 2 * margin;
  const left = Math.max(0, Math.min(x, canvas.width - width));
  const top = y - height >= 0 ? y - height : Math.max(0, Math.min(y, canvas.height - height));
  canvas.fillRect(left, top, left + width, top + height, fill);
  drawText(canvas, text, left + margin, top + margin, font, ink);
}

/**
 * Draw boxes, labels and scores onto the pixels of a picture, in place and at once; the colours are those of
 * `drawDetections`. Characters that are neither Latin letters nor ASCII come out as `?`.
 *
 * @param image of any format; its pixels are changed
 * @param rows  boxes may reach outside; one that is wholly outside, or has NaN in it, is left out
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 */
export function paintDetections(image: Image, rows: readonly LabelledBox[]): void {
  const canvas = canvasOf(imageOf(image.data, image));
  const { width, height } = canvas;
  if (rows.length === 0) return;
  const line = Math.max(1, Math.round((width + height) / PIXELS_PER_LINE_WIDTH));
  const clamp = (value: number, most: number): number => Math.round(Math.min(Math.max(value, 0), most));
  // The best scores lie on top.
  for (const { label, score, box } of [...rows].sort((a, b) => a.score - b.score)) {
    const x1 = clamp(Math.min(box[0], box[2]), width);
    const y1 = clamp(Math.min(box[1], box[3]), height);
    const x2 = clamp(Math.max(box[0], box[2]), width);
    const y2 = clamp(Math.max(box[1], box[3]), height);
    if (!(x2 > x1 && y2 > y1)) continue;
    const pair = coloursOf(label);
    const edge = Math.max(1, Math.min(line, Math.floor(Math.min(x2 - x1, y2 - y1) / 3)));
    canvas.fillRect(x1, y1, x2, y1 + edge, pair[0]);
    canvas.fillRect(x1, y2 - edge, x2, y2, pair[0]);
    canvas.fillRect(x1, y1, x1 + edge, y2, pair[0]);
    canvas.fillRect(x2 - edge, y1, x2, y2, pair[0]);
    const text = `${label} ${score.toFixed(2)}`;
    drawLabel(canvas, drawableText(text) ?? text.replace(/[^\x20-\x7e]/gu, "?"), x1, y1, pair);
  }
}
