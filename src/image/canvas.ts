/**
 * @module Canvas: what is painted on: the pixels of an image, in place. Rectangles, letters and lines in the colour of a class, which
 * depends on its name alone, so that it is the same everywhere; and areas that are blurred or pixelated, as faces that nobody may know.
 */

import { ArgumentError, message } from "../core/errors.ts";
import type { GlyphMask } from "./glyphs.ts";
import {
  bytesPerPixel,
  chromaOffsetOf,
  chromaPitchOf,
  type Image,
  isPacked,
  type PackedImage,
  yuvOf,
  yuvRangeOf,
  yuvStandardOf,
} from "./image.ts";

/** Levels 0–255. */
export interface Colour {
  readonly red: number;
  readonly green: number;
  readonly blue: number;
}

/** Lightness of neighbouring hues, so that names whose hues fall close together still differ. */
const LIGHTNESS = [0.42, 0.53, 0.64] as const;
const SATURATION = 0.85;

/** FNV-1a over the UTF-16 units, with a final mix: short names must not end up side by side. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x45d9f3b);
  value = Math.imul(value ^ (value >>> 16), 0x45d9f3b);
  return (value ^ (value >>> 16)) >>> 0;
}

/**
 * The colour of a class: stable between runs and machines, and distinct from most others.
 *
 * @param label name of the class
 */
export function classColour(label: string): Colour {
  const value = hash(label);
  const hue = value % 360;
  const lightness = LIGHTNESS[Math.floor(value / 360) % LIGHTNESS.length]!;
  const spread = SATURATION * Math.min(lightness, 1 - lightness);
  const channel = (offset: number): number => {
    const step = (offset + hue / 30) % 12;
    return Math.round(255 * (lightness - spread * Math.max(-1, Math.min(step - 3, 9 - step, 1))));
  };
  return { red: channel(0), green: channel(8), blue: channel(4) };
}

/** The colour of `#ff8800`. */
export function colourOfHex(hex: string): Colour {
  const value = Number.parseInt(hex.slice(1), 16);
  return { red: value >> 16, green: (value >> 8) & 255, blue: value & 255 };
}

/** Black or white, whichever is easier to read on the colour. @see WCAG 2, relative luminance */
export function readableOn({ red, green, blue }: Colour): Colour {
  const linear = (level: number): number =>
    level / 255 <= 0.04045 ? level / 255 / 12.92 : ((level / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  // Where black and white have the same contrast.
  return luminance > 0.179 ? { red: 0, green: 0, blue: 0 } : { red: 255, green: 255, blue: 255 };
}

/** Samples of one kind: red ones, or those of U; in the rows of an image, evenly apart. */
interface Plane {
  readonly data: Uint8Array;
  /** Of the first sample. */
  readonly offset: number;
  /** Between two rows, and between two samples of a row, in bytes. */
  readonly pitchBytes: number;
  readonly step: number;
  /** How many pixels a sample serves in each direction. */
  readonly pixels: 1 | 2;
}

/** Whole pixels from [x1, y1) to [x2, y2), within the image. */
interface Area {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** How what lies below an area is hidden: by squares of one colour, or by the mean of what lies around each pixel. */
export type Concealment = "blur" | "pixelate";

/** Squares, or pixels to each side of a mean, in the shorter side of what is hidden: too few for anybody to tell a face. */
const SQUARES = 8;
const RADII = 6;
/** Means of means: what is left of a mean alone are its edges. */
const PASSES = 2;

/** Rows and columns that a mean is made of; it only grows. */
let line = new Uint8Array(0);

/** @param side of a square in samples; those at the right and at the foot may be smaller */
function pixelate({ data, offset, pitchBytes, step }: Plane, { x1, y1, x2, y2 }: Area, side: number): void {
  for (let top = y1; top < y2; top += side) {
    const foot = Math.min(top + side, y2);
    for (let left = x1; left < x2; left += side) {
      const right = Math.min(left + side, x2);
      let sum = 0;
      for (let y = top; y < foot; y++) {
        const row = offset + y * pitchBytes;
        for (let x = left; x < right; x++) sum += data[row + x * step]!;
      }
      const count = (foot - top) * (right - left);
      const mean = Math.floor((sum + (count >> 1)) / count);
      for (let y = top; y < foot; y++) {
        const row = offset + y * pitchBytes;
        for (let x = left; x < right; x++) data[row + x * step] = mean;
      }
    }
  }
}

/** The mean of the samples around each of a row or a column, as far as they are in it. */
function average(data: Uint8Array, from: number, step: number, length: number, radius: number): void {
  for (let at = 0; at < length; at++) line[at] = data[from + at * step]!;
  let sum = 0;
  let count = Math.min(radius, length);
  for (let at = 0; at < count; at++) sum += line[at]!;
  for (let at = 0; at < length; at++) {
    if (at + radius < length) {
      sum += line[at + radius]!;
      count += 1;
    }
    if (at > radius) {
      sum -= line[at - radius - 1]!;
      count -= 1;
    }
    data[from + at * step] = Math.floor((sum + (count >> 1)) / count);
  }
}

function blur({ data, offset, pitchBytes, step }: Plane, { x1, y1, x2, y2 }: Area, radius: number): void {
  const [width, height] = [x2 - x1, y2 - y1];
  if (line.length < Math.max(width, height)) line = new Uint8Array(Math.max(1024, width, height));
  const first = offset + y1 * pitchBytes + x1 * step;
  for (let pass = 0; pass < PASSES; pass++) {
    for (let row = 0; row < height; row++) average(data, first + row * pitchBytes, step, width, radius);
    for (let column = 0; column < width; column++) average(data, first + column * step, pitchBytes, height, radius);
  }
}

/**
 * Hide what lies below an area. A sample that serves pixels inside and outside is hidden, too.
 *
 * @param extent the shorter side of what is hidden in pixels, the part beyond the image included
 */
export function conceal(planes: readonly Plane[], area: Area, extent: number, by: Concealment): void {
  for (const plane of planes) {
    const { pixels } = plane;
    const samples = {
      x1: Math.floor(area.x1 / pixels),
      y1: Math.floor(area.y1 / pixels),
      x2: Math.ceil(area.x2 / pixels),
      y2: Math.ceil(area.y2 / pixels),
    };
    if (by === "pixelate") pixelate(plane, samples, Math.max(2, Math.ceil(extent / (SQUARES * pixels))));
    else blur(plane, samples, Math.max(1, Math.ceil(extent / (RADII * pixels))));
  }
}

/** An image that is painted on. What lies outside of it is left out. */
export interface Canvas {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Its colours, and not its alpha. */
  readonly planes: readonly Plane[];
  /** Fill whole pixels from [x1, y1) to [x2, y2). */
  fillRect(x1: number, y1: number, x2: number, y2: number, colour: Colour): void;
  /** Lay ink on the pixels below a mask whose upper left corner is at `x`, `y`. */
  stamp(mask: GlyphMask, x: number, y: number, ink: Colour): void;
}

/** Pixels of three or four bytes. */
class PackedCanvas implements Canvas {
  readonly width: number;
  readonly height: number;
  readonly planes: readonly Plane[];
  readonly #data: Uint8Array;
  readonly #pitchBytes: number;
  readonly #pixelBytes: number;
  readonly #isBgr: boolean;

  constructor({ data, width, height, pitchBytes, format }: PackedImage) {
    this.width = width;
    this.height = height;
    this.#data = data;
    this.#pitchBytes = pitchBytes;
    this.#pixelBytes = bytesPerPixel(format);
    this.#isBgr = format === "BGR";
    this.planes = [0, 1, 2].map((offset) => ({ data, offset, pitchBytes, step: this.#pixelBytes, pixels: 1 }));
  }

  fillRect(x1: number, y1: number, x2: number, y2: number, { red, green, blue }: Colour): void {
    const data = this.#data;
    const pixelBytes = this.#pixelBytes;
    const [first, third] = this.#isBgr ? [blue, red] : [red, blue];
    const left = Math.max(0, x1);
    const right = Math.min(this.width, x2);
    const bottom = Math.min(this.height, y2);
    for (let y = Math.max(0, y1); y < bottom; y++) {
      let at = y * this.#pitchBytes + left * pixelBytes;
      for (let x = left; x < right; x++) {
        data[at] = first;
        data[at + 1] = green;
        data[at + 2] = third;
        at += pixelBytes;
      }
    }
  }

  stamp(mask: GlyphMask, x: number, y: number, ink: Colour): void {
    const data = this.#data;
    const [first, third] = this.#isBgr ? [ink.blue, ink.red] : [ink.red, ink.blue];
    for (let row = Math.max(0, -y); row < mask.height && y + row < this.height; row++) {
      const line = (y + row) * this.#pitchBytes;
      for (let column = Math.max(0, -x); column < mask.width && x + column < this.width; column++) {
        const cover = mask.coverage[row * mask.width + column]!;
        if (cover === 0) continue;
        const at = line + (x + column) * this.#pixelBytes;
        data[at] = data[at]! + ((first - data[at]!) * cover) / 255;
        data[at + 1] = data[at + 1]! + ((ink.green - data[at + 1]!) * cover) / 255;
        data[at + 2] = data[at + 2]! + ((third - data[at + 2]!) * cover) / 255;
      }
    }
  }
}

/** Pixels of one byte, and a pair of U, V for 2 × 2 of them: a colour's edge may be a pixel further out than its light. */
class Nv12Canvas implements Canvas {
  readonly width: number;
  readonly height: number;
  readonly planes: readonly Plane[];
  readonly #image: Image;
  readonly #chromaOffset: number;
  readonly #chromaPitch: number;

  constructor(image: Image) {
    this.width = image.width;
    this.height = image.height;
    this.#image = image;
    this.#chromaOffset = chromaOffsetOf(image);
    this.#chromaPitch = chromaPitchOf(image);
    const { data, pitchBytes } = image;
    const chroma = { data, pitchBytes: this.#chromaPitch, step: 2, pixels: 2 } as const;
    this.planes = [
      { data, offset: 0, pitchBytes, step: 1, pixels: 1 },
      { ...chroma, offset: this.#chromaOffset },
      { ...chroma, offset: this.#chromaOffset + 1 },
    ];
  }

  fillRect(x1: number, y1: number, x2: number, y2: number, colour: Colour): void {
    const { data, pitchBytes } = this.#image;
    const [luma, u, v] = this.#yuv(colour);
    const left = Math.max(0, x1);
    const right = Math.min(this.width, x2);
    const top = Math.max(0, y1);
    const bottom = Math.min(this.height, y2);
    if (left >= right || top >= bottom) return;
    for (let y = top; y < bottom; y++) data.fill(luma, y * pitchBytes + left, y * pitchBytes + right);
    for (let row = top >> 1; row < (bottom + 1) >> 1; row++) {
      const line = this.#chromaOffset + row * this.#chromaPitch;
      const end = line + right + (right & 1);
      for (let at = line + (left & ~1); at < end; at += 2) {
        data[at] = u;
        data[at + 1] = v;
      }
    }
  }

  stamp(mask: GlyphMask, x: number, y: number, ink: Colour): void {
    const { data, pitchBytes } = this.#image;
    const [luma, u, v] = this.#yuv(ink);
    const { coverage } = mask;
    const left = Math.max(0, x);
    const right = Math.min(this.width, x + mask.width);
    const bottom = Math.min(this.height, y + mask.height);
    for (let row = Math.max(0, y); row < bottom; row++) {
      const line = row * pitchBytes;
      const covered = (row - y) * mask.width - x;
      for (let column = left; column < right; column++) {
        const cover = coverage[covered + column]!;
        if (cover !== 0) data[line + column] = data[line + column]! + ((luma - data[line + column]!) * cover) / 255;
      }
    }
    if (left >= right) return;
    // Each of the up to four pixels of a pair of U, V has its part in them.
    for (let row = Math.max(0, y) & ~1; row < bottom; row += 2) {
      const chroma = this.#chromaOffset + (row >> 1) * this.#chromaPitch;
      const rows = Math.min(2, this.height - row);
      for (let column = left & ~1; column < right; column += 2) {
        const columns = Math.min(2, this.width - column);
        let cover = 0;
        for (let line = Math.max(row, y); line < row + rows && line < bottom; line++) {
          const covered = (line - y) * mask.width - x;
          for (let at = Math.max(column, left); at < column + columns && at < right; at++) {
            cover += coverage[covered + at]!;
          }
        }
        if (cover === 0) continue;
        const part = cover / (255 * rows * columns);
        const pair = chroma + column;
        data[pair] = Math.round(data[pair]! + (u - data[pair]!) * part);
        data[pair + 1] = Math.round(data[pair + 1]! + (v - data[pair + 1]!) * part);
      }
    }
  }

  #yuv(colour: Colour): [y: number, u: number, v: number] {
    return yuvOf(colour, yuvStandardOf(this.#image), yuvRangeOf(this.#image));
  }
}

/** A canvas over the pixels of an image. @throws {ArgumentError} If they have no colours */
export function canvasOf(image: Image): Canvas {
  if (isPacked(image)) return new PackedCanvas(image);
  if (image.format === "NV12") return new Nv12Canvas(image);
  const hint = "draw on a copy of it in RGB, from `decodeImage(image)`";
  throw new ArgumentError(message("draw on the image", `its pixels have no colours, they are ${image.format}`, hint));
}

/** A place on a canvas, in pixels. */
interface Point {
  readonly x: number;
  readonly y: number;
}

/** Draw a straight line between two points, with square ends. @param line its width in pixels */
export function strokeLine(canvas: Canvas, from: Point, to: Point, line: number, colour: Colour): void {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const steps = Math.ceil(Math.max(Math.abs(dx), Math.abs(dy)));
  // Points far outside would take for ever, and NaN and infinity lead nowhere.
  if (!(steps <= 1e5)) return;
  for (let step = 0; step <= steps; step++) {
    const part = steps === 0 ? 0 : step / steps;
    const left = Math.round(from.x + dx * part - line / 2);
    const top = Math.round(from.y + dy * part - line / 2);
    canvas.fillRect(left, top, left + line, top + line, colour);
  }
}
