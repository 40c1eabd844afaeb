/** @module Host image: tiles of an image in, an image out, around a model in host memory. The reference for every device. */

import { placeTile, type Region } from "../../image/geometry.ts";
import type { Image, PackedImage } from "../../image/image.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import type { HostTensors, HostWork } from "../../runtime/task.ts";
import {
  imageFormFor,
  type MadeImage,
  type TiledImageSpec,
  tilePreprocessing,
  withMemory,
} from "./image-recognition.ts";
import { type Padding, type TileGrid, tileGrid } from "./tile-grid.ts";
import { TilePlacer } from "./tile-placer.ts";

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

  constructor(recognition: TiledImageSpec, padding: Padding) {
    this.#recognition = recognition;
    this.#padding = padding;
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
  }

  end(): readonly MadeImage[] {
    const made = [{ image: this.#result!, tiles: this.#grid!.tiles.length }];
    this.#source = undefined;
    this.#result = undefined;
    return made;
  }
}
