/** @module Paint: boxes and labels straight onto the pixels of a picture, for video. */

import { type Colour, classColour, readableOn } from "./class-colour.ts";
import { GlyphMasks } from "./glyph-mask.ts";
import { bytesPerPixel, type Image, imageOf } from "./image.ts";
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

/** Where pixels go. */
interface Canvas {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
  readonly pitchBytes: number;
  readonly pixelBytes: number;
  readonly red: number;
}

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

/** Fill whole pixels from [x1, y1) to [x2, y2), as far as they lie in the picture. */
function fillRect(canvas: Canvas, x1: number, y1: number, x2: number, y2: number, { red, green, blue }: Colour): void {
  const { data, width, height, pitchBytes, pixelBytes } = canvas;
  const [first, third] = canvas.red === 0 ? [red, blue] : [blue, red];
  const left = Math.max(0, x1);
  const right = Math.min(width, x2);
  const bottom = Math.min(height, y2);
  for (let y = Math.max(0, y1); y < bottom; y++) {
    let at = y * pitchBytes + left * pixelBytes;
    for (let x = left; x < right; x++) {
      data[at] = first;
      data[at + 1] = green;
      data[at + 2] = third;
      at += pixelBytes;
    }
  }
}

function drawText(canvas: Canvas, text: string, x: number, y: number, font: GlyphMasks, ink: Colour): void {
  const { data, width, height, pitchBytes, pixelBytes } = canvas;
  const [first, third] = canvas.red === 0 ? [ink.red, ink.blue] : [ink.blue, ink.red];
  let pen = x - font.margin;
  const top = y - font.margin;
  for (const character of text) {
    const mask = font.of(character);
    for (let row = Math.max(0, -top); row < mask.height && top + row < height; row++) {
      const line = (top + row) * pitchBytes;
      for (let column = Math.max(0, -pen); column < mask.width && pen + column < width; column++) {
        const cover = mask.coverage[row * mask.width + column]!;
        if (cover === 0) continue;
        const at = line + (pen + column) * pixelBytes;
        data[at] = data[at]! + ((first - data[at]!) * cover) / 255;
        data[at + 1] = data[at + 1]! + ((ink.green - data[at + 1]!) * cover) / 255;
        data[at + 2] = data[at + 2]! + ((third - data[at + 2]!) * cover) / 255;
      }
    }
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
  fillRect(canvas, left, top, left + width, top + height, fill);
  drawText(canvas, text, left + margin, top + margin, font, ink);
}

/**
 * Draw boxes, labels and scores onto the pixels of a picture, in place and at once; the colours are those of
 * `drawDetections`. Characters that are neither Latin letters nor ASCII come out as `?`.
 *
 * @param image RGB, BGR or RGBA; its pixels are changed
 * @param rows  boxes may reach outside; one that is wholly outside, or has NaN in it, is left out
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 */
export function paintDetections(image: Image, rows: readonly LabelledBox[]): void {
  const { data, width, height, pitchBytes, format } = imageOf(image.data, image);
  if (rows.length === 0) return;
  const canvas = { data, width, height, pitchBytes, pixelBytes: bytesPerPixel(format), red: format === "BGR" ? 2 : 0 };
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
    fillRect(canvas, x1, y1, x2, y1 + edge, pair[0]);
    fillRect(canvas, x1, y2 - edge, x2, y2, pair[0]);
    fillRect(canvas, x1, y1, x1 + edge, y2, pair[0]);
    fillRect(canvas, x2 - edge, y1, x2, y2, pair[0]);
    const text = `${label} ${score.toFixed(2)}`;
    drawLabel(canvas, drawableText(text) ?? text.replace(/[^\x20-\x7e]/gu, "?"), x1, y1, pair);
  }
}
