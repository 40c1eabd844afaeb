/** @module GpuSlot: one batch in flight on the GPU: a stream, its memory, and a graph for each input shape. */

import { Resource } from "../../core/resource.ts";
import type { Tensor } from "../../core/tensor.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { Event } from "../../cuda/event.ts";
import { type OnStream, Stream } from "../../cuda/stream.ts";
import { type Placement, place } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { DecodedImage } from "../../image/picture-decoder.ts";
import { blockAt, type DetectionBlock } from "../../model/detection-block.ts";
import type { Selection } from "../../model/selection.ts";
import type { Size, Slot } from "../backend.ts";
import { BindingCache } from "../binding-cache.ts";
import { sourcePlacement } from "../source-placement.ts";
import { createStageTimings, type StageTimings } from "../stage-timings.ts";
import { FrameMemory } from "./frame-memory.ts";
import { GpuBinding } from "./gpu-binding.ts";
import type { GpuModel } from "./gpu-model.ts";

/** Rows a picture that there is room for until more are asked for: the default of `maxDetections`. */
const FIRST_ROWS = 300;

/** A batch in flight on the GPU. In `timings`, `infer` is from the launch to the end of everything on the GPU. */
export class GpuSlot extends Resource implements Slot {
  readonly timings: StageTimings = createStageTimings();
  readonly placements: Placement[] = [];
  readonly #model: GpuModel;
  readonly #stream: Stream;
  readonly #options: OnStream;
  readonly #done: Event;
  readonly #activations: DeviceBuffer<"u8">;
  readonly #frames: FrameMemory[] = [];
  /** Where each picture was placed last, in its decoded size. */
  readonly #placed: Placement[] = [];
  readonly #bindings = new BindingCache<GpuBinding>();
  readonly #blocks: DetectionBlock[] = [];
  readonly #owned: DisposableStack;

  constructor(model: GpuModel, backend: Resource) {
    super("GpuSlot", backend);
    this.#model = model;
    this.#owned = new DisposableStack();
    try {
      const { device, engine } = model;
      this.#stream = this.#owned.use(Stream.create(device));
      this.#options = { stream: this.#stream };
      this.#done = this.#owned.use(Event.create(device));
      const bytes = Math.max(engine.deviceMemoryBytes(), 1);
      this.#activations = this.#owned.use(DeviceBuffer.create("u8", [bytes], { device }));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async decode(bytes: Uint8Array, index: number, source: string): Promise<DecodedImage> {
    const started = performance.now();
    const image = await this.#frameFor(index).decode(bytes, source, this.#model.decodeOptions);
    this.timings.decode += performance.now() - started;
    return image;
  }

  async detect(images: readonly Image[], size: Size, selection: Selection): Promise<readonly DetectionBlock[]> {
    const started = performance.now();
    const binding = this.#known(images.length, size) ?? (await this.#create(images.length, size));
    binding.reserveRows(selection.maxDetections);
    binding.tables.selection.setSelection(selection);
    this.#upload(binding, images);
    const launched = performance.now();
    binding.enqueue();
    this.#done.record(this.#options);
    await this.#done.wait();
    if (!binding.isGraph) binding.capture();
    const finished = performance.now();
    const blocks = this.#read(binding, selection);
    this.timings.preprocess = launched - started;
    this.timings.infer = finished - launched;
    this.timings.postprocess = performance.now() - finished;
    return blocks;
  }

  async preprocess(images: readonly Image[], size: Size): Promise<void> {
    const started = performance.now();
    const binding = this.#known(images.length, size) ?? (await this.#create(images.length, size));
    this.#upload(binding, images);
    binding.enqueuePreprocess();
    await this.#finish();
    this.timings.preprocess = performance.now() - started;
  }

  async infer(): Promise<void> {
    const started = performance.now();
    this.#bindings.current("infer").enqueueInference();
    await this.#finish();
    this.timings.infer = performance.now() - started;
  }

  async postprocess(selection: Selection): Promise<readonly DetectionBlock[]> {
    const started = performance.now();
    const binding = this.#bindings.current("post-process");
    binding.reserveRows(selection.maxDetections);
    binding.tables.selection.setSelection(selection);
    binding.enqueuePostprocess();
    await this.#finish();
    const blocks = this.#read(binding, selection);
    this.timings.postprocess = performance.now() - started;
    return blocks;
  }

  readInput(): Promise<Tensor> {
    return Promise.resolve(this.#bindings.current("read the input").readInput());
  }

  readOutputs(): Promise<ReadonlyMap<string, Tensor>> {
    return Promise.resolve(this.#bindings.current("read the outputs").readOutputs());
  }

  /** Enqueue the copies of the pixels and write the tables; rows that only fill the batch repeat the first picture. */
  #upload(binding: GpuBinding, images: readonly Image[]): void {
    const { colour } = this.#model.recognition.preprocessing;
    const { pictures, selection } = binding.tables;
    this.placements.length = images.length;
    for (let index = 0; index < images.length; index++) {
      const image = images[index]!;
      const picture = this.#frameFor(index).upload(image);
      const placement = this.#place(index, image, binding.size);
      const source = sourcePlacement(image, placement);
      this.placements[index] = source;
      pictures.set(index, picture, placement, colour);
      selection.setPlacement(index, source);
      if (index > 0) continue;
      for (let filler = images.length; filler < binding.batch; filler++) {
        pictures.set(filler, picture, placement, colour);
        selection.setPlacement(filler, source);
      }
    }
  }

  #read(binding: GpuBinding, selection: Selection): readonly DetectionBlock[] {
    for (let index = 0; index < this.placements.length; index++) {
      binding.read(index, blockAt(this.#blocks, index, selection.maxDetections));
    }
    return this.#blocks;
  }

  async #finish(): Promise<void> {
    this.#done.record(this.#options);
    await this.#done.wait();
  }

  #place(index: number, image: Image, [width, height]: Size): Placement {
    const last = this.#placed[index];
    if (
      last !== undefined &&
      last.sourceWidth === image.width &&
      last.sourceHeight === image.height &&
      last.inputWidth === width &&
      last.inputHeight === height
    ) {
      return last;
    }
    const placement = place(image.width, image.height, width, height, this.#model.recognition.preprocessing.fit);
    this.#placed[index] = placement;
    return placement;
  }

  #known(images: number, size: Size): GpuBinding | undefined {
    return this.#bindings.find(this.#model.fixedBatch ?? images, size);
  }

  async #create(images: number, size: Size): Promise<GpuBinding> {
    const batch = this.#model.fixedBatch ?? images;
    const shape = { batch, size, rows: FIRST_ROWS };
    return this.#bindings.add(await GpuBinding.create(this.#model, this.#stream, this.#activations, shape));
  }

  #frameFor(index: number): FrameMemory {
    const known = this.#frames[index];
    if (known !== undefined) return known;
    const frame = new FrameMemory(this.#stream, { zeroCopy: this.#model.zeroCopy });
    this.#frames[index] = frame;
    return frame;
  }

  protected release(): void {
    this.#bindings.close();
    for (const frame of this.#frames) frame?.close();
    this.#owned.dispose();
  }
}
