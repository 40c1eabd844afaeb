/** @module Host image: tiles of a picture in, a picture out, around a model in host memory. The reference for every device. */

import type { Region, Size } from "../../image/geometry.ts";
import { bytesPerPixel, type Image, type PackedImage } from "../../image/image.ts";
import { type InputArray, type Line, LUMA_WEIGHTS, levelTable, lumaLine } from "../../image/preprocessing.ts";
import type { InputTensor } from "../../image/preprocessor.ts";
import type { HostTensors, HostWork } from "../../runtime/host-work.ts";
import { imageFor, type MadeImage, type PixelTensor, type TiledImageSpec } from "./image-recognition.ts";
import { type Padding, sourceIndex, type TileGrid, tileGrid } from "./tile-grid.ts";
import { TilePlacer } from "./tile-placer.ts";

/** What one slot needs to make pictures. */
export class HostImage implements HostWork<undefined, MadeImage> {
  readonly placements: readonly Region[] = [];
  readonly #recognition: TiledImageSpec;
  readonly #picker: TilePicker;
  readonly #placer: TilePlacer;
  #source: PackedImage | undefined;
  #grid: TileGrid | undefined;
  #result: PackedImage | undefined;

  constructor(recognition: TiledImageSpec, padding: Padding) {
    this.#recognition = recognition;
    this.#picker = new TilePicker(recognition.input, padding);
    this.#placer = new TilePlacer(recognition.output, recognition.scale);
  }

  begin([picture]: readonly Image[]): number {
    const source = picture as PackedImage;
    const { tiling, scale } = this.#recognition;
    this.#grid = tileGrid(source.width, source.height, tiling);
    this.#result = imageFor(source, scale);
    this.#source = source;
    return this.#grid.tiles.length;
  }

  fill(tensors: HostTensors, region: number, row: number): void {
    const { size, tiles } = this.#grid!;
    const { x, y } = tiles[region]!;
    this.#picker.pick(this.#source!, size, x, y, tensors.lend(), row);
  }

  finish(tensors: HostTensors, region: number, row: number): void {
    const { size, tiles } = this.#grid!;
    const tensor = tensors.outputs.get(this.#recognition.output.name)!;
    this.#placer.place(tensor, row, size, tiles[region]!, this.#source!, this.#result!);
  }

  end(): readonly MadeImage[] {
    const made = [{ image: this.#result!, tiles: this.#grid!.tiles.length }];
    this.#source = undefined;
    this.#result = undefined;
    return made;
  }
}

const { red: RED, green: GREEN, blue: BLUE } = LUMA_WEIGHTS;

/** Fills input tensors tile by tile; it keeps its tables and allocates no memory per tile. */
export class TilePicker {
  readonly #form: PixelTensor;
  readonly #padding: Padding;
  /** f32 [3, 256]: value of each level by tensor channel. */
  readonly #table: Float32Array;
  readonly #line: Line;
  /** Offset of each column of the tile in a source row, in bytes. */
  #columns = new Int32Array(0);

  /** @param form the input tensor */
  constructor(form: PixelTensor, padding: Padding) {
    this.#form = form;
    this.#padding = padding;
    this.#table = levelTable(form, [0, 1, 2]);
    this.#line = lumaLine(form);
  }

  /**
   * Fill one row of the batch.
   *
   * @param size   of the tile in pixels
   * @param x      first column of the tile in the picture; what lies beyond the picture is padded
   * @param y      first row
   * @param tensor of the form's dtype, `[N, channels, height, width]` or `[N, height, width, channels]`
   * @param index  which picture of the batch
   */
  pick(image: PackedImage, size: Size, x: number, y: number, tensor: InputTensor, index: number): void {
    const [width, height] = size;
    const { format, pitchBytes } = image;
    if (this.#columns.length !== width) this.#columns = new Int32Array(width);
    const columns = this.#columns;
    const pixel = bytesPerPixel(format);
    for (let at = 0; at < width; at++) columns[at] = sourceIndex(x + at, image.width, this.#padding) * pixel;
    const { channels } = this.#form;
    const area = width * height;
    const start = index * area * (channels === "luma" ? 1 : 3);
    const { data } = tensor;
    // A plain u8 store would drop the fraction of a luma and wrap around.
    const luma = data instanceof Uint8Array ? new Uint8ClampedArray(data.buffer, data.byteOffset, data.length) : data;
    for (let row = 0; row < height; row++) {
      const source = sourceIndex(y + row, image.height, this.#padding) * pitchBytes;
      if (channels === "luma") this.#luma(image, source, luma, start + row * width);
      else this.#colour(image, source, data, start, row * width, area);
    }
  }

  #colour(image: PackedImage, source: number, target: InputArray, start: number, at: number, area: number): void {
    const { data } = image;
    const table = this.#table;
    const columns = this.#columns;
    const isSwapped = (image.format === "BGR") !== (this.#form.channels === "BGR");
    const first = isSwapped ? 2 : 0;
    const third = 2 - first;
    const isPlanar = this.#form.layout === "NCHW";
    const step = isPlanar ? 1 : 3;
    const plane = isPlanar ? area : 1;
    let to = start + at * step;
    for (let column = 0; column < columns.length; column++) {
      const from = source + columns[column]!;
      target[to] = table[data[from + first]!]!;
      target[to + plane] = table[256 + data[from + 1]!]!;
      target[to + 2 * plane] = table[512 + data[from + third]!]!;
      to += step;
    }
  }

  #luma(image: PackedImage, source: number, target: InputArray | Uint8ClampedArray, start: number): void {
    const { data } = image;
    const columns = this.#columns;
    const { slope, offset } = this.#line;
    const red = image.format === "BGR" ? 2 : 0;
    const blue = 2 - red;
    for (let column = 0; column < columns.length; column++) {
      const from = source + columns[column]!;
      const luma = data[from + red]! * RED + data[from + 1]! * GREEN + data[from + blue]! * BLUE;
      target[start + column] = Math.fround(Math.fround(luma * slope) + offset);
    }
  }
}
