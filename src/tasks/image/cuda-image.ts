/** @module Cuda image: an image in, cut, run and put together on the device, an image out. */

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
import { KernelLaunch, type LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import type { PackedFrame } from "../../accelerators/tensorrt/preprocess.ts";
import { message, ShapeError } from "../../core/errors.ts";
import { allocate, formatShape, sameShape } from "../../core/tensor.ts";
import { copyOnDevice, copyToDevice } from "../../cuda/copy.ts";
import { DeviceBuffer, type DeviceMemory, type TypedDeviceMemory } from "../../cuda/device-buffer.ts";
import { type OnStream, Stream } from "../../cuda/stream.ts";
import type { Region, Size } from "../../image/geometry.ts";
import { bytesPerPixel, type PackedImage } from "../../image/image.ts";
import { levelTable, lumaLine } from "../../image/preprocessing.ts";
import type { SlotImage } from "../../runtime/backend.ts";
import { FRAME_BYTES, ImageMemory, TILE_BYTES } from "./image-memory.ts";
import {
  type ImageModelSpec,
  imageFor,
  levelLine,
  type MadeImage,
  type PixelChannels,
  type PixelTensor,
  pixelShape,
  type TiledImageSpec,
} from "./image-recognition.ts";
import { type Padding, tileGrid } from "./tile-grid.ts";
import { cubicPhases } from "./tile-placer.ts";

/** What all parts of a loaded image model share. */
interface Shared {
  readonly model: LoadedModel;
  readonly recognition: TiledImageSpec;
  readonly padding: Padding;
  /** On the device: f32 [3, 256], what `levelTable` gave for the input. */
  readonly levels: DeviceBuffer<"f32">;
  /** On the device: i32 [scale, 5], what `cubicPhases` gave. */
  readonly phases: DeviceBuffer<"i32">;
}

/** Images of images around an engine. */
export class CudaImage implements CudaTask<undefined, MadeImage> {
  readonly #recognition: TiledImageSpec;
  readonly #padding: Padding;

  constructor(recognition: TiledImageSpec, padding: Padding) {
    this.#recognition = recognition;
    this.#padding = padding;
  }

  load(model: LoadedModel, owned: DisposableStack): CudaModel<undefined, MadeImage> {
    const { device } = model;
    const { input, scale } = this.#recognition;
    const table = allocate("f32", 3 * 256);
    if (input.channels !== "luma") table.set(levelTable(input, [0, 1, 2]));
    const offsets = cubicPhases(scale);
    const levels = owned.use(DeviceBuffer.create("f32", [table.length], { device }));
    const phases = owned.use(DeviceBuffer.create("i32", [offsets.length], { device }));
    using stream = Stream.create(device);
    copyToDevice(levels, table, { stream });
    copyToDevice(phases, offsets, { stream });
    stream.synchronize();
    const shared = { model, recognition: this.#recognition, padding: this.#padding, levels, phases };
    return { createWork: () => new CudaImageWork(shared) };
  }
}

/** What one slot needs to make images: the table of an image's tiles, and memory for what is made. */
class CudaImageWork implements CudaWork<undefined, MadeImage> {
  readonly placements: readonly Region[] = [];
  readonly #shared: Shared;
  readonly #memory: ImageMemory;
  /** All tiles of the image on the device. */
  #all: DeviceMemory | undefined;
  #result: PackedImage | undefined;
  #tiles = 0;

  constructor(shared: Shared) {
    this.#shared = shared;
    this.#memory = new ImageMemory(shared.model.device);
  }

  regions([image]: readonly SlotImage[]): number {
    return tileGrid(image!.width, image!.height, this.#shared.recognition.tiling).tiles.length;
  }

  createStages(tensors: DeviceTensors, shape: RunShape): CudaStages<undefined> {
    return new TileStages(this.#shared, this.#memory.frame, tensors, shape, () => this.#all!);
  }

  begin({ deviceImages }: DeviceBatch<undefined>, on: OnStream): void {
    const { model, recognition } = this.#shared;
    const packed = deviceImages[0] as PackedFrame;
    const { width, height, format, pitchBytes, pixels } = packed;
    const { tiles } = tileGrid(width, height, recognition.tiling);
    const result = imageFor({ width, height, format }, recognition.scale);
    const frame = {
      pixels,
      result: this.#memory.reserve(result.data.length),
      pitchBytes,
      resultPitchBytes: result.pitchBytes,
      width,
      height,
      pixelBytes: bytesPerPixel(format),
      isBgr: format === "BGR",
    };
    const { rows } = model;
    this.#all = this.#memory.upload(frame, tiles, Math.ceil(tiles.length / rows) * rows, on);
    this.#result = result;
    this.#tiles = tiles.length;
  }

  enqueueCopyOut(on: OnStream): void {
    this.#memory.download(this.#result!.data.length, on);
  }

  read(): readonly MadeImage[] {
    const image = this.#result!;
    this.#result = undefined;
    this.#memory.read(image.data);
    return [{ image, tiles: this.#tiles }];
  }

  [Symbol.dispose](): void {
    this.#memory.close();
  }
}

/** The launches of one batch and size of tiles. Which tiles they are is a table on the device. */
class TileStages implements CudaStages<undefined> {
  readonly #all: () => DeviceMemory;
  readonly #tiles: DeviceBuffer<"u8">;
  readonly #pick: KernelLaunch;
  readonly #place: KernelLaunch;
  /** Which part of all tiles comes next; the same object each time. */
  readonly #part: { stream: Stream; byteLength: number; sourceOffsetBytes: number };

  constructor(
    { model, recognition, padding, levels, phases }: Shared,
    frame: DeviceMemory,
    { images, outputs }: DeviceTensors,
    { batch, size }: RunShape,
    all: () => DeviceMemory,
  ) {
    this.#all = all;
    using owned = new DisposableStack();
    const { device, kernels } = model;
    this.#tiles = owned.use(DeviceBuffer.create("u8", [batch * TILE_BYTES], { device }));
    this.#part = { stream: undefined as unknown as Stream, byteLength: batch * TILE_BYTES, sourceOffsetBytes: 0 };
    const output = outputs.get(recognition.output.name)!;
    const memory = { frame, tiles: this.#tiles, levels, phases, input: images, output };
    this.#pick = new KernelLaunch(kernels, pickLaunch(recognition, padding, size, memory));
    this.#place = new KernelLaunch(kernels, placeLaunch(recognition, size, memory));
    owned.move();
  }

  reserve(): boolean {
    return false;
  }

  select(_: DeviceBatch<undefined>, first: number, { stream }: OnStream): void {
    this.#part.stream = stream;
    this.#part.sourceOffsetBytes = first * TILE_BYTES;
    copyOnDevice(this.#tiles, this.#all(), this.#part);
  }

  setParams(): void {}

  /** They have been copied by `select`, outside the graph. */
  enqueueTables(): void {}

  enqueuePreprocess(on: OnStream): void {
    this.#pick.enqueue(on);
  }

  enqueuePostprocess(on: OnStream): void {
    this.#place.enqueue(on);
  }

  /** The image is copied once, when all of its tiles are done. */
  enqueueCopyOut(): void {}

  [Symbol.dispose](): void {
    this.#tiles.close();
  }
}

/** Pixels of a tensor that one block works on. */
const BLOCK_WIDTH = 32;
const BLOCK_HEIGHT = 8;

const CHANNEL_CODES: Readonly<Record<PixelChannels, number>> = { RGB: 0, BGR: 1, luma: 2, grey: 3 };

/** The memory the launches read and write; addresses are fixed from then on, contents are not. */
export interface TileMemory {
  /** One frame: {@linkcode FRAME_BYTES}. */
  readonly frame: DeviceMemory;
  /** A tile for each row of the batch: {@linkcode TILE_BYTES} each. */
  readonly tiles: DeviceMemory;
  /** f32 [3, 256], what `levelTable` gave for the input. */
  readonly levels: DeviceMemory;
  /** i32 [scale, 5], what `cubicPhases` gave. */
  readonly phases: DeviceMemory;
  /** The model's input and output. */
  readonly input: TypedDeviceMemory;
  readonly output: TypedDeviceMemory;
}

function check(tensor: TypedDeviceMemory, form: PixelTensor, batch: number, size: Size): void {
  const shape = pixelShape(form, batch, size);
  if (tensor.dtype === form.dtype && sameShape(tensor.shape, shape)) return;
  const expected = `${form.dtype} ${formatShape(shape)}`;
  const actual = `${tensor.dtype} ${formatShape(tensor.shape)}`;
  const found = `tensor ${JSON.stringify(form.name)} must be ${expected}, got ${actual}`;
  const hint = "say what the sides of an input are multiples of: `multiple: 8`, 16 or 32";
  throw new ShapeError(message("make an image", found, hint), { tensor: form.name, expected, actual });
}

function checkTable(name: string, table: DeviceMemory, bytes: number): void {
  if (table.byteLength >= bytes) return;
  const expected = `at least ${bytes} bytes`;
  const found = `the table of ${name} must be ${expected}, got ${table.byteLength}`;
  throw new ShapeError(message("make an image", found), { tensor: name, expected, actual: String(table.byteLength) });
}

function grid([width, height]: Size, batch: number): LaunchSpec["config"] {
  return {
    grid: [Math.ceil(width / BLOCK_WIDTH), Math.ceil(height / BLOCK_HEIGHT), batch],
    block: [BLOCK_WIDTH, BLOCK_HEIGHT, 1],
  };
}

/**
 * Fill the input: every element of every row of the batch is written.
 *
 * @param size of a tile in source pixels
 * @throws {ShapeError} If the tensor is not what was recognised, or a table is too small
 */
export function pickLaunch(recognition: ImageModelSpec, padding: Padding, size: Size, memory: TileMemory): LaunchSpec {
  const { input: form } = recognition;
  const { input, frame, tiles, levels } = memory;
  const [width, height] = size;
  const batch = input.shape[0] ?? 0;
  check(input, form, batch, size);
  checkTable("frames", frame, FRAME_BYTES);
  checkTable("tiles", tiles, batch * TILE_BYTES);
  checkTable("levels", levels, 3 * 256 * 4);
  const line = lumaLine(form);
  return {
    module: "transform",
    kernel: `transform_pick_${form.dtype}`,
    config: grid(size, batch),
    values: {
      tensor: input.pointer,
      frame: frame.pointer,
      tiles: tiles.pointer,
      levels: levels.pointer,
      width,
      height,
      channels: CHANNEL_CODES[form.channels],
      planar: form.layout === "NCHW" ? 1 : 0,
      reflect: padding === "reflect" ? 1 : 0,
      slope: line.slope,
      offset: line.offset,
    },
  };
}

/**
 * Write what is kept of every tile of the batch into the image that is made.
 *
 * @param size of a tile in source pixels
 * @throws {ShapeError} If the tensor is not what was recognised, or a table is too small
 */
export function placeLaunch(recognition: ImageModelSpec, size: Size, memory: TileMemory): LaunchSpec {
  const { output: form, scale } = recognition;
  const { input, output, frame, tiles, phases } = memory;
  const [width, height] = size;
  const batch = input.shape[0] ?? 0;
  const large: Size = [width * scale, height * scale];
  check(output, form, batch, large);
  checkTable("frames", frame, FRAME_BYTES);
  checkTable("tiles", tiles, batch * TILE_BYTES);
  checkTable("phases", phases, scale * 5 * 4);
  const [first, second, third] = [0, 1, 2].map((channel) => levelLine(form, channel));
  return {
    module: "transform",
    kernel: `transform_place_${form.dtype}`,
    config: grid(large, batch),
    values: {
      frame: frame.pointer,
      tiles: tiles.pointer,
      tensor: output.pointer,
      phases: phases.pointer,
      width,
      height,
      scale,
      channels: CHANNEL_CODES[form.channels],
      planar: form.layout === "NCHW" ? 1 : 0,
      slope0: first!.slope,
      offset0: first!.offset,
      slope1: second!.slope,
      offset1: second!.offset,
      slope2: third!.slope,
      offset2: third!.offset,
    },
  };
}
