/** @module Paint: boxes and labels on the pixels of an image, in place or on a copy. */

import { logger } from "../../core/log.ts";
import {
  type Canvas,
  type Colour,
  canvasOf,
  classColour,
  colourOfHex,
  conceal,
  readableOn,
  strokeLine,
} from "../../image/canvas.ts";
import { drawableText, type GlyphMask, GlyphMasks, LINE_UNITS } from "../../image/glyphs.ts";
import { type Image, imageOf } from "../../image/image.ts";
import { rgbCopy } from "../../image/nv12.ts";
import { loadSharp, prepareFonts } from "../../image/sharp.ts";
import { type DrawConfig, type DrawOptions, parseDrawOptions } from "../draw-options.ts";

/** What is drawn of one detection. */
export interface LabelledBox {
  readonly label: string;
  /** Chooses the colour of a palette. */
  readonly classId?: number;
  /** 0–1. */
  readonly score: number;
  /** x1, y1, x2, y2 in pixels of the image. */
  readonly box: readonly [x1: number, y1: number, x2: number, y2: number];
  /** Of its track: stands behind the name. */
  readonly trackId?: number;
  /** Where its track was, oldest first: drawn as a line. */
  readonly trace?: readonly (readonly [x: number, y: number])[];
}

/** A detection of which more than its box is drawn. */
export interface LabelledShape extends LabelledBox {
  /** Draw what there is more, in the colour of its class. @param line width of lines in pixels */
  readonly paint?: (canvas: Canvas, colour: Colour, line: number, config: DrawConfig) => void;
  /** False: its box is not drawn. Default true. */
  readonly isFramed?: boolean;
}

const PIXELS_PER_LINE_WIDTH = 700;
const PIXELS_PER_UNIT = 1400;
/** Below this many pixels a grid unit, letters run together. */
const SMALLEST_UNIT = 1.5;
/** Room between the text and the edge of its background, in grid units. */
const MARGIN_UNITS = 1.5;
/** Size at which the system's fonts have capitals as high as ours. */
const SYSTEM_FONT_UNITS = 8.4;
/** Class names whose colours, and whose letters by the system's fonts, are kept. */
const MOST_LABELS = 4096;
/** Of a label that the system's fonts draw. */
const MOST_CHARACTERS = 256;

/** Masks by tenths of a pixel a grid unit: a video has one size. */
const fonts = new Map<number, GlyphMasks>();
const colours = new Map<string, readonly [fill: Colour, ink: Colour]>();
/** The same of a palette, by its text. */
const chosenColours: typeof colours = new Map();
/** Labels that the stroke font has no letters for, by height in tenths of a pixel a grid unit and name. */
const words = new Map<string, GlyphMask>();

function keep<T>(map: Map<string, T>, key: string, value: T): T {
  if (map.size >= MOST_LABELS) map.clear();
  map.set(key, value);
  return value;
}

function coloursOf({ label, classId }: LabelledBox, palette: DrawConfig["palette"]): readonly [Colour, Colour] {
  const chosen = classId === undefined ? undefined : palette?.[classId % palette.length];
  const known = (chosen === undefined ? colours : chosenColours).get(chosen ?? label);
  if (known !== undefined) return known;
  const fill = chosen === undefined ? classColour(label) : colourOfHex(chosen);
  return keep(chosen === undefined ? colours : chosenColours, chosen ?? label, [fill, readableOn(fill)]);
}

function fontOf(tenths: number): GlyphMasks {
  let font = fonts.get(tenths);
  if (font === undefined) {
    font = new GlyphMasks(tenths / 10);
    fonts.set(tenths, font);
  }
  return font;
}

/** Tenths of a pixel that a grid unit of letters has on an image of this size. */
function tenthsOf({ width, height }: Pick<Image, "width" | "height">, fontSize: number | undefined): number {
  const usual = Math.max(SMALLEST_UNIT, (width + height) / PIXELS_PER_UNIT);
  const wanted = fontSize === undefined ? usual : fontSize / SYSTEM_FONT_UNITS;
  const unit = Math.min(wanted, height / (LINE_UNITS + 2 * MARGIN_UNITS));
  return Math.max(1, Math.round(unit * 10));
}

function textWidth(text: string, font: GlyphMasks): number {
  let width = 0;
  for (const character of text) width += font.of(character).advance;
  return width;
}

/** Letters of the system's fonts for a label that the stroke font has none for. */
type WordOf = (label: string) => GlyphMask | undefined;

/** A text in its colours. */
interface Caption {
  readonly text: string;
  /** Stands before the text, where there is one. */
  readonly word?: GlyphMask | undefined;
  readonly fill: Colour;
  readonly ink: Colour;
}

/**
 * A text on its background, always inside the image.
 *
 * @param y       it stands above, where there is room
 * @param isBelow it stands below `y` instead
 * @returns its foot
 */
function drawCaption(
  canvas: Canvas,
  { text, word, fill, ink }: Caption,
  [x, y]: readonly [x: number, y: number],
  fontSize: number | undefined,
  isBelow: boolean,
): number {
  let tenths = tenthsOf(canvas, fontSize);
  let margin = Math.max(1, Math.round((MARGIN_UNITS * tenths) / 10));
  const wordWidth = word?.advance ?? 0;
  let width = wordWidth + textWidth(text, fontOf(tenths)) + 2 * margin;
  if (width > canvas.width && word === undefined) {
    tenths = Math.max(1, Math.floor((tenths * canvas.width) / width));
    margin = Math.max(1, Math.round((MARGIN_UNITS * tenths) / 10));
    width = textWidth(text, fontOf(tenths)) + 2 * margin;
  }
  const font = fontOf(tenths);
  const height = Math.ceil((LINE_UNITS * tenths) / 10) + 2 * margin;
  const left = Math.max(0, Math.min(x, canvas.width - width));
  const isAbove = !isBelow && y - height >= 0;
  const top = isAbove ? y - height : Math.max(0, isBelow ? y : Math.min(y, canvas.height - height));
  canvas.fillRect(left, top, left + width, top + height, fill);
  if (word !== undefined) canvas.stamp(word, left + margin, top + ((height - word.height) >> 1), ink);
  let pen = left + margin + wordWidth - font.margin;
  for (const character of text) {
    const mask = font.of(character);
    canvas.stamp(mask, pen, top + margin - font.margin, ink);
    pen += mask.advance;
  }
  return top + height;
}

/** A name by the letters of the stroke font. */
function strokeText(label: string): string {
  return drawableText(label) ?? label.replace(/[^\x20-\x7e]/gu, "?");
}

/** The label of a row at a place, as {@linkcode drawCaption} has it. @returns its foot */
function drawLabel(
  canvas: Canvas,
  row: LabelledBox,
  wordOf: WordOf,
  place: readonly [x: number, y: number],
  { labels, scores, ids, fontSize, palette }: DrawConfig,
  isBelow = false,
): number {
  if (!(labels || scores)) return place[1];
  const { label, score, trackId } = row;
  const [fill, ink] = coloursOf(row, palette);
  const word = labels ? wordOf(label) : undefined;
  const name = word === undefined ? strokeText(label) : "";
  const id = labels && ids && trackId !== undefined ? [`#${trackId}`] : [];
  const text = [...(labels ? [name] : []), ...id, ...(scores ? [score.toFixed(2)] : [])].join(" ");
  return drawCaption(canvas, { text, word, fill, ink }, place, fontSize, isBelow);
}

/** An outline or a line with a text, over the image. */
export interface CaptionedLine {
  /** x and y in turns, in pixels. */
  readonly points: Float64Array;
  /** The last point is joined to the first. */
  readonly isClosed: boolean;
  /** Its colour depends on it. */
  readonly name: string;
  readonly text: string;
}

/** Draw outlines and lines with their texts onto the pixels of an image, in place and at once. */
export function paintLines(image: Image, lines: readonly CaptionedLine[], options?: DrawOptions): void {
  const { lineWidth, fontSize, labels } = parseDrawOptions(options);
  const canvas = canvasOf(imageOf(image.data, image));
  const line = lineWidthOf(canvas, lineWidth);
  for (const { points, isClosed, name } of lines) {
    const [fill] = coloursOf({ label: name, score: 1, box: [0, 0, 0, 0] }, undefined);
    const count = points.length / 2;
    for (let at = isClosed ? 0 : 1; at < count; at++) {
      const before = (at + count - 1) % count;
      const from = { x: points[2 * before]!, y: points[2 * before + 1]! };
      strokeLine(canvas, from, { x: points[2 * at]!, y: points[2 * at + 1]! }, line, fill);
    }
  }
  if (!labels) return;
  for (const { points, name, text } of lines) {
    const [fill, ink] = coloursOf({ label: name, score: 1, box: [0, 0, 0, 0] }, undefined);
    const place = [Math.round(points[0]!), Math.round(points[1]!)] as const;
    drawCaption(canvas, { text: strokeText(text), fill, ink }, place, fontSize, false);
  }
}

function lineWidthOf({ width, height }: Canvas, wanted: number | undefined): number {
  return wanted ?? Math.max(1, Math.round((width + height) / PIXELS_PER_LINE_WIDTH));
}

/** Hide the pixels of what nobody may see. */
function hide(canvas: Canvas, rows: readonly LabelledShape[], { privacy, privacyClasses }: DrawConfig): void {
  if (privacy === "none") return;
  const { width, height, planes } = canvas;
  for (const { label, box } of rows) {
    if (privacyClasses !== undefined && !privacyClasses.includes(label)) continue;
    const [left, right] = [Math.min(box[0], box[2]), Math.max(box[0], box[2])];
    const [top, bottom] = [Math.min(box[1], box[3]), Math.max(box[1], box[3])];
    const area = {
      x1: Math.max(0, Math.floor(left)),
      y1: Math.max(0, Math.floor(top)),
      x2: Math.min(width, Math.ceil(right)),
      y2: Math.min(height, Math.ceil(bottom)),
    };
    if (!(area.x2 > area.x1 && area.y2 > area.y1)) continue;
    // A side that reaches far out of the image says nothing of what is in it.
    const extent = Math.min(right - left, bottom - top, 2 * width, 2 * height);
    conceal(planes, area, extent, privacy);
  }
}

/** Draws rows in its own way. */
type PaintRows = (canvas: Canvas, rows: readonly LabelledShape[], wordOf: WordOf, config: DrawConfig) => void;

/** Labels one below the other from the upper left corner on, as of what a whole image shows, over what there is more to be drawn. */
export const paintCaptions: PaintRows = (canvas, rows, wordOf, config) => {
  for (const row of rows) row.paint?.(canvas, coloursOf(row, config.palette)[0], 1, config);
  let foot = 0;
  for (const row of rows) foot = drawLabel(canvas, row, wordOf, [0, foot], config, true);
};

const paintRows: PaintRows = (canvas, rows, wordOf, config) => {
  const { width, height } = canvas;
  const line = lineWidthOf(canvas, config.lineWidth);
  const clamp = (value: number, most: number): number => Math.round(Math.min(Math.max(value, 0), most));
  hide(canvas, rows, config);
  for (const row of config.traces ? rows : []) {
    const { trace = [] } = row;
    const [fill] = coloursOf(row, config.palette);
    for (let at = 1; at < trace.length; at++) {
      const [[fromX, fromY], [x, y]] = [trace[at - 1]!, trace[at]!];
      strokeLine(canvas, { x: fromX, y: fromY }, { x, y }, line, fill);
    }
  }
  // The best scores lie on top.
  for (const row of [...rows].sort((a, b) => a.score - b.score)) {
    const { box, paint, isFramed = true } = row;
    const x1 = clamp(Math.min(box[0], box[2]), width);
    const y1 = clamp(Math.min(box[1], box[3]), height);
    const x2 = clamp(Math.max(box[0], box[2]), width);
    const y2 = clamp(Math.max(box[1], box[3]), height);
    if (!(x2 > x1 && y2 > y1)) continue;
    const [fill] = coloursOf(row, config.palette);
    // The line lies inside the box, so that it is whole at the image's edge, and leaves a small box open.
    const edge = Math.max(1, Math.min(line, Math.floor(Math.min(x2 - x1, y2 - y1) / 3)));
    paint?.(canvas, fill, line, config);
    if (isFramed && config.boxes) {
      canvas.fillRect(x1, y1, x2, y1 + edge, fill);
      canvas.fillRect(x1, y2 - edge, x2, y2, fill);
      canvas.fillRect(x1, y1, x1 + edge, y2, fill);
      canvas.fillRect(x2 - edge, y1, x2, y2, fill);
    }
    drawLabel(canvas, row, wordOf, [x1, y1], config);
  }
};

/**
 * Draw boxes, labels and scores onto the pixels of an image, in place and at once. Each class has a colour of its own
 * that depends on its name alone. Characters that are neither Latin letters nor ASCII come out as `?`; `drawDetections`
 * has the time to draw them by the system's fonts.
 *
 * @param image   of any format; its pixels are changed
 * @param rows    boxes may reach outside; one that is wholly outside, or has NaN in it, is left out
 * @param options what is drawn, and how
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 * @throws {OptionError} If an option is unknown or out of range
 *
 * @example
 * ```ts
 * import { Detector, decodeImage, encodeImage } from "bun-tensorrt";
 * import { paintDetections } from "bun-tensorrt/video";
 *
 * await using detector = await Detector.load("yolo11n");
 * const image = await decodeImage("street.jpg");
 * paintDetections(image, (await detector.detect(image)).detections, { scores: false });
 * await Bun.write("painted.jpg", await encodeImage(image));
 * ```
 */
export function paintDetections(image: Image, rows: readonly LabelledBox[], options?: DrawOptions): void {
  paintShapes(image, rows, options);
}

/** As {@linkcode paintDetections}, with what there is more to be drawn. */
export function paintShapes(
  image: Image,
  rows: readonly LabelledShape[],
  options?: DrawOptions,
  paint: PaintRows = paintRows,
): void {
  const config = parseDrawOptions(options);
  paint(canvasOf(imageOf(image.data, image)), rows, () => undefined, config);
}

/** Text for Pango's markup, without the control characters that it has no way to write. */
function escapeMarkup(text: string): string {
  return text
    .replace(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, "\ufffd")
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A label by the system's fonts, as a mask that is as high as its ink. */
async function makeWord(label: string, tenths: number): Promise<GlyphMask | undefined> {
  try {
    await prepareFonts();
    const sharp = await loadSharp();
    const font = `sans-serif ${(SYSTEM_FONT_UNITS * tenths) / 10}`;
    const line = label.replace(/\s+/g, " ").slice(0, MOST_CHARACTERS);
    const text = { text: escapeMarkup(line), font, dpi: 72 };
    const { data, info } = await sharp({ text }).extractChannel(0).raw().toBuffer({ resolveWithObject: true });
    const coverage = new Uint8Array(data.buffer, data.byteOffset, data.length);
    return { width: info.width, height: info.height, advance: info.width, coverage };
  } catch (error) {
    logger.debug(`A label is drawn without the system's fonts: ${(error as Error).message}`);
    return undefined;
  }
}

/**
 * Draw boxes, labels and scores onto a copy of an image. Each class has a colour of its own that depends on its name
 * alone. Labels of Latin letters need no font; those of other scripts are drawn by the system's fonts.
 *
 * @param image   of any format; stays as it is
 * @param rows    what a detector returned for this image; boxes may reach outside, and one that is wholly outside, or has
 *   NaN in it, is left out
 * @param options what is drawn, and how
 * @returns RGB with tight rows; `encodeImage` makes a file of it
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 * @throws {OptionError} If an option is unknown or out of range
 *
 * @example
 * ```ts
 * import { Detector, decodeImage, drawDetections, encodeImage } from "bun-tensorrt";
 *
 * await using detector = await Detector.load("yolo11n");
 * const image = await decodeImage("street.jpg");
 * const { detections } = await detector.detect(image);
 * await Bun.write("boxes.jpg", await encodeImage(await drawDetections(image, detections)));
 * ```
 */
export async function drawDetections(
  image: Image,
  rows: readonly LabelledBox[],
  options?: DrawOptions,
): Promise<Image> {
  return drawShapes(image, rows, options);
}

/** As {@linkcode drawDetections}, with what there is more to be drawn. */
export async function drawShapes(
  image: Image,
  rows: readonly LabelledShape[],
  options?: DrawOptions,
  paint: PaintRows = paintRows,
): Promise<Image> {
  const config = parseDrawOptions(options);
  const copy = rgbCopy(image);
  const tenths = tenthsOf(copy, config.fontSize);
  const own = new Map<string, GlyphMask>();
  for (const { label } of rows) {
    if (!config.labels || own.has(label) || drawableText(label) !== undefined) continue;
    const key = `${tenths} ${label}`;
    const word = words.get(key) ?? (await makeWord(label, tenths));
    if (word !== undefined) own.set(label, keep(words, key, word));
  }
  paint(canvasOf(copy), rows, (label) => own.get(label), config);
  return copy;
}
