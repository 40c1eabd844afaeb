/** @module GpuSlot: one batch in flight on the GPU: its memory, and a graph for each input shape. */

import { CudaError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Owner, type Resource } from "../../core/resource.ts";
import type { Tensor } from "../../core/tensor.ts";
import { Event } from "../../cuda/event.ts";
import type { EventWait } from "../../cuda/event-waits.ts";
import type { Region } from "../../image/geometry.ts";
import { isSamePixels } from "../../image/image.ts";
import type { DecodedImage } from "../../image/image-decoder.ts";
import type { SourceBytes } from "../../image/source.ts";
import {
  createStageTimings,
  type DecodeOutcome,
  type Size,
  type Slot,
  type SlotImage,
  type StageTimings,
} from "../../runtime/backend.ts";
import { BindingCache, decodeAll } from "../../runtime/slots.ts";
import { FrameMemory } from "./frame-memory.ts";
import { GpuBinding } from "./gpu-binding.ts";
import type { CudaWork, DeviceBatch, GpuModel } from "./gpu-model.ts";
import { type SlotStreams, SlotTrace } from "./gpu-streams.ts";
import type { DeviceImage } from "./preprocess.ts";

/** What a batch is run with; the same object each time. */
type Batch<Params> = { -readonly [Key in keyof DeviceBatch<Params>]: DeviceBatch<Params>[Key] };

/** A batch in flight on the GPU. In `timings`, `infer` is from the launch to the end of everything on the GPU. */
export class GpuSlot<Params, Output> extends Owner implements Slot<Params, Output> {
  readonly timings: StageTimings = createStageTimings();
  readonly #model: GpuModel<Params, Output>;
  readonly #streams: SlotStreams;
  readonly #work: CudaWork<Params, Output>;
  readonly #trace: SlotTrace | undefined;
  readonly #done: Event;
  readonly #wait: EventWait;
  readonly #frames: FrameMemory[] = [];
  readonly #deviceImages: DeviceImage[] = [];
  readonly #batch: Batch<Params>;
  readonly #bindings = new BindingCache<GpuBinding<Params>>();

  /** @param owner kept open by the slot: a backend */
  constructor(model: GpuModel<Params, Output>, owner: Resource) {
    super("GpuSlot", owner);
    this.#model = model;
    const params = model.task.idleParams as Params;
    this.#batch = { images: [], deviceImages: this.#deviceImages, size: [0, 0], params };
    try {
      const { device, streams, trace, waits, cuda } = model;
      this.#streams = this.owned.use(streams.open());
      this.#work = this.owned.use(cuda.createWork(this.#streams));
      this.#trace = trace === undefined ? undefined : this.owned.use(new SlotTrace(trace, this.#streams));
      this.#done = this.owned.use(Event.create(device));
      this.#wait = waits.of(this.#done);
      this.owned.defer(() => this.#wait.close());
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get placements(): readonly Region[] {
    return this.#work.placements;
  }

  async decode(files: readonly SourceBytes[]): Promise<DecodeOutcome<SlotImage>[]> {
    const { jpeg, task } = this.#model;
    const decoder = await jpeg?.decoder();
    if (jpeg === undefined || decoder === undefined) return this.decodeToHost(files);
    const decode = (file: SourceBytes, index: number): Promise<SlotImage> =>
      jpeg.decode(decoder, this.#frameFor(index), file, task.decodeOptions);
    return decodeAll(files, decode, this.timings);
  }

  decodeToHost(files: readonly SourceBytes[]): Promise<DecodeOutcome<DecodedImage>[]> {
    const { decodeOptions } = this.#model.task;
    const decode = ({ bytes, name }: SourceBytes, index: number): Promise<DecodedImage> =>
      this.#frameFor(index).decode(bytes, name, decodeOptions);
    return decodeAll(files, decode, this.timings);
  }

  prepare(images: readonly SlotImage[], size: Size, params: Params): Promise<void> | undefined {
    return this.#prepare(this.#work.regions(images, size, params), size);
  }

  async run(images: readonly SlotImage[], size: Size, params: Params): Promise<readonly Output[]> {
    const started = performance.now();
    const regions = this.#work.regions(images, size, params);
    // The last run may have a shape of its own; both are made before anything is enqueued.
    const preparing = this.#prepare(regions, size);
    if (preparing !== undefined) await preparing;
    const { rows } = this.#model;
    const whole = regions < rows ? undefined : this.#known(rows, size);
    const rest = this.#known(this.#lastOf(regions), size)!;
    const isGraph = rest.isGraph && (whole?.isGraph ?? true);
    try {
      // Slots of other devices have had their turn on this thread since.
      this.#model.device.makeCurrent();
      whole?.reserve(params);
      rest.reserve(params);
      this.#upload(images, size, params);
      const launched = performance.now();
      let first = 0;
      for (; this.#work.take !== undefined && first + rows < regions; first += rows) {
        this.#enqueue(first, first + rows, whole, whole!);
        await this.#wait.done();
        this.#model.device.makeCurrent();
        while (!this.#work.take(whole!.stages, params)) await this.#rerun(whole!);
      }
      this.#enqueue(first, regions, whole, rest);
      const enqueued = performance.now();
      await this.#wait.done();
      this.#trace?.tell(images.length, started, enqueued, isGraph);
      this.#model.device.makeCurrent();
      if (!isGraph && this.#model.hasGraph) {
        whole?.capture();
        rest.capture();
      }
      const finished = performance.now();
      const outputs = await this.#read(rest, params);
      this.timings.preprocess = launched - started;
      this.timings.infer = finished - launched;
      this.timings.postprocess = performance.now() - finished;
      return outputs;
    } catch (error) {
      await this.#drain();
      throw error;
    } finally {
      this.#streams.leave();
    }
  }

  async preprocess(images: readonly SlotImage[], size: Size): Promise<void> {
    const started = performance.now();
    const regions = this.#work.regions(images, size);
    const binding = this.#known(regions, size) ?? (await this.#make(regions, size));
    await this.#finish(() => {
      this.#upload(images, size, this.#batch.params);
      this.#work.begin(this.#batch, this.#streams.compute);
      binding.stages.select(this.#batch, 0, this.#streams.compute);
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

  async postprocess(params: Params): Promise<readonly Output[]> {
    const started = performance.now();
    const binding = this.#bindings.current("post-process");
    await this.#finish(() => {
      binding.reserve(params);
      binding.stages.setParams(params);
      this.#enqueuePostprocess(binding);
    });
    const outputs = await this.#read(binding, params);
    this.timings.postprocess = performance.now() - started;
    return outputs;
  }

  readInput(): Promise<Tensor> {
    this.#model.device.makeCurrent();
    return Promise.resolve(this.#bindings.current("read the input").readInput());
  }

  readOutputs(): Promise<ReadonlyMap<string, Tensor>> {
    this.#model.device.makeCurrent();
    return Promise.resolve(this.#bindings.current("read the outputs").readOutputs());
  }

  /** What came of a batch. Where there was too little room for it, what comes after the model is run again with more. */
  async #read(binding: GpuBinding<Params>, params: Params): Promise<readonly Output[]> {
    let outputs = this.#work.read(binding.stages, params);
    while (outputs === undefined) {
      await this.#rerun(binding);
      outputs = this.#work.read(binding.stages, params);
    }
    return outputs;
  }

  /** Run again what comes after the model, where there was too little room for what came of it. */
  #rerun(binding: GpuBinding<Params>): Promise<void> {
    this.#model.reruns.count += 1;
    return this.#finish(() => this.#enqueuePostprocess(binding));
  }

  /** Enqueue what comes after the model, down to the copy to the host. */
  #enqueuePostprocess(binding: GpuBinding<Params>): void {
    binding.enqueuePostprocess();
    this.#work.enqueueCopyOut(this.#streams.compute);
  }

  /**
   * Enqueue everything behind the pixels, of the regions from one to another, with the mark that is waited for at its end.
   *
   * @param rest of the last run
   */
  #enqueue(from: number, end: number, whole: GpuBinding<Params> | undefined, rest: GpuBinding<Params>): void {
    const streams = this.#streams;
    const { rows } = this.#model;
    if (from === 0) {
      this.#trace?.begins("compute");
      this.#work.begin(this.#batch, streams.compute);
    }
    for (let first = from; first < end; first += rows) {
      const binding = whole !== undefined && first + rows <= end ? whole : rest;
      binding.stages.select(this.#batch, first, streams.compute);
      binding.enqueue();
    }
    this.#trace?.ends("compute");
    streams.joinCopyOut();
    this.#trace?.begins("copyOut");
    rest.enqueueCopyOut();
    this.#work.enqueueCopyOut(streams.copyOut);
    this.#trace?.ends("copyOut");
    this.#done.record(streams.copyOut);
  }

  /** Enqueue the copies of the pixels. What is enqueued on `compute` next finds them there. */
  #upload(images: readonly SlotImage[], size: Size, params: Params): void {
    this.#streams.enter();
    this.#trace?.begins("copyIn");
    const deviceImages = this.#deviceImages;
    deviceImages.length = images.length;
    let isCopied = false;
    for (let index = 0; index < images.length; index++) {
      const image = images[index]!;
      const planes = "resident" in image ? image.resident : undefined;
      if ("pixels" in image) {
        // What was decoded on the device is there already, and waited for.
        deviceImages[index] = image;
      } else if (planes !== undefined && planes.device === this.#model.device.index) {
        // Likewise a frame of a video.
        deviceImages[index] = this.#frameFor(index).adopt(image, planes);
      } else if (index > 0 && isSamePixels(image, images[index - 1]!)) {
        // Regions of one image, as of the people in it, share its copy.
        deviceImages[index] = deviceImages[index - 1]!;
      } else {
        const rows = this.#work.rowsRead?.(image, index, size);
        deviceImages[index] = this.#frameFor(index).upload(image, rows, this.#streams.turn);
        isCopied = true;
      }
    }
    this.#trace?.ends("copyIn");
    // Without a copy of its own the batch does not wait for those of others; the marks of a trace are to be passed before it ends.
    if (isCopied || this.#trace !== undefined) this.#streams.joinCopyIn();
    this.#batch.images = images;
    this.#batch.size = size;
    this.#batch.params = params;
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

  /** Rows of the last run of a batch. */
  #lastOf(regions: number): number {
    const { rows } = this.#model;
    return regions < rows ? regions : regions % rows || rows;
  }

  #known(rows: number, size: Size): GpuBinding<Params> | undefined {
    return this.#bindings.find(this.#batchOf(rows), size);
  }

  /** Rows of the input for a run of some. */
  #batchOf(rows: number): number {
    const { fixedBatch, rows: most, task } = this.#model;
    return fixedBatch ?? Math.min(task.rowsFor?.(rows) ?? rows, most);
  }

  /** Make the shapes of a batch's runs; `undefined` if all are there. */
  #prepare(regions: number, size: Size): Promise<void> | undefined {
    const { rows } = this.#model;
    const isThere = regions < rows || this.#known(rows, size) !== undefined;
    return isThere && this.#known(this.#lastOf(regions), size) !== undefined ? undefined : this.#makeAll(regions, size);
  }

  async #makeAll(regions: number, size: Size): Promise<void> {
    const { rows } = this.#model;
    const last = this.#lastOf(regions);
    if (regions >= rows && this.#known(rows, size) === undefined) await this.#make(rows, size);
    if (this.#known(last, size) === undefined) await this.#make(last, size);
  }

  async #make(rows: number, size: Size): Promise<GpuBinding<Params>> {
    const batch = this.#batchOf(rows);
    const copiesOutApart = this.#streams.copiesOutApart || this.#trace !== undefined;
    const shape = { batch, size };
    return this.#bindings.add(await GpuBinding.create(this.#model, this.#streams, this.#work, shape, copiesOutApart));
  }

  #frameFor(index: number): FrameMemory {
    const known = this.#frames[index];
    if (known !== undefined) return known;
    const frame = new FrameMemory(this.#streams.copyIn, this.#model.zeroCopy, this.#model.task.input);
    this.#frames[index] = frame;
    return frame;
  }

  protected override release(): void {
    // Bindings first, streams last.
    for (const frame of this.#frames) this.owned.use(frame);
    this.owned.defer(() => this.#bindings.close());
    super.release();
  }
}
