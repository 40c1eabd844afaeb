/** @module JpegLane: one state of nvJPEG with a stream of its own: one batch under way at a time. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { Owner } from "../core/resource.ts";
import type { Handle } from "../core/units.ts";
import type { DeviceMemory } from "../cuda/buffers.ts";
import { Event } from "../cuda/event.ts";
import type { EventWait, EventWaits } from "../cuda/event-waits.ts";
import { type OnStream, Stream } from "../cuda/stream.ts";
import { addressOf, OutCells } from "../ffi/memory.ts";
import { NVJPEG_OUTPUT_RGBI } from "../ffi/nvidia-libraries.ts";
import { shimOffThread } from "../ffi/shim.ts";
import type { OrientationSteps } from "../image/exif.ts";
import { BatchCheck, BatchTable, type JpegKernels, type StoredImage } from "./batch-check.ts";
import { checkNvJpeg, type NvJpegHandle, nvJpegStatusName } from "./nvjpeg-handle.ts";

/** CPU threads that a batch of the hybrid backend may use: its batches are of one image. */
const CPU_THREADS = 1;

/** An image to be decoded and turned upright. */
interface JpegJob extends StoredImage {
  /** How it is turned, and into which memory; `undefined` where it is upright as stored. */
  readonly turn: { readonly target: DeviceMemory; readonly steps: OrientationSteps } | undefined;
}

/** What became of an image: `unchecked` where it is decoded, and its data not known to be whole. */
type JpegVerdict = "decoded" | "unchecked" | "damaged data" | "not written" | `NVJPEG_STATUS_${string}`;

/** How a {@linkcode JpegLane} works. */
interface LaneOptions {
  /** Most images of a batch. */
  readonly batch: number;
  /** Find out whether the data is whole: nvJPEG does not tell. */
  readonly check: boolean;
  /** Of the same device. */
  readonly waits: EventWaits;
}

/** Decodes batches one after the other. */
class JpegLane extends Owner {
  readonly #handle: NvJpegHandle;
  readonly #kernels: JpegKernels;
  readonly #state: Handle<"nvjpegJpegState_t">;
  readonly #stream: Stream;
  readonly #options: OnStream;
  readonly #marked: Event;
  readonly #markedWait: EventWait;
  readonly #done: Event;
  readonly #doneWait: EventWait;
  readonly #table: BatchTable;
  readonly #check: BatchCheck | undefined;
  /** Batch size the state was last set up for; 0 where it has to be set up. */
  #prepared = 0;

  private constructor(
    handle: NvJpegHandle,
    kernels: JpegKernels,
    state: Handle<"nvjpegJpegState_t">,
    { batch, check, waits }: LaneOptions,
  ) {
    super(`JpegLane (${handle.backend})`, handle);
    const { device } = handle;
    this.#handle = handle;
    this.#kernels = kernels;
    this.#state = state;
    try {
      // Urgent, so that a few small kernels do not queue up behind whole frames.
      this.#stream = this.owned.use(Stream.create(device, { priority: device.priorityRange()[1] }));
      this.#options = { stream: this.#stream };
      this.#marked = this.owned.use(Event.create(device));
      this.#markedWait = waits.of(this.#marked);
      this.owned.defer(() => this.#markedWait.close());
      this.#done = this.owned.use(Event.create(device));
      this.#doneWait = waits.of(this.#done);
      this.owned.defer(() => this.#doneWait.close());
      this.#table = this.owned.use(new BatchTable(device, batch));
      this.#check = check ? this.owned.use(new BatchCheck(device, kernels, batch)) : undefined;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Make a lane; off the JS thread, as nvJPEG takes a tenth of a second for it.
   *
   * @param kernels of the same device; they outlive the lane
   */
  static async create(handle: NvJpegHandle, kernels: JpegKernels, options: LaneOptions): Promise<JpegLane> {
    handle.assertOpen("create a JpegLane");
    const { device, library } = handle;
    const out = new OutCells(1);
    const status = await shimOffThread("bt_nvjpeg_create_state")(
      device.index,
      library.calls.nvjpegJpegStateCreate.ptr,
      handle.handle,
      addressOf(out.cells),
    );
    checkNvJpeg(status, "nvjpegJpegStateCreate");
    device.makeCurrent();
    return new JpegLane(handle, kernels, out.pointer() as Handle<"nvjpegJpegState_t">, options);
  }

  /**
   * Decode a batch off the JS thread, and wait until the images are there. Where nvJPEG refuses a batch, its images
   * are decoded one by one, so that only the guilty ones fail.
   *
   * @param jobs images whose memory nothing else uses; one call at a time
   * @returns one verdict an image
   * @throws {CudaError} If the device fails
   */
  async run(jobs: readonly JpegJob[]): Promise<readonly JpegVerdict[]> {
    const status = await this.#decode(jobs);
    // That `jobs` is read after the call keeps what the worker thread reads from the collector until then.
    if (status === 0) return jobs.map((_, index) => this.#verdict(index));
    if (jobs.length === 1) return [nvJpegStatusName(status)];
    const verdicts: JpegVerdict[] = [];
    for (const job of jobs) verdicts.push(...(await this.run([job])));
    return verdicts;
  }

  /** Decode and check side by side; returns once the device is done with both, with nvJPEG's status. */
  async #decode(jobs: readonly JpegJob[]): Promise<number> {
    const check = this.#check;
    const decoding = this.#enqueueDecoding(jobs);
    const checking = check?.enqueue(jobs.map(({ bytes }) => bytes));
    // Whatever fails, the state, the tables and the files are in use until both have ended.
    const [decoded, checked] = await Promise.allSettled([decoding, checking]);
    this.#handle.device.makeCurrent();
    if (check !== undefined && checked.status === "fulfilled") this.#stream.waitFor(check.done);
    this.#done.record(this.#options);
    await this.#doneWait.done();
    if (checked.status === "rejected") throw checked.reason;
    if (decoded.status === "rejected") throw decoded.reason;
    return decoded.value;
  }

  /** Mark, decode, inspect and turn; returns once all is enqueued, with nvJPEG's status. */
  async #enqueueDecoding(jobs: readonly JpegJob[]): Promise<number> {
    const { device } = this.#handle;
    const table = this.#table;
    const count = jobs.length;
    for (let index = 0; index < count; index++) table.set(index, jobs[index]!);
    device.makeCurrent();
    this.#kernels.mark(table.mapped, count, this.#options);
    this.#marked.record(this.#options);
    // The engines keep to no stream's order: they write when they are asked to.
    await this.#markedWait.done();
    device.makeCurrent();
    const status = await this.#callNvJpeg(count);
    device.makeCurrent();
    if (status !== 0) {
      this.#prepared = 0;
      return status;
    }
    this.#kernels.inspect(table.mapped, count, this.#options);
    for (const { turn, pixels } of jobs) {
      if (turn !== undefined) this.#kernels.orient(turn.target, pixels, turn.steps, this.#options);
    }
    return status;
  }

  /** Decode what is in the table, off the JS thread; nvJPEG's status. */
  async #callNvJpeg(count: number): Promise<number> {
    const { device, library, handle } = this.#handle;
    const prepared = await this.#prepare(count);
    if (prepared !== 0) return prepared;
    return shimOffThread("bt_nvjpeg_decode_batched")(
      device.index,
      library.calls.nvjpegDecodeBatched.ptr,
      handle,
      this.#state,
      ...this.#table.addresses,
      this.#stream.handle,
    );
  }

  #verdict(index: number): JpegVerdict {
    if (this.#table.isUntouched(index)) return "not written";
    switch (this.#check?.verdict(index)) {
      case "damaged":
        return "damaged data";
      case "undecided":
        return "unchecked";
      default:
        return "decoded";
    }
  }

  /** Set the state up for batches of this size; nvJPEG's status. */
  async #prepare(count: number): Promise<number> {
    if (count === this.#prepared) return 0;
    const { device, library, handle } = this.#handle;
    const status = await shimOffThread("bt_nvjpeg_prepare")(
      device.index,
      library.calls.nvjpegDecodeBatchedInitialize.ptr,
      handle,
      this.#state,
      count,
      CPU_THREADS,
      NVJPEG_OUTPUT_RGBI,
    );
    this.#prepared = status === 0 ? count : 0;
    return status;
  }

  protected override release(): void {
    this.#handle.device.makeCurrent();
    try {
      // The stream waits for what it was given before the state goes.
      super.release();
    } finally {
      checkNvJpeg(this.#handle.library.calls.nvjpegJpegStateDestroy(this.#state), "nvjpegJpegStateDestroy");
    }
  }
}

/** How a {@linkcode LaneQueue} works. */
interface LaneQueueOptions extends LaneOptions {
  /** Most batches under way. */
  readonly lanes: number;
}

interface Waiting {
  readonly job: JpegJob;
  readonly resolve: (verdict: JpegVerdict) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * An image is decoded at once where nothing is under way. Where something is, those that come meanwhile form the next
 * batch: a full one starts on another lane at once, a part of one when a lane has ended, as the engines work off batches
 * one by one, and a small batch keeps them as long as a full one.
 */
export class LaneQueue {
  readonly #handle: NvJpegHandle;
  readonly #kernels: JpegKernels;
  readonly #options: LaneQueueOptions;
  readonly #lanes = new DisposableStack();
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

  /** Decode an image with others, as soon as a lane is free. @throws {CudaError} If the device fails */
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
    return this.#lanes.use(await JpegLane.create(this.#handle, this.#kernels, this.#options));
  }

  /** Close the lanes. @throws {BunTensorRtError} If an image is under way */
  close(): void {
    if (this.#waiting.length > 0 || this.#running > 0) {
      throw new BunTensorRtError(message("close a LaneQueue", "images are under way", "await them first"));
    }
    this.#idle.length = 0;
    this.#lanes.dispose();
  }
}
