/** @module Pipeline: images from anywhere in, what a task makes of them out, over the slots of one backend or of several alike. */

import { ClosedError, inShort, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { allEnded, pause } from "../core/resource.ts";
import { checked, imageOf, isImage } from "../image/image.ts";
import { encodeImage } from "../image/image-file.ts";
import type { ImageSource } from "../image/source.ts";
import { type Backend, decodeFiles, type Job, keepUsable, type Size, type Slot, type SlotImage } from "./backend.ts";
import { SlotPool, type Waiter } from "./slots.ts";
import type { TaskModel } from "./task.ts";

/** What a pipeline is made with. */
interface PipelineOptions {
  /** Batches in flight on each backend; `undefined` for as many as it works best with. */
  readonly inFlight: number | undefined;
  /** Most images a run is given, at most the `maxBatch` of each backend. */
  readonly batch: number;
}

/** What most cameras give. */
const USUAL_IMAGE: Size = [1920, 1080];

/** How long a pipeline that is closed waits for what makes a better backend; it ends by itself afterwards. */
const IMPROVEMENT_END_MS = 500;

/**
 * One backend, or one a device with the same model on each, with slots in flight. Owns them; `close` waits for the frames
 * that are running.
 */
export class Pipeline<ModelSpec, Params, Output> {
  /** Most images a run is given. */
  readonly batch: number;
  readonly #slots: SlotPool<Slot<Params, Output>>;
  readonly #backends: Backend<ModelSpec, Params, Output>[];
  /** Of each slot, the place of its backend in the list: one that is replaced leaves it to the better one. */
  readonly #placeOf = new Map<Slot<Params, Output>, number>();
  /** No run is begun any more. */
  #isForced = false;
  /** Of the image that came last. */
  #size: Size = USUAL_IMAGE;
  /** Ends what makes better backends. */
  readonly #closing = new AbortController();
  readonly #improvements: readonly Promise<void>[];

  /**
   * Makes the slots, and owns the backends once that has gone well.
   *
   * @param backends at least one; several must have the same model
   */
  constructor(
    backends: Backend<ModelSpec, Params, Output> | readonly Backend<ModelSpec, Params, Output>[],
    options: PipelineOptions,
  ) {
    this.#backends = [backends].flat() as Backend<ModelSpec, Params, Output>[];
    this.batch = options.batch;
    using stack = new DisposableStack();
    const slots = this.#backends.map((backend, place) =>
      Array.from({ length: options.inFlight ?? backend.inFlight }, () => {
        const slot = backend.createSlot();
        stack.defer(() => slot.close());
        this.#placeOf.set(slot, place);
        return slot;
      }),
    );
    this.#slots = new SlotPool(...slots);
    stack.move();
    this.#improvements = this.#backends.map((_, place) => this.#improve(place, slots[place]!));
  }

  /** One a device. */
  get backends(): readonly Backend<ModelSpec, Params, Output>[] {
    return this.#backends;
  }

  /** What the task made of the model. */
  get task(): TaskModel<ModelSpec, Params, Output> {
    return this.backend.task;
  }

  /** The first backend, which speaks for all where they are alike: model, labels, head. */
  get backend(): Backend<ModelSpec, Params, Output> {
    return this.backends[0]!;
  }

  /** Batches in flight on all backends together. */
  get inFlight(): number {
    return this.#slots.length;
  }

  /** For how long all slots have been taken without one being given back, in milliseconds; 0 while one is free. */
  get stalledMs(): number {
    return this.#slots.stalledMs;
  }

  /** Ask for a slot of the least loaded backend; whoever gets one gives it back with `release`. */
  request(waiter: Waiter<Slot<Params, Output>>): void {
    this.#slots.request(waiter);
  }

  /**
   * Give a slot back.
   *
   * @param error what went wrong with its batch: after a fault of its device, frames go to the other backends
   */
  release(slot: Slot<Params, Output>, error?: unknown): void {
    if (error instanceof NativeError && error.isDeviceLost && this.#slots.retire(slot)) {
      const place = this.#placeOf.get(slot)!;
      const device = `${this.backends[place]!.description}, number ${place + 1} of ${this.backends.length},`;
      logger.error(`Frames go to the other devices: ${device} is lost with ${error.code}`);
    }
    this.#slots.release(slot);
  }

  /**
   * Hold a slot for a piece of work; waits while all are busy. Nothing of the slot may be used after it.
   *
   * @throws {ClosedError} If the pipeline is closing
   */
  async withSlot<T>(work: (slot: Slot<Params, Output>) => Promise<T>): Promise<T> {
    const slot = await this.#slots.acquire();
    let fault: unknown;
    try {
      return await work(slot);
    } catch (error) {
      fault = error;
      throw error;
    } finally {
      this.release(slot, fault);
    }
  }

  /**
   * Run a batch in a slot that is held. An image that cannot be read or decoded, or whose pixels are gone by the time they
   * are read, fails alone: the others are run.
   *
   * @param jobs 1 to `batch` images; each is told its result before this settles, unless this rejects
   * @throws {NativeError} If the model itself, or its device, fails
   */
  async run(slot: Slot<Params, Output>, jobs: readonly Job<Output>[], params: Params): Promise<void> {
    const images: SlotImage[] = [];
    const decoded: Job<Output>[] = [];
    slot.timings.decode = 0;
    let files: Job<Output>[] | undefined;
    for (const job of jobs) {
      if (job.isSettled) continue;
      if (!isImage(job.source)) {
        files ??= [];
        files.push(job);
        continue;
      }
      try {
        images.push(checked(job.source));
        decoded.push(job);
      } catch (error) {
        job.fail(error);
      }
    }
    if (files !== undefined) {
      await decodeFiles(slot, files, images, decoded);
      keepUsable(images, decoded);
    }
    if (images.length === 0) return;
    this.#note(images[0]!);
    let size = this.task.sizeFor(images, params);
    let preparing = slot.prepare(images, size, params);
    while (preparing !== undefined) {
      await preparing;
      keepUsable(images, decoded);
      if (images.length === 0) return;
      size = this.task.sizeFor(images, params);
      preparing = slot.prepare(images, size, params);
    }
    const outputs = await this.#outputsOf(slot, images, size, params);
    const { timings } = slot;
    for (let index = 0; index < decoded.length; index++) {
      const image = images[index]!;
      const isShrunk = "sourceWidth" in image;
      decoded[index]!.succeed({
        output: outputs[index]!,
        width: isShrunk ? image.sourceWidth : image.width,
        height: isShrunk ? image.sourceHeight : image.height,
        timings,
        damage: "damage" in image ? image.damage : undefined,
      });
    }
  }

  /** Refuse new frames, wait for those that are running, then free everything. @param isForced end those, where that is possible */
  async close(isForced = false): Promise<void> {
    const closing = this.#drain();
    if (isForced) {
      this.#isForced = true;
      for (const slot of this.#placeOf.keys()) slot.interrupt?.();
    }
    await closing;
  }

  /** @throws {ClosedError} If the pipeline does not wait for the run */
  async #outputsOf(
    slot: Slot<Params, Output>,
    images: readonly SlotImage[],
    size: Size,
    params: Params,
  ): Promise<readonly Output[]> {
    try {
      if (!this.#isForced) return await slot.run(images, size, params);
    } catch (error) {
      if (!this.#isForced) throw error;
    }
    throw new ClosedError("run an image", "the model");
  }

  /** Remember the size of an image, for slots that are made later. */
  #note({ width, height }: Readonly<Record<"width" | "height", number>>): void {
    if (width !== this.#size[0] || height !== this.#size[1]) this.#size = [width, height];
  }

  /** Let a better backend of the model take a backend's place, if there is ever one. Never rejects. */
  async #improve(place: number, slots: readonly Slot<Params, Output>[]): Promise<void> {
    const { signal } = this.#closing;
    const backend = this.#backends[place]!;
    try {
      const better = await backend.improve?.(signal);
      if (better === undefined) return;
      using made = new DisposableStack();
      made.defer(() => better.close());
      const others = slots.map(() => made.adopt(better.createSlot(), (slot) => slot.close()));
      // Contexts are made and graphs captured before the first frame comes.
      for (const slot of others) await this.#warm(slot, better);
      // From here on nothing is waited for until the slots are in line: no frame sees half of it.
      if (signal.aborted) return;
      made.move();
      for (const slot of others) this.#placeOf.set(slot, place);
      const replaced = this.#slots.replace(slots, others);
      this.#backends[place] = better;
      logger.info(`Frames go to the ${better.engine ?? "better"} engine from now on: ${better.description}`);
      await replaced;
      for (const slot of slots) this.#placeOf.delete(slot);
      backend.close();
    } catch (error) {
      if (signal.aborted) return;
      logger.warn(`Frames stay with the ${backend.engine ?? "present"} engine: ${inShort(error as Error)}`);
    }
  }

  /** Run a black image through a slot that nobody has yet, in all ways that images go. */
  async #warm(slot: Slot<Params, Output>, backend: Backend<ModelSpec, Params, Output>): Promise<void> {
    const [width, height] = this.#size;
    const black = imageOf(new Uint8Array(width * height * 3), { width, height });
    const sources = backend.jpeg === undefined ? [black] : [black, await encodeImage(black)];
    for (const source of sources) {
      for (const count of new Set([1, this.batch])) {
        if (this.#closing.signal.aborted) return;
        await runBatch(this, slot, source, count, backend.task.idleParams);
      }
    }
  }

  async #drain(): Promise<void> {
    this.#closing.abort();
    const ended = new AbortController();
    void Promise.all(this.#improvements).then(() => ended.abort());
    const [closed] = await Promise.allSettled([this.#slots.close(), pause(IMPROVEMENT_END_MS, ended.signal)]);
    // Backends are closed after the slots, each whatever happened to the others.
    using stack = new DisposableStack();
    for (const backend of this.#backends) stack.defer(() => backend.close());
    if (closed.status === "rejected") throw closed.reason;
  }
}

/** Run one image so many times over in one batch. @throws the error of the image, or of the run */
async function runBatch<Params, Output>(
  pipeline: Pipeline<unknown, Params, Output>,
  slot: Slot<Params, Output>,
  source: ImageSource,
  count: number,
  params: Params,
): Promise<void> {
  const failed: unknown[] = [];
  const job: Job<Output> = {
    source,
    isSettled: false,
    succeed: () => {},
    fail: (error) => failed.push(error),
  };
  await pipeline.run(slot, Array<Job<Output>>(count).fill(job), params);
  if (failed.length > 0) throw failed[0];
}

/**
 * Run each image alone, and as a whole batch, in every slot. A slot that is at work meanwhile needs it least: it is left
 * out where another one comes twice in its place.
 *
 * @throws {ImageError} If one is no image
 * @throws {NativeError} If the model, or its device, fails
 */
export async function warmUp<Params, Output>(
  pipeline: Pipeline<unknown, Params, Output>,
  sources: readonly ImageSource[],
  params: Params,
): Promise<void> {
  const counts = new Set([1, pipeline.batch]);
  const given = pipeline.task.madeUp?.(params) ?? params;
  const begun = new Set<Slot<Params, Output>>();
  const warm = async (slot: Slot<Params, Output>): Promise<void> => {
    if (begun.has(slot)) return;
    begun.add(slot);
    for (const source of sources) {
      for (const count of counts) await runBatch(pipeline, slot, source, count, given);
    }
  };
  // Asked for at once, so that each of those that are free is given out.
  await allEnded(Array.from({ length: pipeline.inFlight }, () => pipeline.withSlot(warm)));
}
