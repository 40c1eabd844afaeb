/** @module LaneQueue: pictures of any callers joined to batches for the lanes of one backend. */

import { BunTensorRtError, message } from "../core/errors.ts";
import type { JpegKernels } from "./jpeg-kernels.ts";
import { type JpegJob, JpegLane, type JpegVerdict, type LaneOptions } from "./jpeg-lane.ts";
import type { NvJpegHandle } from "./nvjpeg-handle.ts";

/** What a {@linkcode LaneQueue} is made with. */
export interface LaneQueueOptions extends LaneOptions {
  /** Most batches under way. */
  readonly lanes: number;
}

interface Waiting {
  readonly job: JpegJob;
  readonly resolve: (verdict: JpegVerdict) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A picture is decoded at once where nothing is under way. Where something is, those that come meanwhile form the next
 * batch: a full one starts on another lane at once, a part of one when a lane has ended, as the engines work off batches
 * one by one, and a small batch keeps them as long as a full one.
 */
export class LaneQueue {
  readonly #handle: NvJpegHandle;
  readonly #kernels: JpegKernels;
  readonly #options: LaneQueueOptions;
  readonly #lanes: JpegLane[] = [];
  readonly #idle: JpegLane[] = [];
  readonly #waiting: Waiting[] = [];
  /** Batches under way. */
  #running = 0;
  #isScheduled = false;

  /** @param handle with the kernels, owned by the queue's owner; both outlive it */
  constructor(handle: NvJpegHandle, kernels: JpegKernels, options: LaneQueueOptions) {
    this.#handle = handle;
    this.#kernels = kernels;
    this.#options = options;
  }

  /**
   * Decode a picture with others, as soon as a lane is free.
   *
   * @throws {CudaError} If the device fails
   */
  decode(job: JpegJob): Promise<JpegVerdict> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      if (this.#isScheduled) return;
      this.#isScheduled = true;
      // What the caller asks for in the same turn goes into the same batch.
      queueMicrotask(() => {
        this.#isScheduled = false;
        this.#startAll();
      });
    });
  }

  #startAll(): void {
    const { batch, lanes } = this.#options;
    while (this.#waiting.length > 0) {
      const running = this.#running;
      if (running >= lanes || (running > 0 && this.#waiting.length < batch)) return;
      void this.#start(this.#waiting.splice(0, batch));
    }
  }

  async #start(group: readonly Waiting[]): Promise<void> {
    this.#running += 1;
    let lane: JpegLane | undefined;
    try {
      lane = this.#idle.pop() ?? (await this.#create());
      const verdicts = await lane.run(group.map(({ job }) => job));
      for (const [index, { resolve }] of group.entries()) resolve(verdicts[index]!);
    } catch (error) {
      for (const { reject } of group) reject(error);
    } finally {
      this.#running -= 1;
      if (lane !== undefined) this.#idle.push(lane);
      this.#startAll();
    }
  }

  async #create(): Promise<JpegLane> {
    const lane = await JpegLane.create(this.#handle, this.#kernels, this.#options);
    this.#lanes.push(lane);
    return lane;
  }

  /** Close the lanes. @throws {BunTensorRtError} If a picture is under way */
  close(): void {
    if (this.#waiting.length > 0 || this.#running > 0) {
      throw new BunTensorRtError(message("close a LaneQueue", "pictures are under way", "await them first"));
    }
    // Each is closed whatever happens to the others.
    using owned = new DisposableStack();
    for (const lane of this.#lanes) owned.use(lane);
    this.#lanes.length = 0;
    this.#idle.length = 0;
  }
}
