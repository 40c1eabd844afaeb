/**
 * @module TilePlacer: images of images around a model in host memory, the reference for every device: tiles go in, and what is
 * made of them becomes one image; what a model has no channels for is enlarged by bicubic taps in integers, so that CPU and GPU
 * agree to the bit.
 */

import type { Tensor } from "../../core/tensor.ts";
import { placeTile, type Region, type Size } from "../../image/geometry.ts";
import { bytesPerPixel, type Image, type PackedImage } from "../../image/image.ts";
import { type Line, LUMA_WEIGHTS } from "../../image/preprocessing.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import type { HostTensors, HostWork } from "../../runtime/task.ts";
import { type Padding, type Tile, type TileGrid, tileGrid } from "../image-grid.ts";
import type { ValueGuard } from "../value-guard.ts";
import {
  checkOutput,
  imageFormFor,
  levelLine,
  levelRange,
  type MadeImage,
  type PixelTensor,
  type TiledImageSpec,
  tilePreprocessing,
  withMemory,
} from "./image-recognition.ts";

/** Bits of a weight: 2048 is the whole. */
const CUBIC_WEIGHT_BITS = 11;

/** Numbers a phase: where the first of its four taps lies, from the pixel's own place on, and their weights. */
const PHASE_LENGTH = 5;

/** Catmull-Rom, the bicubic of Pillow. */
const SHARPNESS = -0.5;

function cubicWeight(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (SHARPNESS + 2) * x ** 3 - (SHARPNESS + 3) * x ** 2 + 1;
  if (x < 2) return SHARPNESS * x ** 3 - 5 * SHARPNESS * x ** 2 + 8 * SHARPNESS * x - 4 * SHARPNESS;
  return 0;
}

/**
 * The phases of an enlargement. Pixel `d` has its centre at (d + 0.5) / scale − 0.5 in the source; which taps it has and
 * how they weigh depends on d mod scale alone.
 *
 * @param scale whole, at least 1
 * @returns i32 [scale, 5]: offset of the first tap from ⌊d / scale⌋, then four weights that add up to 2048
 */
export function cubicPhases(scale: number): Int32Array<ArrayBuffer> {
  const phases = new Int32Array(new ArrayBuffer(scale * PHASE_LENGTH * 4));
  const whole = 1 << CUBIC_WEIGHT_BITS;
  for (let phase = 0; phase < scale; phase++) {
    const position = (phase + 0.5) / scale - 0.5;
    const first = Math.floor(position) - 1;
    const weights = [0, 1, 2, 3].map((tap) => Math.round(cubicWeight(position - first - tap) * whole));
    // What rounding left over goes to the heaviest tap, so that a flat image stays as it is.
    const heaviest = weights.indexOf(Math.max(...weights));
    weights[heaviest]! += whole - weights.reduce((sum, weight) => sum + weight, 0);
    phases.set([first, ...weights], phase * PHASE_LENGTH);
  }
  return phases;
}

/** Enlarged levels are in 1/64. */
const LEVEL_BITS = 6;

/** Bits that are dropped once the rows are weighed, and what rounds them. */
const DROPPED_BITS: number = CUBIC_WEIGHT_BITS - LEVEL_BITS;

function clamp(value: number, last: number): number {
  return Math.max(0, Math.min(value, last));
}

/** Enlarges rows one after the other; its buffers are kept and overwritten. */
export class CubicRows {
  readonly #scale: number;
  readonly #phases: Int32Array<ArrayBuffer>;
  /** The four source rows of an enlarged one weighed into one: i32 [columns, channels] in 1/64. */
  #narrow = new Int32Array(0);
  #wide = new Int32Array(0);

  /** @param scale whole, at least 1 */
  constructor(scale: number) {
    this.#scale = scale;
    this.#phases = cubicPhases(scale);
  }

  /**
   * A part of an enlarged row. Pixels beyond the image are its last ones.
   *
   * @param y     row of the enlarged image
   * @param left  first column of it
   * @param right column behind the last
   * @returns i32 [right − left, bytes of a pixel] in 1/64 of a level, below 0 and above 255 where the curve overshoots;
   * valid until the next call
   */
  row(image: PackedImage, y: number, left: number, right: number): Int32Array {
    const scale = this.#scale;
    const pixel = bytesPerPixel(image.format);
    const first = Math.floor(left / scale) - 2;
    const columns = Math.floor((right - 1) / scale) + 3 - first;
    this.#weighRows(image, y, first, columns);
    if (this.#wide.length < (right - left) * pixel) this.#wide = new Int32Array((right - left) * pixel);
    const narrow = this.#narrow;
    const wide = this.#wide;
    const phases = this.#phases;
    const half = 1 << (CUBIC_WEIGHT_BITS - 1);
    // One phase after the other: its weights then stay in registers.
    for (let start = left; start < Math.min(left + scale, right); start++) {
      const base = Math.floor(start / scale);
      const phase = (start - base * scale) * PHASE_LENGTH;
      const w0 = phases[phase + 1]!;
      const w1 = phases[phase + 2]!;
      const w2 = phases[phase + 3]!;
      const w3 = phases[phase + 4]!;
      let tap = (base + phases[phase]! - first) * pixel;
      for (let x = start; x < right; x += scale, tap += pixel) {
        const target = (x - left) * pixel;
        for (let channel = 0; channel < pixel; channel++) {
          const at = tap + channel;
          const sum =
            narrow[at]! * w0 + narrow[at + pixel]! * w1 + narrow[at + 2 * pixel]! * w2 + narrow[at + 3 * pixel]! * w3;
          wide[target + channel] = (sum + half) >> CUBIC_WEIGHT_BITS;
        }
      }
    }
    return wide;
  }

  #weighRows(image: PackedImage, y: number, first: number, columns: number): void {
    const { data, pitchBytes, width, height, format } = image;
    const pixel = bytesPerPixel(format);
    if (this.#narrow.length < columns * pixel) this.#narrow = new Int32Array(columns * pixel);
    const narrow = this.#narrow;
    const phases = this.#phases;
    const base = Math.floor(y / this.#scale);
    const phase = (y - base * this.#scale) * PHASE_LENGTH;
    const top = base + phases[phase]!;
    const row0 = clamp(top, height - 1) * pitchBytes;
    const row1 = clamp(top + 1, height - 1) * pitchBytes;
    const row2 = clamp(top + 2, height - 1) * pitchBytes;
    const row3 = clamp(top + 3, height - 1) * pitchBytes;
    const w0 = phases[phase + 1]!;
    const w1 = phases[phase + 2]!;
    const w2 = phases[phase + 3]!;
    const w3 = phases[phase + 4]!;
    const half = 1 << (DROPPED_BITS - 1);
    let target = 0;
    for (let column = 0; column < columns; column++) {
      let at = clamp(first + column, width - 1) * pixel;
      for (let channel = 0; channel < pixel; channel++, at++) {
        const sum = data[row0 + at]! * w0 + data[row1 + at]! * w1 + data[row2 + at]! * w2 + data[row3 + at]! * w3;
        narrow[target++] = (sum + half) >> DROPPED_BITS;
      }
    }
  }
}

/** The values of an output. */
type OutputArray = Float32Array | Float16Array | Uint8Array;

/** A double's integers are 1 apart from here on: adding it and taking it away rounds to the nearest, halves to even. */
const ROUNDER = 6755399441055744;
const UNIT: number = 1 << LEVEL_BITS;
const HALF: number = UNIT / 2;
const { red: RED, green: GREEN, blue: BLUE } = LUMA_WEIGHTS;

/** Writes tiles into an image, clamped and rounded to u8, halves to even; a value that is NaN becomes 0. */
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
   * @param source the image the tile is of: chroma and alpha come from it
   * @param result of the source's format, `scale` times as large
   * @throws {ShapeError} If the tensor has another shape than the form says
   */
  place(tensor: Tensor, index: number, size: Size, tile: Tile, source: PackedImage, result: PackedImage): void {
    const scale = this.#scale;
    const batch = Math.max(tensor.shape[0] ?? 1, index + 1);
    checkOutput(tensor, this.#form, batch, [size[0] * scale, size[1] * scale]);
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

/** What one slot needs to make images. */
export class HostImage implements HostWork<undefined, MadeImage> {
  readonly placements: readonly Region[] = [];
  readonly #recognition: TiledImageSpec;
  readonly #padding: Padding;
  readonly #preprocessor: Preprocessor;
  readonly #placer: TilePlacer;
  #source: PackedImage | undefined;
  #grid: TileGrid | undefined;
  #result: PackedImage | undefined;
  readonly #range: readonly [lowest: number, highest: number];
  readonly #guard: ValueGuard;

  constructor(recognition: TiledImageSpec, padding: Padding, guard: ValueGuard) {
    this.#recognition = recognition;
    this.#padding = padding;
    this.#guard = guard;
    this.#range = levelRange(recognition.output);
    this.#preprocessor = new Preprocessor(tilePreprocessing(recognition.input));
    this.#placer = new TilePlacer(recognition.output, recognition.scale);
  }

  begin([image]: readonly Image[]): number {
    const source = image as PackedImage;
    const { tiling, scale } = this.#recognition;
    this.#grid = tileGrid(source.width, source.height, tiling);
    this.#result = withMemory(imageFormFor(source, scale));
    this.#source = source;
    return this.#grid.tiles.length;
  }

  fill(tensors: HostTensors, region: number, row: number): void {
    const { size, tiles } = this.#grid!;
    const { x, y } = tiles[region]!;
    const source = this.#source!;
    const tile = placeTile([source.width, source.height], x, y, size, this.#padding);
    tensors.fill(this.#preprocessor, source, row, tile);
  }

  finish(tensors: HostTensors, region: number, row: number): void {
    const { size, tiles } = this.#grid!;
    const tensor = tensors.outputs.get(this.#recognition.output.name)!;
    this.#placer.place(tensor, row, size, tiles[region]!, this.#source!, this.#result!);
    this.#guard.checkRange(tensor, row, ...this.#range);
  }

  end(): readonly MadeImage[] {
    const made = [{ image: this.#result!, tiles: this.#grid!.tiles.length }];
    this.#source = undefined;
    this.#result = undefined;
    return made;
  }
}
