/** @module TilePlacer: a tile of an output tensor into the picture that is made. The reference for the kernel `transform_place`. */

import { message, ShapeError } from "../../core/errors.ts";
import { formatShape, sameShape } from "../../core/shape.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { Size } from "../../image/geometry.ts";
import { bytesPerPixel, type PackedImage } from "../../image/image.ts";
import { type Line, LUMA_WEIGHTS } from "../../image/preprocess-values.ts";
import { CubicRows, LEVEL_BITS } from "./cubic-rows.ts";
import { levelLine, type PixelTensor, pixelShape } from "./pixel-tensor.ts";
import type { Tile } from "./tile-grid.ts";

/** The values of an output. */
export type OutputArray = Float32Array | Float16Array | Uint8Array;

/** A double's integers are 1 apart from here on: adding it and taking it away rounds to the nearest, halves to even. */
const ROUNDER = 6755399441055744;
const UNIT: number = 1 << LEVEL_BITS;
const HALF: number = UNIT / 2;
const { red: RED, green: GREEN, blue: BLUE } = LUMA_WEIGHTS;

/** Writes tiles into a picture, clamped and rounded to u8, halves to even; a value that is NaN becomes 0. */
export class TilePlacer {
  readonly #form: PixelTensor;
  readonly #scale: number;
  readonly #lines: readonly Line[];
  readonly #rows: CubicRows;

  /**
   * @param form  the output tensor
   * @param scale enlarged by
   */
  constructor(form: PixelTensor, scale: number) {
    this.#form = form;
    this.#scale = scale;
    this.#lines = [0, 1, 2].map((channel) => levelLine(form, channel));
    this.#rows = new CubicRows(scale);
  }

  /**
   * Write the part of one tile that is kept.
   *
   * @param tensor the output, of the form's dtype, for a batch of tiles
   * @param index  which of the batch
   * @param size   of the tile in source pixels
   * @param source the picture the tile is of: chroma and alpha come from it
   * @param result of the source's format, `scale` times as large
   * @throws {ShapeError} If the tensor has another shape than the form says
   */
  place(tensor: Tensor, index: number, size: Size, tile: Tile, source: PackedImage, result: PackedImage): void {
    const scale = this.#scale;
    this.#check(tensor, index, size);
    const values = tensor.data as OutputArray;
    const target = new Uint8ClampedArray(result.data.buffer, result.data.byteOffset, result.data.length);
    const { channels, layout } = this.#form;
    const width = size[0] * scale;
    const area = width * size[1] * scale;
    const left = tile.left * scale;
    const right = tile.right * scale;
    const step = layout === "NCHW" || channels === "luma" || channels === "grey" ? 1 : 3;
    const start = index * area * (channels === "luma" || channels === "grey" ? 1 : 3);
    const hasAlpha = source.format === "RGBA";
    for (let y = tile.top * scale; y < tile.bottom * scale; y++) {
      const at = start + ((y - tile.y * scale) * width + left - tile.x * scale) * step;
      const to = y * result.pitchBytes + left * bytesPerPixel(result.format);
      const carried = channels === "luma" || hasAlpha ? this.#rows.row(source, y, left, right) : undefined;
      if (channels === "luma") this.#luma(values, at, carried!, target, to, right - left, source);
      else if (channels === "grey") this.#grey(values, at, target, to, right - left, result);
      else this.#colour(values, at, area, target, to, right - left, result);
      if (hasAlpha) alpha(carried!, target, to, right - left);
    }
  }

  #check(tensor: Tensor, index: number, [width, height]: Size): void {
    const scale = this.#scale;
    const batch = Math.max(tensor.shape[0] ?? 1, index + 1);
    const wanted = pixelShape(this.#form, batch, [width * scale, height * scale]);
    if (sameShape(wanted, tensor.shape) && tensor.dtype === this.#form.dtype) return;
    const expected = `${this.#form.dtype} ${formatShape(wanted)}`;
    const actual = `${tensor.dtype} ${formatShape(tensor.shape)}`;
    const found = `output ${JSON.stringify(this.#form.name)} must be ${expected}, got ${actual}`;
    const hint =
      batch === tensor.shape[0]
        ? "say what the sides of an input are multiples of: `multiple: 8`, 16 or 32"
        : "it does not make a picture of each of several: load it with `batch: 1`";
    throw new ShapeError(message("make a picture", found, hint), { tensor: this.#form.name, expected, actual });
  }

  #colour(
    values: OutputArray,
    at: number,
    area: number,
    target: Uint8ClampedArray,
    to: number,
    count: number,
    result: PackedImage,
  ): void {
    const [a, b, c] = this.#lines as [Line, Line, Line];
    const isPlanar = this.#form.layout === "NCHW";
    const step = isPlanar ? 1 : 3;
    const plane = isPlanar ? area : 1;
    const pixel = bytesPerPixel(result.format);
    const first = (result.format === "BGR") !== (this.#form.channels === "BGR") ? 2 : 0;
    const third = 2 - first;
    let from = at;
    let out = to;
    for (let column = 0; column < count; column++) {
      target[out + first] = Math.fround(Math.fround(values[from]! * a.slope) + a.offset);
      target[out + 1] = Math.fround(Math.fround(values[from + plane]! * b.slope) + b.offset);
      target[out + third] = Math.fround(Math.fround(values[from + 2 * plane]! * c.slope) + c.offset);
      from += step;
      out += pixel;
    }
  }

  #grey(
    values: OutputArray,
    at: number,
    target: Uint8ClampedArray,
    to: number,
    count: number,
    result: PackedImage,
  ): void {
    const { slope, offset } = this.#lines[0]!;
    const pixel = bytesPerPixel(result.format);
    for (let column = 0; column < count; column++) {
      const out = to + column * pixel;
      const level = Math.fround(Math.fround(values[at + column]! * slope) + offset);
      target[out] = level;
      target[out + 1] = level;
      target[out + 2] = level;
    }
  }

  /**
   * R, G and B of the enlarged source, each moved by what its luma lacks: the same as joining the new luma with the
   * enlarged Cb and Cr, without rounding those first.
   */
  #luma(
    values: OutputArray,
    at: number,
    carried: Int32Array,
    target: Uint8ClampedArray,
    to: number,
    count: number,
    source: PackedImage,
  ): void {
    const { slope, offset } = this.#lines[0]!;
    const pixel = bytesPerPixel(source.format);
    const red = source.format === "BGR" ? 2 : 0;
    const blue = 2 - red;
    for (let column = 0; column < count; column++) {
      const value = Math.fround(Math.fround(values[at + column]! * slope) + offset);
      const level = value > 0 ? Math.min(value, 255) : 0;
      const from = column * pixel;
      const r = carried[from + red]!;
      const g = carried[from + 1]!;
      const b = carried[from + blue]!;
      const luma = (r * RED + g * GREEN + b * BLUE + 32768) >> 16;
      const more = ((level * UNIT + ROUNDER - ROUNDER) | 0) - luma + HALF;
      const out = to + from;
      target[out + red] = (r + more) >> LEVEL_BITS;
      target[out + 1] = (g + more) >> LEVEL_BITS;
      target[out + blue] = (b + more) >> LEVEL_BITS;
    }
  }
}

function alpha(carried: Int32Array, target: Uint8ClampedArray, to: number, count: number): void {
  for (let at = 3; at < count * 4; at += 4) target[to + at] = (carried[at]! + HALF) >> LEVEL_BITS;
}
