/** @module Tile cases: images, tiles and tensors that the kernels of kernels/transform.cu are compared with the CPU on. */

import { IMAGE_BYTES, ImageTable, valueTable } from "../../src/accelerators/tensorrt/preprocess.ts";
import { allocate, bytesPerElement, createTensor, type DType, type Tensor, viewOf } from "../../src/core/tensor.ts";
import { placeTile } from "../../src/image/geometry.ts";
import type { PackedImage, PixelFormat } from "../../src/image/image.ts";
import { type InputTensor, Preprocessor } from "../../src/image/preprocessor.ts";
import { packFrame, packTile, TILE_BYTES } from "../../src/tasks/image/image-memory.ts";
import {
  type ImageModelSpec,
  normalisation,
  type PixelChannels,
  type PixelRange,
  type PixelTensor,
  pixelShape,
  tilePreprocessing,
} from "../../src/tasks/image/image-recognition.ts";
import { cubicPhases, TilePlacer } from "../../src/tasks/image/tile-placer.ts";
import { type Padding, type Tile, tileGrid } from "../../src/tasks/image-grid.ts";
import { chance } from "./chance.ts";
import { noiseImage } from "./image-models.ts";

/** One comparison: an image, all its tiles as one batch, and what the CPU makes of them. */
export interface TileCase {
  readonly name: string;
  readonly recognition: ImageModelSpec;
  readonly padding: Padding;
  readonly size: readonly [width: number, height: number];
  readonly tiles: readonly Tile[];
  readonly image: PackedImage;
  /** What the CPU makes of the tiles: the input of the model. */
  readonly input: InputTensor;
  /** What the model is said to make: noise, with numbers beyond the range, NaN and infinities among it. */
  readonly made: Tensor;
  /** What the CPU places. */
  readonly placed: PackedImage;
}

const RANGES: readonly PixelRange[] = [
  "0-1",
  "-1-1",
  "0-255",
  { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
];

const IMAGE_FILES: readonly (readonly [width: number, height: number, padBytes: number])[] = [
  [1, 1, 3],
  [5, 3, 0],
  [37, 23, 7],
  [80, 41, 1],
];

const CHANNELS: readonly (readonly [input: PixelChannels, output: PixelChannels])[] = [
  ["RGB", "RGB"],
  ["BGR", "RGB"],
  ["luma", "luma"],
  ["RGB", "grey"],
  ["luma", "BGR"],
];

function noise(dtype: PixelTensor["dtype"], shape: readonly number[], range: PixelRange, seed: number): Tensor {
  const tensor = createTensor(dtype, shape);
  const random = chance(seed);
  const reach = range === "0-255" || dtype === "u8" ? 255 : 1;
  const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0];
  const data = tensor.data as Float32Array;
  for (let at = 0; at < data.length; at++) {
    const isOdd = dtype !== "u8" && at % 97 === 5;
    // Every eighth value lies on half a level, where rounding shows.
    const value = at % 8 === 0 ? (Math.floor(random() * 255) + 0.5) / 255 : random() * 1.4 - 0.2;
    data[at] = isOdd ? odd[at % odd.length]! : dtype === "u8" ? Math.floor(random() * 256) : value * reach;
  }
  return tensor;
}

/** Every dtype, layout, kind of channels and format; sizes, pitches, paddings and ranges in turn. */
export function* tileCases(): Generator<TileCase, void, undefined> {
  let turn = 0;
  for (const dtype of ["f32", "f16", "u8"] as const) {
    for (const layout of ["NCHW", "NHWC"] as const) {
      for (const [inputChannels, outputChannels] of CHANNELS) {
        for (const format of ["RGB", "BGR", "RGBA"] as const) {
          for (const [width, height, padBytes] of IMAGE_FILES) {
            turn += 1;
            const range = dtype === "u8" ? "0-255" : RANGES[turn % RANGES.length]!;
            const forms = { layout, dtype, ...normalisation(range) };
            const input = { name: "x", channels: inputChannels, ...forms };
            const output = { name: "y", channels: outputChannels, ...forms };
            yield tileCase(turn, { input, output }, noiseImage(width, height, format, padBytes), range);
          }
        }
      }
    }
  }
}

function tileCase(
  turn: number,
  forms: Pick<ImageModelSpec, "input" | "output">,
  image: PackedImage,
  range: PixelRange,
): TileCase {
  const scale = 1 + (turn % 4);
  const padding = turn % 2 === 0 ? "replicate" : "reflect";
  const recognition = { ...forms, scale, fixedWidth: 33, fixedHeight: 18, fixedBatch: undefined };
  const unused = { smallest: [1, 1], largest: [1, 1] } as const;
  const grid = tileGrid(image.width, image.height, { ...recognition, ...unused, multiple: 1, overlap: 4 });
  const { size, tiles } = grid;
  const input = createTensor(forms.input.dtype, pixelShape(forms.input, tiles.length, size)) as InputTensor;
  const large = [size[0] * scale, size[1] * scale] as const;
  const made = noise(forms.output.dtype, pixelShape(forms.output, tiles.length, large), range, turn);
  const placed = noiseImage(image.width * scale, image.height * scale, image.format, 5);
  const preprocessor = new Preprocessor(tilePreprocessing(forms.input));
  const placer = new TilePlacer(forms.output, scale);
  for (const [index, tile] of tiles.entries()) {
    preprocessor.run(image, input, index, placeTile([image.width, image.height], tile.x, tile.y, size, padding));
    placer.place(made, index, size, tile, image, placed);
  }
  const kinds = `${forms.input.dtype} ${forms.input.layout} ${forms.input.channels} to ${forms.output.channels}`;
  const name = `${kinds}, ${image.width}x${image.height} ${image.format}, x${scale}, ${padding}`;
  return { name, recognition, padding, size, tiles, image, input, made, placed };
}

/** The tables of a case as the kernels read them. */
export interface TileTables {
  readonly frame: Int32Array<ArrayBuffer>;
  readonly tiles: Int32Array<ArrayBuffer>;
  /** What `ImageTable` packs. */
  readonly regions: Uint8Array<ArrayBuffer>;
  readonly values: Float32Array<ArrayBuffer>;
  readonly phases: Int32Array<ArrayBuffer>;
}

/**
 * Pack the tables of a case.
 *
 * @param pixels address of the image's first byte
 * @param result address of what is made; its rows are as far apart as the case's
 */
export function tileTables(one: TileCase, pixels: number, result: number): TileTables {
  const { image, placed, tiles, recognition, padding, size } = one;
  const frame = allocate("i32", 12);
  packFrame(frame, {
    pixels: pixels as never,
    result: result as never,
    pitchBytes: image.pitchBytes,
    resultPitchBytes: placed.pitchBytes,
    width: image.width,
    height: image.height,
    pixelBytes: image.format === ("RGBA" satisfies PixelFormat) ? 4 : 3,
    isBgr: image.format === "BGR",
  });
  const words = allocate("i32", (tiles.length * TILE_BYTES) / 4);
  for (const [index, tile] of tiles.entries()) packTile(words, (index * TILE_BYTES) / 4, tile);
  const preprocessing = tilePreprocessing(recognition.input);
  const regions = allocate("u8", tiles.length * IMAGE_BYTES);
  const table = new ImageTable(regions.buffer, 0, tiles.length);
  const { width, height, format, pitchBytes } = image;
  for (const [index, { x, y }] of tiles.entries()) {
    const source = { width, height, format, pitchBytes, pixels: pixels as never };
    table.set(index, source, placeTile([width, height], x, y, size, padding), preprocessing);
  }
  const phases = cubicPhases(recognition.scale);
  return { frame, tiles: words, regions, values: valueTable(preprocessing), phases };
}

/** Where two arrays differ bit by bit, at most five places; NaN is NaN. */
export function differences<T extends DType>(dtype: T, got: ArrayBufferView, want: ArrayBufferView): string[] {
  const length = want.byteLength / bytesPerElement(dtype);
  const view = (array: ArrayBufferView) => viewOf(dtype, array.buffer as ArrayBuffer, array.byteOffset, length);
  const [a, b] = [view(got), view(want)];
  const found: string[] = [];
  for (let at = 0; at < length && found.length < 5; at++) {
    if (!Object.is(a[at], b[at])) found.push(`[${at}]: ${a[at]} instead of ${b[at]}`);
  }
  return found;
}
