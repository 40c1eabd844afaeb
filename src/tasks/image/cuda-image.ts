/** @module Cuda image: a picture in, cut, run and put together on the device, a picture out. */

import { allocate } from "../../core/dtype.ts";
import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import { copyOnDevice, copyToDevice } from "../../cuda/copy.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { type OnStream, Stream } from "../../cuda/stream.ts";
import type { Region } from "../../image/geometry.ts";
import { bytesPerPixel, type PackedImage } from "../../image/image.ts";
import { levelTable } from "../../image/preprocess-values.ts";
import type { SlotPicture } from "../../pipeline/backend.ts";
import type {
  CudaModel,
  CudaStages,
  CudaTask,
  CudaWork,
  DeviceBatch,
  DeviceTensors,
  LoadedModel,
  RunShape,
} from "../../pipeline/gpu/gpu-model.ts";
import { KernelLaunch } from "../../pipeline/gpu/kernel-launch.ts";
import type { PackedPicture } from "../../pipeline/gpu/picture-table.ts";
import { cubicPhases } from "./cubic-phases.ts";
import { TILE_BYTES } from "./frame-table.ts";
import { imageFor, type MadeImage, type TiledRecognition } from "./made-image.ts";
import { PictureMemory } from "./picture-memory.ts";
import { type Padding, tileGrid } from "./tile-grid.ts";
import { pickLaunch, placeLaunch } from "./tile-launches.ts";

/** What all parts of a loaded image model share. */
interface Shared {
  readonly model: LoadedModel;
  readonly recognition: TiledRecognition;
  readonly padding: Padding;
  /** On the device: f32 [3, 256], what `levelTable` gave for the input. */
  readonly levels: DeviceBuffer<"f32">;
  /** On the device: i32 [scale, 5], what `cubicPhases` gave. */
  readonly phases: DeviceBuffer<"i32">;
}

/** Pictures of pictures around an engine. */
export class CudaImage implements CudaTask<undefined, MadeImage> {
  readonly #recognition: TiledRecognition;
  readonly #padding: Padding;

  constructor(recognition: TiledRecognition, padding: Padding) {
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

/** What one slot needs to make pictures: the table of a picture's tiles, and memory for what is made. */
class CudaImageWork implements CudaWork<undefined, MadeImage> {
  readonly placements: readonly Region[] = [];
  readonly #shared: Shared;
  readonly #memory: PictureMemory;
  /** All tiles of the picture on the device. */
  #all: DeviceMemory | undefined;
  #result: PackedImage | undefined;
  #tiles = 0;

  constructor(shared: Shared) {
    this.#shared = shared;
    this.#memory = new PictureMemory(shared.model.device);
  }

  regions([image]: readonly SlotPicture[]): number {
    return tileGrid(image!.width, image!.height, this.#shared.recognition.tiling).tiles.length;
  }

  createStages(tensors: DeviceTensors, shape: RunShape): CudaStages<undefined> {
    return new TileStages(this.#shared, this.#memory.frame, tensors, shape, () => this.#all!);
  }

  begin({ pictures }: DeviceBatch<undefined>, on: OnStream): void {
    const { model, recognition } = this.#shared;
    const picture = pictures[0] as PackedPicture;
    const { width, height, format, pitchBytes, pixels } = picture;
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

  /** The picture is copied once, when all of its tiles are done. */
  enqueueCopyOut(): void {}

  [Symbol.dispose](): void {
    this.#tiles.close();
  }
}
