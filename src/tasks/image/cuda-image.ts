/** @module Cuda image: an image in, cut, run and put together on the device, an image out. */

import { readTensor } from "../../accelerators/tensorrt/gpu-binding.ts";
import type {
  CudaModel,
  CudaStages,
  CudaTask,
  CudaWork,
  DeviceBatch,
  DeviceTensors,
  LoadedModel,
  RunShape,
} from "../../accelerators/tensorrt/gpu-model.ts";
import { assertLinear, KernelLaunch, type LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import { IMAGE_BYTES, type PackedFrame, preprocessLaunch, valueTable } from "../../accelerators/tensorrt/preprocess.ts";
import { message, ShapeError } from "../../core/errors.ts";
import type { DevicePtr } from "../../core/units.ts";
import { DeviceBuffer, type DeviceMemory, type TypedDeviceMemory } from "../../cuda/buffers.ts";
import { deviceTable } from "../../cuda/kept-memory.ts";
import type { OnStream } from "../../cuda/stream.ts";
import { placeTile, type Region, type Size } from "../../image/geometry.ts";
import { bytesPerPixel, type PackedFormat, type PackedImage } from "../../image/image.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";
import type { SlotImage } from "../../runtime/backend.ts";
import { type Padding, type Tile, tileGrid } from "../image-grid.ts";
import type { ValueGuard } from "../value-guard.ts";
import {
  type DeviceFrame,
  FRAME_BYTES,
  ImageMemory,
  packFrame,
  packTile,
  runBytes,
  TILE_BYTES,
} from "./image-memory.ts";
import {
  channelCount,
  checkOutput,
  type ImageModelSpec,
  imageFormFor,
  levelLine,
  levelRange,
  type MadeImage,
  type PixelChannels,
  type PixelTensor,
  type TiledImageSpec,
  tilePreprocessing,
  withMemory,
} from "./image-recognition.ts";
import { cubicPhases } from "./tile-placer.ts";

/** What all parts of a loaded image model share. */
interface Shared {
  readonly model: LoadedModel;
  readonly recognition: TiledImageSpec;
  readonly padding: Padding;
  readonly preprocessing: Preprocessing;
  /** On the device: what `valueTable` gave for the pre-processing. */
  readonly values: DeviceBuffer<"f32">;
  /** On the device: i32 [scale, 5], what `cubicPhases` gave. */
  readonly phases: DeviceBuffer<"i32">;
  readonly first: FirstLook;
}

/** Shows a tile of the model's first image to its guard, once a load: kernels write levels, and cut off what is outside. */
class FirstLook {
  readonly #guard: ValueGuard;
  readonly #range: readonly [lowest: number, highest: number];
  #isDone = false;

  constructor(guard: ValueGuard, output: PixelTensor) {
    this.#guard = guard;
    this.#range = levelRange(output);
  }

  /** @param made what the model made of the last run, which has been waited for. Blocks the first time */
  look(made: DeviceBuffer, { stream }: OnStream): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#guard.checkRange(readTensor(made, stream, 1), 0, ...this.#range);
  }
}

/** Images of images around an engine. */
export class CudaImage implements CudaTask<undefined, MadeImage> {
  readonly #recognition: TiledImageSpec;
  readonly #padding: Padding;
  readonly #guard: ValueGuard;

  constructor(recognition: TiledImageSpec, padding: Padding, guard: ValueGuard) {
    this.#recognition = recognition;
    this.#padding = padding;
    this.#guard = guard;
  }

  load(model: LoadedModel, owned: DisposableStack): CudaModel<undefined, MadeImage> {
    const { device } = model;
    const recognition = this.#recognition;
    const { input, output, scale } = recognition;
    const preprocessing = tilePreprocessing(input);
    const values = owned.use(deviceTable("f32", valueTable(preprocessing), device));
    const phases = owned.use(deviceTable("i32", cubicPhases(scale), device));
    const first = new FirstLook(this.#guard, output);
    const shared = { model, recognition, padding: this.#padding, preprocessing, values, phases, first };
    return { createWork: ({ setup }) => new CudaImageWork(shared, setup) };
  }
}

/** An image that is made: what its runs are written from. */
interface ImageInWork {
  readonly frame: DeviceFrame;
  readonly packed: PackedFrame;
  readonly tiles: readonly Tile[];
  /** What the model sees of each tile. */
  readonly regions: readonly Region[];
  readonly result: Omit<PackedImage, "data">;
}

/** What one slot needs to make images: the tables of an image's runs, and memory for what is made. */
class CudaImageWork implements CudaWork<undefined, MadeImage> {
  readonly placements: readonly Region[] = [];
  readonly #shared: Shared;
  readonly #memory: ImageMemory;
  #image: ImageInWork | undefined;
  /** Its memory is made while the device works: 6 MB take some tenths of a millisecond. */
  #result: PackedImage | undefined;
  readonly #setup: OnStream;

  constructor(shared: Shared, setup: OnStream) {
    this.#shared = shared;
    this.#setup = setup;
    this.#memory = new ImageMemory(shared.model.device);
  }

  regions([image]: readonly SlotImage[]): number {
    return tileGrid(image!.width, image!.height, this.#shared.recognition.tiling).tiles.length;
  }

  createStages(tensors: DeviceTensors, shape: RunShape): CudaStages<undefined> {
    return new TileStages(this.#shared, this, tensors, shape);
  }

  begin({ deviceImages }: DeviceBatch<undefined>): void {
    const { recognition, padding } = this.#shared;
    const packed = deviceImages[0] as PackedFrame & { readonly format: PackedFormat };
    const { width, height, format, pitchBytes, pixels } = packed;
    const { size, tiles } = tileGrid(width, height, recognition.tiling);
    const regions = tiles.map(({ x, y }) => placeTile([width, height], x, y, size, padding));
    const result = imageFormFor({ width, height, format }, recognition.scale);
    const frame = {
      pixels,
      result: this.#memory.reserve(result.pitchBytes * result.height),
      pitchBytes,
      resultPitchBytes: result.pitchBytes,
      width,
      height,
      pixelBytes: bytesPerPixel(format),
      isBgr: format === "BGR",
    };
    this.#image = { frame, packed, tiles, regions, result };
  }

  /**
   * Write what a run reads, and enqueue its copy: one copy a run, as the engine before it has ended by then and nothing else runs.
   *
   * @param first of its tiles
   * @param batch rows; those that only fill it repeat the first tile
   */
  upload(target: DeviceMemory, first: number, batch: number, on: OnStream): void {
    const { frame, packed, tiles, regions } = this.#image!;
    const { model, preprocessing } = this.#shared;
    const table = this.#memory.runs(Math.ceil(tiles.length / model.rows), model.rows)[first / model.rows]!;
    packFrame(table.words, frame);
    const tilesAt = (FRAME_BYTES + batch * IMAGE_BYTES) / 4;
    for (let row = 0; row < batch; row++) {
      packTile(table.words, tilesAt + (row * TILE_BYTES) / 4, tiles[first + row]);
      table.regions.set(row, packed, regions[first + row] ?? regions[0]!, preprocessing);
    }
    this.#memory.upload(target, table, on);
  }

  enqueueCopyOut(on: OnStream): void {
    const { result } = this.#image!;
    this.#memory.download(result.pitchBytes * result.height, on);
    this.#result = withMemory(result);
  }

  read({ made }: TileStages): readonly MadeImage[] {
    this.#shared.first.look(made, this.#setup);
    const image = this.#result!;
    const tiles = this.#image!.tiles.length;
    this.#image = undefined;
    this.#result = undefined;
    this.#memory.read(image.data);
    return [{ image, tiles }];
  }

  [Symbol.dispose](): void {
    this.#memory.close();
  }
}

/** The launches of one batch and size of tiles. Which tiles they are is in a table on the device. */
class TileStages implements CudaStages<undefined> {
  /** What the model makes. */
  readonly made: DeviceBuffer;
  readonly #work: CudaImageWork;
  readonly #batch: number;
  readonly #table: DeviceBuffer<"u8">;
  readonly #preprocess: KernelLaunch;
  readonly #place: KernelLaunch;
  readonly #owned: DisposableStack;

  constructor(
    { model, recognition, preprocessing, values, phases }: Shared,
    work: CudaImageWork,
    { images: output, outputs }: DeviceTensors,
    shape: RunShape,
  ) {
    this.#work = work;
    const { batch } = shape;
    this.#batch = batch;
    using owned = new DisposableStack();
    const { device, kernels } = model;
    this.#table = owned.use(DeviceBuffer.create("u8", [runBytes(batch)], { device }));
    const part = (offset: number, byteLength: number): DeviceMemory => {
      return { pointer: (this.#table.pointer + offset) as DevicePtr, byteLength };
    };
    const frame = part(0, FRAME_BYTES);
    const images = part(FRAME_BYTES, batch * IMAGE_BYTES);
    const tiles = part(FRAME_BYTES + batch * IMAGE_BYTES, batch * TILE_BYTES);
    this.made = outputs.get(recognition.output.name)!;
    const memory = { frame, tiles, phases, made: this.made };
    this.#preprocess = new KernelLaunch(kernels, preprocessLaunch(preprocessing, { output, images, table: values }));
    this.#place = new KernelLaunch(kernels, placeLaunch(recognition, shape, memory));
    this.#owned = owned.move();
  }

  reserve(): boolean {
    return false;
  }

  select(_: DeviceBatch<undefined>, first: number, on: OnStream): void {
    this.#work.upload(this.#table, first, this.#batch, on);
  }

  setParams(): void {}

  /** They have been copied by `select`, outside the graph. */
  updateTables(): void {}

  enqueueTables(): void {}

  enqueuePreprocess(on: OnStream): void {
    this.#preprocess.enqueue(on);
  }

  enqueuePostprocess(on: OnStream): void {
    this.#place.enqueue(on);
  }

  /** The image is copied once, when all of its tiles are done. */
  enqueueCopyOut(): void {}

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** Pixels of a tensor that one block works on. */
const BLOCK_WIDTH = 32;
const BLOCK_HEIGHT = 8;

const CHANNEL_CODES: Readonly<Record<PixelChannels, number>> = { RGB: 0, BGR: 1, luma: 2, grey: 3 };

/** The memory the launch reads and writes; addresses are fixed from then on, contents are not. */
export interface TileMemory {
  /** One frame: {@linkcode FRAME_BYTES}. */
  readonly frame: DeviceMemory;
  /** A tile for each row of the batch: {@linkcode TILE_BYTES} each. */
  readonly tiles: DeviceMemory;
  /** i32 [scale, 5], what `cubicPhases` gave. */
  readonly phases: DeviceMemory;
  /** What the model made. */
  readonly made: TypedDeviceMemory;
}

function checkTable(name: string, table: DeviceMemory, bytes: number): void {
  if (table.byteLength >= bytes) return;
  const expected = `at least ${bytes} bytes`;
  const found = `the table of ${name} must be ${expected}, got ${table.byteLength}`;
  throw new ShapeError(message("make an image", found), { tensor: name, expected, actual: String(table.byteLength) });
}

/**
 * Write what is kept of every tile of the batch into the image that is made.
 *
 * @param shape of the run: its tiles in source pixels
 * @throws {ShapeError} If the tensor is not what was recognised, or a table is too small
 */
export function placeLaunch(recognition: ImageModelSpec, { batch, size }: RunShape, memory: TileMemory): LaunchSpec {
  const { output: form, scale } = recognition;
  const { made, frame, tiles, phases } = memory;
  const [width, height] = size;
  const large: Size = [width * scale, height * scale];
  checkOutput(made, form, batch, large);
  const isPlanar = form.layout === "NCHW";
  if (!isPlanar) assertLinear(form.name, made);
  checkTable("frames", frame, FRAME_BYTES);
  checkTable("tiles", tiles, batch * TILE_BYTES);
  checkTable("phases", phases, scale * 5 * 4);
  const [first, second, third] = [0, 1, 2].map((channel) => levelLine(form, channel));
  return {
    module: "transform",
    kernel: `transform_place_${form.dtype}`,
    config: {
      grid: [Math.ceil(large[0] / BLOCK_WIDTH), Math.ceil(large[1] / BLOCK_HEIGHT), batch],
      block: [BLOCK_WIDTH, BLOCK_HEIGHT, 1],
    },
    values: {
      frame: frame.pointer,
      tiles: tiles.pointer,
      tensor: made.pointer,
      phases: phases.pointer,
      width,
      height,
      scale,
      channels: CHANNEL_CODES[form.channels],
      vector: isPlanar ? (made.vector ?? 1) : channelCount(form.channels),
      slope0: first!.slope,
      offset0: first!.offset,
      slope1: second!.slope,
      offset1: second!.offset,
      slope2: third!.slope,
      offset2: third!.offset,
    },
  };
}
