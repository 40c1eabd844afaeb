/** @module ProtoMasks: masks of objects from a model's prototypes and their coefficients, bit by bit under their boxes. */

import { ArgumentError, message } from "../../core/errors.ts";
import type { MaskRule } from "../../heads/host-plan.ts";
import { BilinearAxis } from "../../image/bilinear-axis.ts";
import type { Region } from "../../image/geometry.ts";
import { blankMask, type Mask, wordsOf } from "./mask.ts";
import {
  cellsAbove,
  cellsUnder,
  isEmpty,
  type MaskSize,
  type PatchRule,
  type Plan,
  pixelsUnder,
  planOf,
  type Rule,
  reached,
  ruleOf,
  type Window,
} from "./mask-plan.ts";

const { fround } = Math;

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
  fill(cells: Float32Array, pitch: number, top: number, source: number, axis: BilinearAxis): void {
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

/** Interpolates grids. Owns the two rows that it needs, which only grow. */
class MaskRows {
  #upper = new Row();
  #lower = new Row();

  /**
   * Interpolate a grid.
   *
   * @param cells what the axes need of the one that is there, row by row
   * @param grid  takes the pixels
   */
  enlarge(cells: Float32Array, columns: BilinearAxis, rows: BilinearAxis, grid: Float32Array): void {
    const pitch = columns.to - columns.from;
    const count = rows.to - rows.from;
    this.#upper.begin(pitch);
    this.#lower.begin(pitch);
    for (let row = 0, to = 0; row < count; row++, to += pitch) {
      this.#moveTo(cells, columns, rows, row, false);
      const share = rows.weight[row]!;
      const upper = this.#upper.values;
      const lower = this.#lower.values;
      const rest = fround(1 - share);
      for (let at = 0; at < pitch; at++) grid[to + at] = fround(upper[at]! * rest) + fround(lower[at]! * share);
    }
  }

  /**
   * Find which interpolated values are above 0. Between two rows of one sign every pixel has it; others are interpolated.
   *
   * @param cells as of {@linkcode enlarge}
   * @param bits  takes a bit a pixel, each row in whole words
   */
  fill(cells: Float32Array, columns: BilinearAxis, rows: BilinearAxis, bits: Uint32Array): void {
    const width = columns.to - columns.from;
    const words = wordsOf(width);
    const count = rows.to - rows.from;
    this.#upper.begin(width);
    this.#lower.begin(width);
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

  /** Have the two rows of cells, interpolated along x, that a row lies between. */
  #moveTo(cells: Float32Array, columns: BilinearAxis, rows: BilinearAxis, row: number, isSigned: boolean): void {
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

/** What a model says of masks: each is the sum of the prototypes times an object's coefficients. */
export interface Prototypes {
  /** f32 [channels, height, width], from `offset` on, which is 0 if left out. */
  readonly data: Float32Array;
  readonly offset?: number;
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
 *
 * What other families do otherwise:
 *
 * - `yolov5`: sigmoids are interpolated. `image`: padding is cut off at the last whole cell; else the box cuts cells, so that a
 *   mask reaches beyond it. `yolact`: likewise for every size, and a cell around the box stays
 * - planes, one an object: the box does not cut. `mask2former`: they are enlarged to 384 × 384, and resized from there by the
 *   nearest pixel
 * - patches, as large as their box: see {@linkcode ProtoMasks.paste}
 */
export class ProtoMasks {
  readonly #columns = new BilinearAxis();
  readonly #rows = new BilinearAxis();
  readonly #gridColumns = new BilinearAxis();
  readonly #gridRows = new BilinearAxis();
  readonly #maskRows = new MaskRows();
  /** Masks since it was set to 0 that have no pixel because what they are made of is NaN. */
  unfinished = 0;
  #cells: Float32Array<ArrayBuffer> = new Float32Array(0);
  #grid: Float32Array<ArrayBuffer> = new Float32Array(0);

  /**
   * Make the masks of an image's objects.
   *
   * @param region where the image lies in the input; that of the image before it was shrunk, for masks of its size
   * @returns a mask for each object, in their order. One without a pixel has an `area` of 0: Ultralytics drops its object
   * @throws {ArgumentError} If an array is shorter than it must be
   */
  finish(
    prototypes: Prototypes,
    objects: MaskedObjects,
    region: Region,
    size: MaskSize,
    name: MaskRule = "ultralytics",
  ): Mask[] {
    const { count, coefficients, boxes } = objects;
    const { data, offset = 0, channels, width, height } = prototypes;
    if (
      data.length < offset + channels * width * height ||
      coefficients.length < count * channels ||
      boxes.length < count * 4
    ) {
      const of = `${data.length} prototypes, ${coefficients.length} coefficients and ${boxes.length} coordinates`;
      const found = `${count} objects of ${channels}x${height}x${width} prototypes have more than ${of}`;
      throw new ArgumentError(message("make masks", found));
    }
    const rule = ruleOf(name, size);
    const plan = planOf(prototypes, region, size, rule);
    const masks: Mask[] = [];
    for (let object = 0; object < count; object++) masks.push(this.#finishOne(prototypes, objects, object, plan, rule));
    return masks;
  }

  /**
   * Make the mask of a patch of probabilities that is as large as the object's box.
   *
   * @param boxes f32: x1, y1, x2, y2 from `at` on, in pixels of the mask
   * @param size  of the mask
   */
  paste(
    { data, offset = 0, width, height }: Prototypes,
    boxes: Float32Array,
    at: number,
    size: readonly [width: number, height: number],
    { half, place }: PatchRule,
  ): Mask {
    // A cell around the patch where nothing is.
    const pitch = width + 2;
    const count = pitch * (height + 2);
    if (count > this.#cells.length) this.#cells = new Float32Array(count);
    const cells = this.#cells;
    cells.fill(-half, 0, count);
    for (let row = 0; row < height; row++) {
      const to = (row + 1) * pitch + 1;
      for (let column = 0; column < width; column++) cells[to + column] = data[offset + row * width + column]! - half;
    }
    const x = place(boxes[at]!, boxes[at + 2]!, width, size[0]);
    const y = place(boxes[at + 1]!, boxes[at + 3]!, height, size[1]);
    const window = { left: x.begin, top: y.begin, right: x.end, bottom: y.end };
    if (isEmpty(window)) return blankMask(size[0], size[1], window);
    this.#columns.set(window.left, window.right, x.origin, x.pixels, 0, pitch);
    this.#rows.set(window.top, window.bottom, y.origin, y.pixels, 0, height + 2);
    // Rows of cells are complete, whatever the axes need of them.
    const { begin } = this.#columns;
    const first = this.#rows.begin;
    this.#columns.end = begin + pitch;
    return this.#bitsOf(cells.subarray(first * pitch + begin), window, size[0], size[1]);
  }

  #finishOne(
    prototypes: Prototypes,
    { coefficients, boxes }: MaskedObjects,
    object: number,
    plan: Plan,
    rule: Rule,
  ): Mask {
    const { width, height, gridWidth, gridHeight } = plan;
    const isEnlarged = gridWidth !== prototypes.width || gridHeight !== prototypes.height;
    let cells: Window | undefined;
    if (rule.cut === "cells") cells = cellsUnder(boxes, object * 4, plan, rule.margin ?? 0);
    else if (rule.cut === "none") cells = cellsAbove(prototypes, rule.value === "probability" ? 0.5 : 0);
    const window = cells === undefined ? pixelsUnder(boxes, object * 4, plan) : reached(cells, prototypes, plan);
    if (isEmpty(window)) {
      if (rule.cut === "none") {
        const { data, offset = 0 } = prototypes;
        this.#count(data.subarray(offset, offset + prototypes.width * prototypes.height));
      }
      return blankMask(width, height, window);
    }
    const columns = this.#columns;
    const rows = this.#rows;
    // Pixels of a mask that was enlarged to a square are the nearest of its own.
    const set = rule.side === undefined ? "set" : "setNearest";
    columns[set](window.left, window.right, plan.x, plan.spanX, plan.cropX, plan.cropWidth);
    rows[set](window.top, window.bottom, plan.y, plan.spanY, plan.cropY, plan.cropHeight);
    const cellColumns = isEnlarged ? this.#gridColumns : columns;
    const cellRows = isEnlarged ? this.#gridRows : rows;
    if (isEnlarged) {
      cellColumns.set(columns.begin, columns.end, 0, gridWidth, 0, prototypes.width);
      cellRows.set(rows.begin, rows.end, 0, gridHeight, 0, prototypes.height);
    }
    this.#sum(prototypes, coefficients, object * prototypes.channels, cellColumns, cellRows);
    if (rule.value !== undefined) {
      this.#activate(rule.value, rule.cut === "cells" ? cells : undefined, cellColumns, cellRows);
    }
    if (isEnlarged) {
      const needed = (columns.end - columns.begin) * (rows.end - rows.begin);
      if (needed > this.#grid.length) this.#grid = new Float32Array(needed);
      this.#maskRows.enlarge(this.#cells, cellColumns, cellRows, this.#grid);
    }
    return this.#bitsOf(isEnlarged ? this.#grid : this.#cells, window, width, height);
  }

  /** Steps 3 and 4. */
  #bitsOf(cells: Float32Array, window: Window, width: number, height: number): Mask {
    const mask = blankMask(width, height, window);
    const columns = this.#columns;
    const rows = this.#rows;
    this.#maskRows.fill(cells, columns, rows, mask.bits);
    if (mask.isEmpty) this.#count(cells.subarray(0, (columns.end - columns.begin) * (rows.end - rows.begin)));
    return mask;
  }

  /** Count an empty mask if one of its cells is NaN. */
  #count(cells: Float32Array): void {
    if (cells.some(Number.isNaN)) this.unfinished += 1;
  }

  /** Make of sums what is compared with 0. @param cells those that stay; `undefined` for all */
  #activate(value: Rule["value"], cells: Window | undefined, columns: BilinearAxis, rows: BilinearAxis): void {
    const sums = this.#cells;
    for (let row = rows.begin, at = 0; row < rows.end; row++) {
      const isCut = cells !== undefined && (row < cells.top || row >= cells.bottom);
      for (let column = columns.begin; column < columns.end; column++, at++) {
        const sum = sums[at]!;
        if (isCut || (cells !== undefined && (column < cells.left || column >= cells.right))) sums[at] = -0.5;
        else sums[at] = (value === "sigmoid" ? fround(1 / (1 + Math.exp(-sum))) : sum) - 0.5;
      }
    }
  }

  /** Step 1, for the cells that the axes need. */
  #sum(
    prototypes: Prototypes,
    coefficients: Float32Array,
    from: number,
    columns: BilinearAxis,
    rows: BilinearAxis,
  ): void {
    const { data, offset = 0, channels, width, height } = prototypes;
    const pitch = columns.end - columns.begin;
    const needed = pitch * (rows.end - rows.begin);
    if (needed > this.#cells.length) this.#cells = new Float32Array(needed);
    const cells = this.#cells;
    const plane = width * height;
    for (let row = rows.begin, to = 0; row < rows.end; row++, to += pitch) {
      cells.fill(0, to, to + pitch);
      let at = offset + row * width + columns.begin;
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
}
