/** @module GpuSlot: one batch in flight on the GPU: its memory, and a graph for each input shape. */

import { CudaError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Resource } from "../../core/resource.ts";
import type { Tensor } from "../../core/tensor.ts";
import { Event } from "../../cuda/event.ts";
import type { EventWait } from "../../cuda/event-waits.ts";
import { type Placement, place } from "../../image/geometry.ts";
import type { DecodedImage } from "../../image/picture-decoder.ts";
import type { SourceBytes } from "../../image/source.ts";
import { PixelCheck } from "../../model/box-units.ts";
import { blockAt, type DetectionBlock } from "../../model/detection-block.ts";
import type { Selection } from "../../model/selection.ts";
import type { DecodeOutcome, Size, Slot, SlotPicture } from "../backend.ts";
import { BindingCache } from "../binding-cache.ts";
import { decodeAll } from "../decode-all.ts";
import { sourcePlacement } from "../source-placement.ts";
import { createStageTimings, type StageTimings } from "../stage-timings.ts";
import { FrameMemory } from "./frame-memory.ts";
import { GpuBinding } from "./gpu-binding.ts";
import type { GpuModel } from "./gpu-model.ts";
import { SlotTrace } from "./gpu-trace.ts";
import type { SlotStreams } from "./slot-streams.ts";

/** Rows a picture that there is room for until more are asked for: the default of `maxDetections`. */
const FIRST_ROWS = 300;

/** A batch in flight on the GPU. In `timings`, `infer` is from the launch to the end of everything on the GPU. */
export class GpuSlot extends Resource implements Slot {
  readonly timings: StageTimings = createStageTimings();
  readonly placements: Placement[] = [];
  readonly #model: GpuModel;
  readonly #streams: SlotStreams;
  readonly #trace: SlotTrace | undefined;
  readonly #done: Event;
  readonly #wait: EventWait;
  readonly #frames: FrameMemory[] = [];
  /** Where each picture was placed last, in its decoded size. */
  readonly #placed: Placement[] = [];
  readonly #bindings = new BindingCache<GpuBinding>();
  readonly #blocks: DetectionBlock[] = [];
  readonly #pixels = new PixelCheck();
  readonly #owned: DisposableStack;

  /** @param owner kept open by the slot: a backend */
  constructor(model: GpuModel, owner: Resource) {
    super("GpuSlot", owner);
    this.#model = model;
    this.#owned = new DisposableStack();
    try {
      const { device, streams, trace, waits } = model;
      this.#streams = this.#owned.use(streams.open());
      this.#trace = trace === undefined ? undefined : this.#owned.use(new SlotTrace(trace, this.#streams));
      this.#done = this.#owned.use(Event.create(device));
      this.#wait = waits.of(this.#done);
      this.#owned.defer(() => this.#wait.close());
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async decode(files: readonly SourceBytes[]): Promise<DecodeOutcome<SlotPicture>[]> {
    const { jpeg, decodeOptions } = this.#model;
    const decoder = await jpeg?.decoder();
    if (jpeg === undefined || decoder === undefined) return this.decodeToHost(files);
    const decode = (file: SourceBytes, index: number): Promise<SlotPicture> =>
      jpeg.decode(decoder, this.#frameFor(index), file, decodeOptions);
    return decodeAll(files, decode, this.timings);
  }

  decodeToHost(files: readonly SourceBytes[]): Promise<DecodeOutcome<DecodedImage>[]> {
    const { decodeOptions } = this.#model;
    const decode = ({ bytes, name }: SourceBytes, index: number): Promise<DecodedImage> =>
      this.#frameFor(index).decode(bytes, name, decodeOptions);
    return decodeAll(files, decode, this.timings);
  }

  prepare(images: number, size: Size): Promise<void> | undefined {
    return this.#known(images, size) === undefined ? this.#create(images, size).then(() => undefined) : undefined;
  }

  async detect(images: readonly SlotPicture[], size: Size, selection: Selection): Promise<readonly DetectionBlock[]> {
    const started = performance.now();
    const binding = this.#known(images.length, size) ?? (await this.#create(images.length, size));
    try {
      // Slots of other devices have had their turn on this thread since.
      this.#model.device.makeCurrent();
      binding.reserveRows(selection.maxDetections);
      binding.tables.selection.setSelection(selection);
      this.#upload(binding, images);
      const launched = performance.now();
      const { isGraph } = binding;
      this.#enqueue(binding);
      const enqueued = performance.now();
      await this.#wait.done();
      this.#trace?.tell(images.length, started, enqueued, isGraph);
      this.#model.device.makeCurrent();
      if (!isGraph && this.#model.hasGraph) binding.capture();
      const finished = performance.now();
      const blocks = this.#read(binding, selection);
      this.timings.preprocess = launched - started;
      this.timings.infer = finished - launched;
      this.timings.postprocess = performance.now() - finished;
      return blocks;
    } catch (error) {
      await this.#drain();
      throw error;
    } finally {
      this.#streams.leave();
    }
  }

  async preprocess(images: readonly SlotPicture[], size: Size): Promise<void> {
    const started = performance.now();
    const binding = this.#known(images.length, size) ?? (await this.#create(images.length, size));
    await this.#finish(() => {
      this.#upload(binding, images);
      binding.enqueuePreprocess();
    });
    this.timings.preprocess = performance.now() - started;
  }

  async infer(): Promise<void> {
    const started = performance.now();
    const binding = this.#bindings.current("infer");
    await this.#finish(() => binding.enqueueInference());
    this.timings.infer = performance.now() - started;
  }

  async postprocess(selection: Selection): Promise<readonly DetectionBlock[]> {
    const started = performance.now();
    const binding = this.#bindings.current("post-process");
    await this.#finish(() => {
      binding.reserveRows(selection.maxDetections);
      binding.tables.selection.setSelection(selection);
      binding.enqueuePostprocess();
    });
    const blocks = this.#read(binding, selection);
    this.timings.postprocess = performance.now() - started;
    return blocks;
  }

  readInput(): Promise<Tensor> {
    this.#model.device.makeCurrent();
    return Promise.resolve(this.#bindings.current("read the input").readInput());
  }

  readOutputs(): Promise<ReadonlyMap<string, Tensor>> {
    this.#model.device.makeCurrent();
    return Promise.resolve(this.#bindings.current("read the outputs").readOutputs());
  }

  /** Enqueue everything behind the pixels, with the mark that is waited for at its end. */
  #enqueue(binding: GpuBinding): void {
    const streams = this.#streams;
    this.#trace?.computeBegins();
    binding.enqueue();
    this.#trace?.computeEnds();
    streams.joinCopyOut();
    this.#trace?.copyOutBegins();
    binding.enqueueCopyOut();
    this.#trace?.copyOutEnds();
    this.#done.record(streams.copyOut);
  }

  /**
   * Enqueue the copies of the pixels and write the tables; rows that only fill the batch repeat the first picture. What is
   * enqueued on `compute` next finds the pixels there.
   */
  #upload(binding: GpuBinding, images: readonly SlotPicture[]): void {
    this.#streams.enter();
    this.#trace?.copyInBegins();
    const { colour } = this.#model.recognition.preprocessing;
    const { pictures, selection } = binding.tables;
    this.placements.length = images.length;
    let isCopied = false;
    for (let index = 0; index < images.length; index++) {
      const image = images[index]!;
      // What was decoded on the device is there already, and waited for.
      const isThere = "pixels" in image;
      const picture = isThere ? image : this.#frameFor(index).upload(image);
      isCopied ||= !isThere;
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
    this.#trace?.copyInEnds();
    // Without a copy of its own the batch does not wait for those of others; the marks of a trace are to be passed before it ends.
    if (isCopied || this.#trace !== undefined) this.#streams.joinCopyIn();
  }

  #read(binding: GpuBinding, selection: Selection): readonly DetectionBlock[] {
    for (let index = 0; index < this.placements.length; index++) {
      const block = blockAt(this.#blocks, index, selection.maxDetections, this.#model.recognition.extras);
      binding.read(index, block);
      this.#pixels.check(block, this.placements[index]!, this.#model.recognition.layout);
      this.#model.guard.check(block, this.placements[index]!);
    }
    return this.#blocks;
  }

  /** Enqueue a stage on `compute`, and wait for it. */
  async #finish(enqueue: () => void): Promise<void> {
    try {
      this.#model.device.makeCurrent();
      enqueue();
      this.#done.record(this.#streams.compute);
      await this.#wait.done();
    } catch (error) {
      await this.#drain();
      throw error;
    } finally {
      this.#streams.leave();
    }
  }

  /**
   * Wait for what a failed batch may have left on the streams: its copies read memory that the next batch writes. A device
   * that has failed for good fails here too; its error has been thrown already.
   */
  async #drain(): Promise<void> {
    const { copyIn, compute, copyOut } = this.#streams;
    try {
      for (const on of new Set([copyIn.stream, compute.stream, copyOut.stream])) {
        this.#done.record({ stream: on });
        await this.#wait.done();
      }
    } catch (error) {
      if (!(error instanceof CudaError)) throw error;
      logger.error(`${this.label} cannot be used any more: ${error.message}`);
    }
  }

  #place(index: number, image: SlotPicture, [width, height]: Size): Placement {
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
    const copiesOutApart = this.#streams.copiesOutApart || this.#trace !== undefined;
    const shape = { batch, size, rows: FIRST_ROWS, copiesOutApart };
    return this.#bindings.add(await GpuBinding.create(this.#model, this.#streams, shape));
  }

  #frameFor(index: number): FrameMemory {
    const known = this.#frames[index];
    if (known !== undefined) return known;
    const frame = new FrameMemory(this.#streams.copyIn, { zeroCopy: this.#model.zeroCopy });
    this.#frames[index] = frame;
    return frame;
  }

  protected release(): void {
    // Each is closed whatever happens to the others: bindings first, streams last.
    using owned = this.#owned;
    for (const frame of this.#frames) owned.use(frame);
    owned.defer(() => this.#bindings.close());
  }
}
