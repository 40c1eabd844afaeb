/** @module Mask: which pixels of an image belong to an object, as bits under its box. */

import { ArgumentError, message } from "../../core/errors.ts";
import type { Rectangle } from "../../image/geometry.ts";
import { decodeCounts, edgePolygons, encodeCounts, openCvContours, type Polygon, type Rle } from "./mask-forms.ts";
import { isEmpty, type Window } from "./mask-plan.ts";

/** Which polygons are made of a mask. */
export interface PolygonOptions {
  /**
   * `opencv`: outer contours through the centres of pixels, as OpenCV's `findContours` gives them with `RETR_EXTERNAL` and
   * `CHAIN_APPROX_SIMPLE`, in its order. `edges`: rings along the edges of pixels, with holes, of exactly the mask's area.
   */
  readonly kind: "opencv" | "edges";
}

/** What a mask is made of. */
export type MaskParts = Pick<Mask, "width" | "height" | "bounds" | "bits">;

/**
 * Which pixels of an image belong to an object. Only a rectangle around the object is kept, a bit a pixel; everything
 * else is computed when it is asked for, in the time of that rectangle's area.
 *
 * @example
 * ```ts
 * import { Segmenter } from "bun-tensorrt";
 *
 * await using segmenter = await Segmenter.load("yolo11n-seg");
 * const { objects } = await segmenter.detect("street.jpg");
 * for (const { mask } of objects) {
 *   const rle = mask.toRle({ compressed: true }); // as pycocotools encodes it
 *   const [largest] = mask.toPolygons({ kind: "edges" }).sort((a, b) => b.outer.length - a.outer.length);
 *   console.log(rle.size, largest?.outer.length);
 * }
 * ```
 */
export class Mask {
  /** Width of the image in pixels. */
  readonly width: number;
  /** Height of the image in pixels. */
  readonly height: number;
  /** The rectangle of the image that the bits cover, in whole pixels; its sides are 0 where there is none. */
  readonly bounds: Rectangle;
  /**
   * The rows of `bounds`, each of whole words. The lowest bit is the leftmost pixel; bits beyond the width are 0. Masks of one
   * image may be views on one buffer.
   */
  readonly bits: Uint32Array;
  #area: number | undefined;

  /**
   * @param parts the bits are kept, not copied
   * @throws {ArgumentError} If the bounds are not inside the image, or the bits are not theirs
   */
  constructor({ width, height, bounds, bits }: MaskParts) {
    const inside =
      bounds.x >= 0 && bounds.y >= 0 && bounds.x + bounds.width <= width && bounds.y + bounds.height <= height;
    const words = wordsOf(bounds.width) * bounds.height;
    if (!inside || bits.length !== words) {
      const { x, y } = bounds;
      const found = `${bits.length} words for ${bounds.width}x${bounds.height} at ${x}, ${y} of ${width}x${height}`;
      throw new ArgumentError(message("make a mask", `it takes ${words} words inside its image, got ${found}`));
    }
    this.width = width;
    this.height = height;
    this.bounds = bounds;
    this.bits = bits;
  }

  /**
   * The mask of a bitmap.
   *
   * @param bitmap [height, width], row by row: 0 for a pixel that does not belong to the object
   * @throws {ArgumentError} If it is not of that size
   */
  static fromBitmap(bitmap: ArrayLike<number>, width: number, height: number): Mask {
    if (bitmap.length !== width * height) {
      const found = `${width}x${height} has ${width * height} pixels, got ${bitmap.length}`;
      throw new ArgumentError(message("make a mask of a bitmap", found));
    }
    let left = width;
    let top = height;
    let right = 0;
    let bottom = 0;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        if (bitmap[at] === 0) continue;
        if (top > y) top = y;
        bottom = y + 1;
        if (left > x) left = x;
        if (right <= x) right = x + 1;
      }
    }
    const mask = blankMask(width, height, { left, top, right, bottom });
    const { bits } = mask;
    const words = wordsOf(mask.bounds.width);
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const column = x - left;
        if (bitmap[y * width + x] !== 0) bits[(y - top) * words + (column >>> 5)]! |= 1 << (column & 31);
      }
    }
    return mask;
  }

  /**
   * The mask of COCO's run lengths, as a list or as pycocotools writes them.
   *
   * @throws {ArgumentError} If the runs are not those of an image of that size
   */
  static fromRle({ size: [height, width], counts }: Rle): Mask {
    const runs = typeof counts === "string" ? decodeCounts(counts) : counts;
    let left = width;
    let top = height;
    let right = 0;
    let bottom = 0;
    let end = 0;
    for (let run = 0; run < runs.length; run++) {
      const start = end;
      const length = runs[run]!;
      if (!Number.isInteger(length) || length < 0) end = Number.NaN;
      else end += length;
      if (run % 2 === 0 || end === start || !(end <= width * height)) continue;
      const first = Math.floor(start / height);
      const last = Math.floor((end - 1) / height);
      left = Math.min(left, first);
      right = Math.max(right, last + 1);
      top = Math.min(top, first === last ? start % height : 0);
      bottom = Math.max(bottom, first === last ? ((end - 1) % height) + 1 : height);
    }
    if (end !== width * height) {
      const found = `runs of ${width}x${height} have ${width * height} pixels, got ${end}`;
      throw new ArgumentError(message("read a mask's run lengths", found));
    }
    const mask = blankMask(width, height, { left, top, right, bottom });
    const { bits } = mask;
    const words = wordsOf(mask.bounds.width);
    const flip = (x: number, y: number): void => {
      const column = x - left;
      if (y < bottom) bits[(y - top) * words + (column >>> 5)]! ^= 1 << (column & 31);
    };
    // Where a run begins and ends in each column; then every row says what changes from the one above it.
    let at = 0;
    for (let run = 0; run < runs.length; run++) {
      const to = at + runs[run]!;
      if (run % 2 === 0) at = to;
      while (at < to) {
        const x = Math.floor(at / height);
        const y = at - x * height;
        const foot = Math.min(height, y + to - at);
        flip(x, y);
        flip(x, foot);
        at += foot - y;
      }
    }
    for (let word = words; word < bits.length; word++) bits[word]! ^= bits[word - words]!;
    return mask;
  }

  /** Number of pixels that belong to the object. */
  get area(): number {
    if (this.#area === undefined) {
      let area = 0;
      for (const word of this.bits) area += ones(word);
      this.#area = area;
    }
    return this.#area;
  }

  /** True if no pixel belongs to the object. */
  get isEmpty(): boolean {
    const { bits } = this;
    for (let at = 0; at < bits.length; at++) if (bits[at] !== 0) return false;
    return true;
  }

  /**
   * The whole image, a byte a pixel.
   *
   * @returns u8 [height, width]: 1 for a pixel that belongs to the object, else 0
   */
  toBitmap(): Uint8Array<ArrayBuffer> {
    const { x, y, width, height } = this.bounds;
    const bitmap = new Uint8Array(this.width * this.height);
    unpack(this, bitmap, y * this.width + x, this.width, width, height);
    return bitmap;
  }

  /**
   * Run lengths in COCO's form: columns one after the other, first the pixels that do not belong to the object.
   *
   * @param options.compressed as the string of pycocotools, rather than as a list
   */
  toRle(options: { readonly compressed: true }): Rle<string>;
  toRle(options?: { readonly compressed?: false | undefined }): Rle<number[]>;
  toRle(options?: { readonly compressed?: boolean | undefined }): Rle;
  toRle({ compressed = false }: { readonly compressed?: boolean | undefined } = {}): Rle {
    const runs = this.#runs();
    return { size: [this.height, this.width], counts: compressed ? encodeCounts(runs) : runs };
  }

  /** For `JSON.stringify`: the run lengths as pycocotools encodes them; {@linkcode Mask.fromRle} reads them. */
  toJSON(): Rle<string> {
    return this.toRle({ compressed: true });
  }

  /**
   * The outlines of the mask, in pixels of the image.
   *
   * @returns with `opencv` a polygon for each contour, of at least one point; with `edges` one for each part whose pixels
   *          share edges
   * @throws {ArgumentError} If neither is asked for
   */
  toPolygons(options: PolygonOptions): Polygon[] {
    const kind = options?.kind;
    if (kind !== "opencv" && kind !== "edges") {
      const found = `\`kind\` must be "opencv" or "edges", got ${JSON.stringify(kind)}`;
      throw new ArgumentError(message("make polygons of a mask", found));
    }
    const { x, y, width, height } = this.bounds;
    // A column and a row of zeros on each side.
    const pitch = width + 2;
    const cells = new Int8Array(pitch * (height + 2));
    unpack(this, cells, pitch + 1, pitch, width, height);
    const outline = kind === "opencv" ? openCvContours : edgePolygons;
    return outline(cells, width, height, x, y);
  }

  /**
   * Intersection over union with another mask of the same image.
   *
   * @returns from 0 to 1; 0 if both are empty
   * @throws {ArgumentError} If their images differ in size
   */
  iou(other: Mask): number {
    const shared = this.intersection(other);
    const union = this.area + other.area - shared;
    return union === 0 ? 0 : shared / union;
  }

  /**
   * Number of pixels that belong to this mask and to another of the same image.
   *
   * @throws {ArgumentError} If their images differ in size
   */
  intersection(other: Mask): number {
    if (other.width !== this.width || other.height !== this.height) {
      const found = `they are of ${this.width}x${this.height} and ${other.width}x${other.height} pixels`;
      throw new ArgumentError(message("compare two masks", found));
    }
    const a = this.bounds;
    const b = other.bounds;
    const left = Math.max(a.x, b.x);
    const right = Math.min(a.x + a.width, b.x + b.width);
    const bottom = Math.min(a.y + a.height, b.y + b.height);
    const wordsA = wordsOf(a.width);
    const wordsB = wordsOf(b.width);
    let count = 0;
    for (let y = Math.max(a.y, b.y); y < bottom; y++) {
      const rowA = (y - a.y) * wordsA;
      const rowB = (y - b.y) * wordsB;
      for (let x = left; x < right; x += 32) {
        // Where one of them ends its bits are 0, so that nothing beyond `right` counts.
        count += ones(wordAt(this.bits, rowA, wordsA, x - a.x) & wordAt(other.bits, rowB, wordsB, x - b.x));
      }
    }
    return count;
  }

  /** Lengths of the runs, column by column. A run ends where a pixel differs from the one above it. */
  #runs(): number[] {
    const { bits, width, height } = this;
    const { x: left, y: top, width: columns, height: rows } = this.bounds;
    const words = wordsOf(columns);
    const total = width * height;
    // Of each column: how many ends it has, then where the next goes.
    const next = new Uint32Array(columns + 1);
    forEachEnd(bits, words, rows, (column) => {
      next[column + 1]! += 1;
    });
    for (let column = 0; column < columns; column++) next[column + 1]! += next[column]!;
    const ends = new Float64Array(next[columns]!);
    forEachEnd(bits, words, rows, (column, row) => {
      ends[next[column]!++] = (left + column) * height + top + row;
    });
    const runs: number[] = [];
    let start = 0;
    for (let at = 0; at < ends.length; at++) {
      const end = ends[at]!;
      // A run that goes on from the foot of a column to the head of the next ends and starts there.
      if (end === ends[at + 1]) at += 1;
      else {
        runs.push(end - start);
        start = end;
      }
    }
    if (start < total || runs.length === 0) runs.push(total - start);
    return runs;
  }
}

/** Words in a row of so many bits. */
export function wordsOf(width: number): number {
  return (width + 31) >>> 5;
}

/** An empty mask with room for the pixels of a window, which may be none. */
export function blankMask(width: number, height: number, window: Window): Mask {
  const { left: x, top: y, right, bottom } = window;
  const bounds = isEmpty(window) ? { x: 0, y: 0, width: 0, height: 0 } : { x, y, width: right - x, height: bottom - y };
  return new Mask({ width, height, bounds, bits: new Uint32Array(wordsOf(bounds.width) * bounds.height) });
}

/** Number of bits that are set in a word. */
function ones(word: number): number {
  let count = word - ((word >>> 1) & 0x5555_5555);
  count = (count & 0x3333_3333) + ((count >>> 2) & 0x3333_3333);
  count = (count + (count >>> 4)) & 0x0f0f_0f0f;
  return Math.imul(count, 0x0101_0101) >>> 24;
}

/** 32 bits of a row from any bit on; beyond its end 0. */
function wordAt(bits: Uint32Array, row: number, words: number, bit: number): number {
  const word = bit >>> 5;
  const shift = bit & 31;
  const low = bits[row + word]! >>> shift;
  return shift === 0 || word + 1 >= words ? low : low | (bits[row + word + 1]! << (32 - shift));
}

/** Write a byte for each bit. */
function unpack(
  { bits }: Mask,
  target: Uint8Array | Int8Array,
  from: number,
  pitch: number,
  width: number,
  height: number,
): void {
  const words = wordsOf(width);
  for (let row = 0; row < height; row++) {
    for (let word = 0; word < words; word++) {
      const start = from + row * pitch + word * 32;
      let rest = bits[row * words + word]!;
      if (rest === 0xffff_ffff) {
        target.fill(1, start, start + 32);
        continue;
      }
      for (; rest !== 0; rest &= rest - 1) {
        target[start + 31 - Math.clz32(rest & -rest)] = 1;
      }
    }
  }
}

/** Call for each place where a pixel differs from the one above it, row by row; above and below all are 0. */
function forEachEnd(
  bits: Uint32Array,
  words: number,
  rows: number,
  found: (column: number, row: number) => void,
): void {
  for (let row = 0; row <= rows; row++) {
    for (let word = 0; word < words; word++) {
      const above = row === 0 ? 0 : bits[(row - 1) * words + word]!;
      const here = row === rows ? 0 : bits[row * words + word]!;
      for (let rest = above ^ here; rest !== 0; rest &= rest - 1) {
        found(word * 32 + 31 - Math.clz32(rest & -rest), row);
      }
    }
  }
}
