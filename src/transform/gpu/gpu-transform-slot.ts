/** @module GpuTransformSlot: one picture in flight on the GPU: a stream, its memory, and a graph for each shape of tiles. */

import { CudaError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Resource } from "../../core/resource.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { Event } from "../../cuda/event.ts";
import { type OnStream, Stream } from "../../cuda/stream.ts";
import { bytesPerPixel, type PackedImage } from "../../image/image.ts";
import type { DecodedImage, PictureDecodeOptions } from "../../image/picture-decoder.ts";
import type { Size } from "../../pipeline/backend.ts";
import { BindingCache } from "../../pipeline/binding-cache.ts";
import { FrameMemory } from "../../pipeline/gpu/frame-memory.ts";
import { createStageTimings, type StageTimings } from "../../pipeline/stage-timings.ts";
import type { TileGrid } from "../tile-grid.ts";
import type { TransformSlot } from "../transform-backend.ts";
import type { GpuImageModel } from "./gpu-image-model.ts";
import { PictureMemory } from "./picture-memory.ts";
import { TileWork } from "./tile-work.ts";

/**
 * A picture in flight on the GPU: copied in once, made there tile by tile, copied out once. In `timings`, `preprocess` is
 * the host's part, `infer` from the first launch to the end of everything on the GPU, `postprocess` the last copy.
 */
export class GpuTransformSlot extends Resource implements TransformSlot {
  readonly timings: StageTimings = createStageTimings();
  readonly #model: GpuImageModel;
  readonly #stream: Stream;
  readonly #options: OnStream;
  readonly #done: Event;
  readonly #activations: DeviceBuffer<"u8">;
  readonly #source: FrameMemory;
  readonly #memory: PictureMemory;
  readonly #works = new BindingCache<TileWork>();
  readonly #owned: DisposableStack;

  constructor(model: GpuImageModel, backend: Resource) {
    super("GpuTransformSlot", backend);
    this.#model = model;
    this.#owned = new DisposableStack();
    try {
      const { device, engine } = model;
      this.#stream = this.#owned.use(Stream.create(device));
      this.#options = { stream: this.#stream };
      this.#done = this.#owned.use(Event.create(device));
      const bytes = Math.max(engine.deviceMemoryBytes(), 1);
      this.#activations = this.#owned.use(DeviceBuffer.create("u8", [bytes], { device }));
      this.#source = this.#owned.use(new FrameMemory({ stream: this.#stream }, { zeroCopy: false }));
      this.#memory = this.#owned.use(new PictureMemory(this.#stream));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async decode(bytes: Uint8Array, source: string, options: PictureDecodeOptions): Promise<DecodedImage> {
    const started = performance.now();
    const image = await this.#source.decode(bytes, source, options);
    this.timings.decode = performance.now() - started;
    return image;
  }

  async transform(
    image: PackedImage,
    grid: TileGrid,
    result: PackedImage,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const started = performance.now();
    const { size, tiles } = grid;
    const most = this.#model.batch;
    const last = this.#model.recognition.fixedBatch ?? (tiles.length % most || most);
    const rows = Math.ceil(tiles.length / most) * most;
    // The last batch may have a shape of its own; both are made before anything is enqueued.
    const work = tiles.length >= most ? await this.#workFor(most, size) : undefined;
    const rest = last === most && work !== undefined ? work : await this.#workFor(last, size);
    signal?.throwIfAborted();
    const { device } = this.#model;
    try {
      // Whoever works on other devices has had a turn on this thread since.
      device.makeCurrent();
      const launched = this.#enqueue(image, grid, result, { work, rest, rows });
      await this.#finish();
      device.makeCurrent();
      work?.capture();
      rest.capture();
      const finished = performance.now();
      this.#memory.read(result.data);
      this.timings.preprocess = launched - started;
      this.timings.infer = finished - launched;
      this.timings.postprocess = performance.now() - finished;
    } catch (error) {
      await this.#drain();
      throw error;
    }
  }

  /** Enqueue the whole picture. @returns when the first launch was made */
  #enqueue(
    image: PackedImage,
    { tiles }: TileGrid,
    result: PackedImage,
    plan: { readonly work: TileWork | undefined; readonly rest: TileWork; readonly rows: number },
  ): number {
    const pixelBytes = bytesPerPixel(image.format);
    const { pixels, pitchBytes } = this.#source.upload(image);
    const frame = {
      pixels,
      result: this.#memory.reserve(result.data.length),
      pitchBytes,
      resultPitchBytes: result.pitchBytes,
      width: image.width,
      height: image.height,
      pixelBytes,
      isBgr: image.format === "BGR",
    };
    const all = this.#memory.upload(frame, tiles, plan.rows);
    const launched = performance.now();
    const most = this.#model.batch;
    for (let first = 0; first < tiles.length; first += most) {
      const isWhole = first + most <= tiles.length;
      (isWhole ? plan.work! : plan.rest).enqueue(all, first);
    }
    this.#memory.download(result.data.length);
    return launched;
  }

  async #finish(): Promise<void> {
    this.#done.record(this.#options);
    await this.#done.wait();
  }

  /**
   * Wait for what a failed picture may have left on the stream: its copies read memory that the next one writes. A device
   * that has failed for good fails here too; its error has been thrown already.
   */
  async #drain(): Promise<void> {
    try {
      await this.#finish();
    } catch (error) {
      if (!(error instanceof CudaError)) throw error;
      logger.error(`${this.label} cannot be used any more: ${error.message}`);
    }
  }

  async #workFor(batch: number, size: Size): Promise<TileWork> {
    const known = this.#works.find(batch, size);
    if (known !== undefined) return known;
    const shared = { activations: this.#activations, frame: this.#memory.frame };
    return this.#works.add(await TileWork.create(this.#model, this.#stream, shared, { batch, size }));
  }

  protected release(): void {
    using owned = this.#owned;
    owned.defer(() => this.#works.close());
  }
}
