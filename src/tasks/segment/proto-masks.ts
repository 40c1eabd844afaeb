/** @module ProtoMasks: masks of objects from a model's prototypes and their coefficients, bit by bit under their boxes. */

import { ArgumentError, message } from "../../core/errors.ts";
import type { Region } from "../../image/geometry.ts";
import { Mask, wordsOf } from "./mask.ts";

/**
 * The size of masks. `image`: that of the image. `input`: that of the model's input, padding included. `proto`: that of the
 * model's prototypes, mostly a quarter of the input's.
 */
export type MaskSize = "image" | "input" | "proto";

/** What a model says of masks: each is the sum of the prototypes times an object's coefficients. */
export interface Prototypes {
  /** f32 [channels, height, width]. */
  readonly data: Float32Array;
  readonly channels: number;
  /** In cells, each of some pixels of the input. */
  readonly height: number;
  readonly width: number;
}

/** The objects of an image whose masks are made. */
export interface MaskedObjects {
  readonly count: number;
  /** f32 [count, channels]. */
  readonly coefficients: Float32Array;
  /** f32 [count, 4]: x1, y1, x2, y2 in pixels of the image, clipped to it, for `image`; else in input pixels as decoded. */
  readonly boxes: Float32Array;
}

const { fround } = Math;

/** Bilinear interpolation along one axis, as PyTorch's with `align_corners=False`: which two cells each pixel lies between. */
class Axis {
  /** For each pixel from `from` on: the first of its two cells. */
  first: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** The second one; at the end of the axis the first again. */
  second: Int32Array<ArrayBuffer> = new Int32Array(0);
  /** Weight of the second, 0 to 1. */
  weight: Float32Array<ArrayBuffer> = new Float32Array(0);
  /** Pixels that are interpolated: `from` up to before `to`. */
  from = 0;
  to = 0;
  /** Cells that they need: `begin` up to before `end`. */
  begin = 0;
  end = 0;

  /**
   * @param origin pixel that the cells begin at
   * @param pixels number of pixels that all cells together are
   * @param start  the first cell that counts
   * @param cells  number of cells that count
   */
  set(from: number, to: number, origin: number, pixels: number, start: number, cells: number): void {
    const count = to - from;
    if (count > this.first.length) {
      this.first = new Int32Array(count);
      this.second = new Int32Array(count);
      this.weight = new Float32Array(count);
    }
    const { first, second, weight } = this;
    const scale = fround(cells / pixels);
    for (let at = 0; at < count; at++) {
      const place = Math.max(0, fround(fround(fround(from + at - origin + 0.5) * scale) - 0.5));
      const cell = Math.min(Math.floor(place), cells - 1);
      first[at] = start + cell;
      second[at] = start + (cell + 1 < cells ? cell + 1 : cell);
      weight[at] = place - cell;
    }
    this.from = from;
    this.to = to;
    this.begin = first[0]!;
    this.end = second[count - 1]! + 1;
  }
}

/** What masks of one size have in common. */
interface Plan {
  /** Size of the masks. */
  readonly width: number;
  readonly height: number;
  /** What boxes are multiplied by. */
  readonly boxScaleX: number;
  readonly boxScaleY: number;
  /** The part of a mask that the grid is stretched over. */
  readonly x: number;
  readonly y: number;
  readonly spanX: number;
  readonly spanY: number;
  /** Size of the grid that pixels are interpolated from: that of the prototypes, or what these are enlarged to first. */
  readonly gridWidth: number;
  readonly gridHeight: number;
  /** The part of the grid that shows the image. */
  readonly cropX: number;
  readonly cropY: number;
  readonly cropWidth: number;
  readonly cropHeight: number;
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/**
 * How often the prototypes are enlarged before padding is cut off: the least often at which the padding is whole cells.
 *
 * @param pixels of the input in a cell
 */
function enlargement(
  pixels: number,
  { inputWidth, inputHeight, contentWidth, contentHeight, padX, padY }: Region,
): number {
  if (!Number.isInteger(pixels)) return pixels;
  const rest = [inputWidth - contentWidth - padX, inputHeight - contentHeight - padY];
  return pixels / [padX, padY, ...rest].reduce((divisor, pad) => greatestDivisor(divisor, Math.abs(pad)), pixels);
}

function planOf(prototypes: Prototypes, region: Region, size: MaskSize): Plan {
  const { inputWidth, inputHeight } = region;
  const { width: protoWidth, height: protoHeight } = prototypes;
  const all = { cropX: 0, cropY: 0, cropWidth: protoWidth, cropHeight: protoHeight };
  const ofProto = { gridWidth: protoWidth, gridHeight: protoHeight, ...all, x: 0, y: 0 };
  if (size === "proto") {
    const scale = { boxScaleX: protoWidth / inputWidth, boxScaleY: protoHeight / inputHeight };
    return { ...ofProto, width: protoWidth, height: protoHeight, spanX: protoWidth, spanY: protoHeight, ...scale };
  }
  if (size === "input") {
    const spans = { spanX: inputWidth, spanY: inputHeight };
    return { ...ofProto, width: inputWidth, height: inputHeight, ...spans, boxScaleX: 1, boxScaleY: 1 };
  }
  const factorX = enlargement(inputWidth / protoWidth, region);
  const factorY = enlargement(inputHeight / protoHeight, region);
  const factor = Math.max(factorX, factorY);
  const scaleX = (protoWidth * factor) / inputWidth;
  const scaleY = (protoHeight * factor) / inputHeight;
  return {
    width: region.sourceWidth,
    height: region.sourceHeight,
    boxScaleX: 1,
    boxScaleY: 1,
    x: region.x,
    y: region.y,
    spanX: region.width,
    spanY: region.height,
    gridWidth: Math.round(protoWidth * factor),
    gridHeight: Math.round(protoHeight * factor),
    cropX: Math.round(region.padX * scaleX),
    cropY: Math.round(region.padY * scaleY),
    cropWidth: Math.round(region.contentWidth * scaleX),
    cropHeight: Math.round(region.contentHeight * scaleY),
  };
}

/** Add four channels to a row of sums, one after the other: a sum is fetched and kept once for all of them. */
function addFour(
  sums: Float32Array,
  to: number,
  count: number,
  data: Float32Array,
  at: number,
  plane: number,
  coefficients: Float32Array,
  from: number,
): void {
  const first = coefficients[from]!;
  const second = coefficients[from + 1]!;
  const third = coefficients[from + 2]!;
  const fourth = coefficients[from + 3]!;
  for (let column = 0; column < count; column++) {
    const place = at + column;
    let sum = sums[to + column]!;
    sum = fround(sum + fround(first * data[place]!));
    sum = fround(sum + fround(second * data[place + plane]!));
    sum = fround(sum + fround(third * data[place + 2 * plane]!));
    sums[to + column] = sum + fround(fourth * data[place + 3 * plane]!);
  }
}

/** A row of interpolated values, and which of them are above 0. */
class Row {
  values: Float32Array<ArrayBuffer> = new Float32Array(0);
  signs: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  /** The row of the grid that it was made of. */
  source = -1;

  /** Forget what it was made of; make room for so many values. */
  begin(count: number): void {
    this.source = -1;
    if (this.values.length >= count) return;
    this.values = new Float32Array(count);
    this.signs = new Uint32Array(wordsOf(count));
  }

  /**
   * Interpolate a row along x.
   *
   * @param cells  [*, pitch], from the row `top` and the axis's first cell on
   * @param source row of it to read
   */
  fill(cells: Float32Array, pitch: number, top: number, source: number, axis: Axis): void {
    this.source = source;
    const { values } = this;
    const { first, second, weight, begin } = axis;
    const row = (source - top) * pitch - begin;
    const count = axis.to - axis.from;
    for (let at = 0; at < count; at++) {
      const share = weight[at]!;
      const left = fround(cells[row + first[at]!]! * fround(1 - share));
      values[at] = left + fround(cells[row + second[at]!]! * share);
    }
  }

  /** Note which values are above 0. */
  sign(count: number): void {
    const { values, signs } = this;
    for (let from = 0, word = 0; from < count; from += 32, word++) {
      const to = Math.min(32, count - from);
      let bits = 0;
      for (let bit = 0; bit < to; bit++) if (values[from + bit]! > 0) bits |= 1 << bit;
      signs[word] = bits;
    }
  }
}

/**
 * Makes masks of prototypes. Owns the memory that it needs, which only grows: keep one a slot. Cells are computed only
 * where a box needs them, and pixels only where the cells around them do not agree.
 *
 * What a mask is, exactly, as Ultralytics 8.4 has it (`process_mask` for `input`, `process_mask_native` for `image`), in f32
 * with every operation rounded on its own:
 *
 * 1. a cell is the sum over the channels, in their order, of coefficient × prototype
 * 2. `image` only: where the padding is not whole cells, cells are halved or quartered by bilinear interpolation until it
 *    is; then it is cut off
 * 3. bilinear interpolation to the size asked for, along x, then along y; none for `proto`
 * 4. a pixel belongs to the object if that is above 0, and if x1 ≤ column < x2 and y1 ≤ row < y2
 */
export class ProtoMasks {
  readonly #columns = new Axis();
  readonly #rows = new Axis();
  readonly #gridColumns = new Axis();
  readonly #gridRows = new Axis();
  #cells: Float32Array<ArrayBuffer> = new Float32Array(0);
  #grid: Float32Array<ArrayBuffer> = new Float32Array(0);
  #upper = new Row();
  #lower = new Row();

  /**
   * Make the masks of an image's objects.
   *
   * @param region where the image lies in the input; that of the image before it was shrunk, for masks of its size
   * @returns a mask for each object, in their order. One without a pixel has an `area` of 0: Ultralytics drops its object
   * @throws {ArgumentError} If an array is shorter than it must be
   */
  finish(prototypes: Prototypes, objects: MaskedObjects, region: Region, size: MaskSize): Mask[] {
    const { count, coefficients, boxes } = objects;
    const { data, channels, width, height } = prototypes;
    if (data.length < channels * width * height || coefficients.length < count * channels || boxes.length < count * 4) {
      const of = `${data.length} prototypes, ${coefficients.length} coefficients and ${boxes.length} coordinates`;
      const found = `${count} objects of ${channels}x${height}x${width} prototypes have more than ${of}`;
      throw new ArgumentError(message("make masks", found));
    }
    const plan = planOf(prototypes, region, size);
    const masks: Mask[] = [];
    for (let object = 0; object < count; object++) masks.push(this.#finishOne(prototypes, objects, object, plan));
    return masks;
  }

  #finishOne(prototypes: Prototypes, { coefficients, boxes }: MaskedObjects, object: number, plan: Plan): Mask {
    const { width, height, boxScaleX, boxScaleY } = plan;
    const left = Math.max(0, Math.ceil(boxes[object * 4]! * boxScaleX));
    const top = Math.max(0, Math.ceil(boxes[object * 4 + 1]! * boxScaleY));
    const right = Math.min(width, Math.ceil(boxes[object * 4 + 2]! * boxScaleX));
    const bottom = Math.min(height, Math.ceil(boxes[object * 4 + 3]! * boxScaleY));
    if (!(left < right && top < bottom)) {
      return new Mask({ width, height, bounds: { x: 0, y: 0, width: 0, height: 0 }, bits: new Uint32Array(0) });
    }
    const columns = this.#columns;
    const rows = this.#rows;
    columns.set(left, right, plan.x, plan.spanX, plan.cropX, plan.cropWidth);
    rows.set(top, bottom, plan.y, plan.spanY, plan.cropY, plan.cropHeight);
    let cellColumns = columns;
    let cellRows = rows;
    const isEnlarged = plan.gridWidth !== prototypes.width || plan.gridHeight !== prototypes.height;
    if (isEnlarged) {
      cellColumns = this.#gridColumns;
      cellRows = this.#gridRows;
      cellColumns.set(columns.begin, columns.end, 0, plan.gridWidth, 0, prototypes.width);
      cellRows.set(rows.begin, rows.end, 0, plan.gridHeight, 0, prototypes.height);
    }
    this.#sum(prototypes, coefficients, object * prototypes.channels, cellColumns, cellRows);
    if (isEnlarged) this.#enlarge();
    const bits = new Uint32Array(wordsOf(right - left) * (bottom - top));
    this.#fill(isEnlarged ? this.#grid : this.#cells, bits);
    return new Mask({ width, height, bounds: { x: left, y: top, width: right - left, height: bottom - top }, bits });
  }

  /** Step 1, for the cells that the axes need. */
  #sum(prototypes: Prototypes, coefficients: Float32Array, from: number, columns: Axis, rows: Axis): void {
    const { data, channels, width, height } = prototypes;
    const pitch = columns.end - columns.begin;
    const needed = pitch * (rows.end - rows.begin);
    if (needed > this.#cells.length) this.#cells = new Float32Array(needed);
    const cells = this.#cells;
    const plane = width * height;
    for (let row = rows.begin, to = 0; row < rows.end; row++, to += pitch) {
      cells.fill(0, to, to + pitch);
      let at = row * width + columns.begin;
      let channel = 0;
      for (; channel + 4 <= channels; channel += 4, at += plane * 4) {
        addFour(cells, to, pitch, data, at, plane, coefficients, from + channel);
      }
      for (; channel < channels; channel++, at += plane) {
        const coefficient = coefficients[from + channel]!;
        for (let column = 0; column < pitch; column++) {
          cells[to + column] = cells[to + column]! + fround(coefficient * data[at + column]!);
        }
      }
    }
  }

  /** Step 2: the part of the larger grid that pixels need. */
  #enlarge(): void {
    const columns = this.#gridColumns;
    const rows = this.#gridRows;
    const pitch = columns.to - columns.from;
    const count = rows.to - rows.from;
    if (pitch * count > this.#grid.length) this.#grid = new Float32Array(pitch * count);
    const grid = this.#grid;
    this.#begin(pitch);
    for (let row = 0, to = 0; row < count; row++, to += pitch) {
      this.#moveTo(this.#cells, columns, rows, row, false);
      const share = rows.weight[row]!;
      const upper = this.#upper.values;
      const lower = this.#lower.values;
      const rest = fround(1 - share);
      for (let at = 0; at < pitch; at++) grid[to + at] = fround(upper[at]! * rest) + fround(lower[at]! * share);
    }
  }

  /** Steps 3 and 4. Between two rows of one sign every pixel has it; others are interpolated. */
  #fill(cells: Float32Array, bits: Uint32Array): void {
    const columns = this.#columns;
    const rows = this.#rows;
    const width = columns.to - columns.from;
    const words = wordsOf(width);
    const count = rows.to - rows.from;
    this.#begin(width);
    for (let row = 0, to = 0; row < count; row++, to += words) {
      this.#moveTo(cells, columns, rows, row, true);
      const share = rows.weight[row]!;
      const rest = fround(1 - share);
      const upper = this.#upper;
      const lower = this.#lower;
      for (let word = 0; word < words; word++) {
        const above = upper.signs[word]!;
        const below = lower.signs[word]!;
        let both = above & below;
        for (let open = above ^ below; open !== 0; open &= open - 1) {
          const bit = open & -open;
          const at = word * 32 + 31 - Math.clz32(bit);
          if (fround(upper.values[at]! * rest) + fround(lower.values[at]! * share) > 0) both |= bit;
        }
        bits[to + word] = both;
      }
    }
  }

  #begin(count: number): void {
    this.#upper.begin(count);
    this.#lower.begin(count);
  }

  /** Have the two rows of cells, interpolated along x, that a row lies between. */
  #moveTo(cells: Float32Array, columns: Axis, rows: Axis, row: number, isSigned: boolean): void {
    const first = rows.first[row]!;
    const second = rows.second[row]!;
    if (this.#upper.source === first && this.#lower.source === second) return;
    const pitch = columns.end - columns.begin;
    const count = columns.to - columns.from;
    if (this.#lower.source === first) {
      const upper = this.#upper;
      this.#upper = this.#lower;
      this.#lower = upper;
    }
    if (this.#upper.source !== first) {
      this.#upper.fill(cells, pitch, rows.begin, first, columns);
      if (isSigned) this.#upper.sign(count);
    }
    if (this.#lower.source !== second) {
      this.#lower.fill(cells, pitch, rows.begin, second, columns);
      if (isSigned) this.#lower.sign(count);
    }
  }
}
