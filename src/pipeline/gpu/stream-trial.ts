/** @module StreamTrial: how many batches a second a stream layout runs, measured on slots of its own. */

import { allEnded } from "../../core/all-ended.ts";
import { Resource } from "../../core/resource.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import { type Image, imageOf } from "../../image/image.ts";
import type { Size } from "../backend.ts";
import type { CudaModel, GpuModel, LoadedModel } from "./gpu-model.ts";
import { GpuSlot } from "./gpu-slot.ts";
import { GpuStreams, type StreamLayoutName } from "./gpu-streams.ts";
import type { TrialFigures } from "./stream-choice-config.ts";

/** The frame of the measurement: what most cameras give. */
const FRAME: Size = [1920, 1080];

/** A made-up frame in page-locked memory. */
export class TrialFrame extends Resource {
  readonly image: Image;
  readonly #memory: PinnedBuffer<"u8">;

  constructor(model: LoadedModel) {
    super("TrialFrame", model.device);
    const [width, height] = FRAME;
    const use = model.zeroCopy ? "mapped" : "copy";
    try {
      this.#memory = PinnedBuffer.create("u8", [height, width, 3], model.device, { use });
    } catch (error) {
      this.close();
      throw error;
    }
    const { data } = this.#memory;
    for (let at = 0; at < data.length; at++) data[at] = (at * 2654435761) >>> 24;
    this.image = imageOf(data, { width, height });
  }

  protected release(): void {
    this.#memory?.close();
  }
}

/** A layout with slots. */
export class StreamTrial<Params, Output> extends Resource {
  readonly layout: StreamLayoutName;
  readonly #images: readonly Image[];
  readonly #size: Size;
  readonly #slots: readonly GpuSlot<Params, Output>[];
  /** Nothing is found in noise with them, so that what is measured is the machine and not the picture. */
  readonly #params: Params;
  readonly #owned = new DisposableStack();
  #settled = 0;
  #latencyMs = 0;

  /**
   * @param slots  most batches in flight
   * @param images of each batch
   * @param size   of the model's input
   */
  constructor(
    model: LoadedModel,
    cuda: CudaModel<Params, Output>,
    layout: StreamLayoutName,
    slots: number,
    images: readonly Image[],
    size: Size,
  ) {
    super(`StreamTrial (${layout})`, model.engine);
    this.layout = layout;
    this.#images = images;
    this.#size = size;
    this.#params = model.task.idleParams as Params;
    try {
      const streams = this.#owned.use(new GpuStreams(model.engine, model.device, layout, slots));
      const own: GpuModel<Params, Output> = { ...model, cuda, streams, trace: undefined };
      this.#slots = Array.from({ length: slots }, () => this.#owned.use(new GpuSlot(own, streams)));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Run each slot twice, so that contexts are made and graphs captured. Where one fails, none runs any more.
   *
   * @returns milliseconds of the quickest batch that ran alone
   */
  async warmUp(): Promise<number> {
    await allEnded(this.#slots.map((slot) => this.#run(slot)));
    let quickest = Number.POSITIVE_INFINITY;
    for (const slot of this.#slots) {
      const started = performance.now();
      await this.#run(slot);
      quickest = Math.min(quickest, performance.now() - started);
    }
    return quickest;
  }

  /** Keep so many batches in flight for a time. */
  async measure(inFlight: number, milliseconds: number): Promise<TrialFigures> {
    this.#settled = 0;
    this.#latencyMs = 0;
    const started = performance.now();
    await allEnded(this.#slots.slice(0, inFlight).map((slot) => this.#runUntil(slot, started + milliseconds)));
    const settled = Math.max(1, this.#settled);
    return {
      streams: this.layout,
      inFlight,
      batchesPerSecond: this.#settled / ((performance.now() - started) / 1000),
      latencyMs: this.#latencyMs / settled,
    };
  }

  async #runUntil(slot: GpuSlot<Params, Output>, deadlineMs: number): Promise<void> {
    let now = performance.now();
    while (now < deadlineMs) {
      const started = now;
      await this.#run(slot);
      now = performance.now();
      this.#settled += 1;
      this.#latencyMs += now - started;
    }
  }

  async #run(slot: GpuSlot<Params, Output>): Promise<void> {
    await slot.run(this.#images, this.#size, this.#params);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}
