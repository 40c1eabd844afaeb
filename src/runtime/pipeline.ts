/** @module Pipeline: images from anywhere in, what a task makes of them out, over the slots of one backend or of several alike. */

import { ClosedError, message, NativeError, ShapeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { allEnded } from "../core/settle.ts";
import { byteLengthOf, type Image, imageOf, isImage } from "../image/image.ts";
import { type ImageSource, isReadOnce, readSource, type SourceBytes } from "../image/source.ts";
import type { Backend, Size, Slot, SlotImage, StageTimings } from "./backend.ts";
import { SlotPool, type Waiter } from "./slots.ts";
import type { TaskModel } from "./task.ts";

/** What a pipeline is made with. */
interface PipelineOptions {
  /** Batches in flight on each backend; `undefined` for as many as it works best with. */
  readonly inFlight: number | undefined;
  /** Most images a run is given, at most the `maxBatch` of each backend. */
  readonly batch: number;
}

/** One image's result while its slot is held. Everything in it is overwritten once `succeed` has returned. */
export interface FrameResult<Output> {
  readonly output: Output;
  /** Size of the image in pixels. */
  readonly width: number;
  readonly height: number;
  /** Of the whole batch. */
  readonly timings: StageTimings;
  /** Why some of the image's pixels are not those of its file; `undefined` where all are. */
  readonly damage: string | undefined;
}

/** An image of a run, and who is told what came of it: `succeed` or `fail`, once. */
export interface Job<Output> {
  readonly source: ImageSource;
  /** Nobody waits for it any more: it is left out if it has not been decoded yet. */
  readonly isSettled: boolean;
  /** Ends the reading of its source. */
  readonly signal?: AbortSignal | undefined;
  /** Its source could be read but once, and has been: these bytes stand for it from now on. */
  keep?(bytes: Uint8Array): void;
  /** Copies the result out. */
  succeed(result: FrameResult<Output>): void;
  fail(error: unknown): void;
}

/**
 * One backend, or one a device with the same model on each, with slots in flight. Owns them; `close` waits for the frames
 * that are running.
 */
export class Pipeline<ModelSpec, Params, Output> {
  /** One a device. */
  readonly backends: readonly Backend<ModelSpec, Params, Output>[];
  /** What the task made of the model. */
  readonly task: TaskModel<ModelSpec, Params, Output>;
  /** Most images a run is given. */
  readonly batch: number;
  readonly #slots: SlotPool<Slot<Params, Output>>;
  readonly #backendOf = new Map<Slot<Params, Output>, Backend<ModelSpec, Params, Output>>();
  /** No run is begun any more. */
  #isForced = false;

  /**
   * Makes the slots, and owns the backends once that has gone well.
   *
   * @param backends at least one; several must have the same model
   */
  constructor(
    backends: Backend<ModelSpec, Params, Output> | readonly Backend<ModelSpec, Params, Output>[],
    options: PipelineOptions,
  ) {
    this.backends = Array.isArray(backends) ? backends : [backends as Backend<ModelSpec, Params, Output>];
    this.task = this.backends[0]!.task;
    this.batch = options.batch;
    using stack = new DisposableStack();
    const slots = this.backends.map((backend) =>
      Array.from({ length: options.inFlight ?? backend.inFlight }, () => {
        const slot = backend.createSlot();
        stack.defer(() => slot.close());
        this.#backendOf.set(slot, backend);
        return slot;
      }),
    );
    this.#slots = new SlotPool(...slots);
    stack.move();
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
      const backend = this.#backendOf.get(slot)!;
      const place = `number ${this.backends.indexOf(backend) + 1} of ${this.backends.length}`;
      logger.error(`Frames go to the other devices: ${backend.description}, ${place}, is lost with ${error.code}`);
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
    let size = this.task.sizeFor(images);
    let preparing = slot.prepare(images, size);
    while (preparing !== undefined) {
      await preparing;
      keepUsable(images, decoded);
      if (images.length === 0) return;
      size = this.task.sizeFor(images);
      preparing = slot.prepare(images, size);
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
      for (const slot of this.#backendOf.keys()) slot.interrupt?.();
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

  async #drain(): Promise<void> {
    // Backends are closed after the slots, each whatever happened to the others.
    using stack = new DisposableStack();
    for (const backend of this.backends) stack.defer(() => backend.close());
    await this.#slots.close();
  }
}

/** The image, complete where a caller without types has left out its format or pitch. @throws {ShapeError} If it has too few bytes */
function checked(image: Image): Image {
  const complete = imageOf(image.data, image);
  return image.format === complete.format && image.pitchBytes === complete.pitchBytes ? image : complete;
}

/**
 * Leave out of a batch, after a wait, the images that nobody waits for any more, as their pixels may be somebody else's by
 * now, and those whose pixels are gone: these are told.
 */
function keepUsable<Output>(images: SlotImage[], jobs: Job<Output>[]): void {
  let kept = 0;
  for (let index = 0; index < jobs.length; index++) {
    const job = jobs[index]!;
    const image = images[index]!;
    if (job.isSettled) continue;
    if ("data" in image && image.data.length < byteLengthOf(image)) {
      job.fail(goneError(image));
      continue;
    }
    images[kept] = image;
    jobs[kept] = job;
    kept += 1;
  }
  images.length = kept;
  jobs.length = kept;
}

function goneError(image: Image): ShapeError {
  const [needed, found] = [byteLengthOf(image), image.data.length];
  const hint = "neither transfer nor resize the buffer before the result is there";
  const text = message("read an image", `its pixels are gone, ${found} of ${needed} bytes are left`, hint);
  return new ShapeError(text, { tensor: "image", expected: `${needed} bytes`, actual: `${found} bytes` });
}

/** Read and decode files as one batch; whose file is none is told. @throws {CudaError} If the device has failed for good */
async function decodeFiles<Params, Output>(
  slot: Slot<Params, Output>,
  jobs: readonly Job<Output>[],
  images: SlotImage[],
  decoded: Job<Output>[],
): Promise<void> {
  const read: SourceBytes[] = [];
  const waiting: Job<Output>[] = [];
  const settled = await Promise.allSettled(
    jobs.map(({ source, signal }) => readSource(source as Exclude<ImageSource, Image>, { signal })),
  );
  for (const [index, result] of settled.entries()) {
    const job = jobs[index]!;
    if (result.status === "rejected") job.fail(result.reason);
    else if (!job.isSettled) {
      if (isReadOnce(job.source)) job.keep?.(result.value.bytes);
      read.push(result.value);
      waiting.push(job);
    }
  }
  if (read.length === 0) return;
  const outcomes = await slot.decode(read);
  for (const outcome of outcomes) {
    if ("error" in outcome && outcome.error instanceof NativeError && outcome.error.isDeviceLost) throw outcome.error;
  }
  for (const [index, outcome] of outcomes.entries()) {
    if ("error" in outcome) waiting[index]!.fail(outcome.error);
    else {
      images.push(outcome.image);
      decoded.push(waiting[index]!);
    }
  }
}

/**
 * Pixels of some sources on the host, in memory of the slot unless they were decoded already.
 *
 * @throws {ImageError} The first source's that is missing, or no image
 */
export async function hostImages<Params, Output>(
  slot: Slot<Params, Output>,
  sources: readonly ImageSource[],
): Promise<Image[]> {
  const files: SourceBytes[] = [];
  for (const source of sources) if (!isImage(source)) files.push(await readSource(source));
  const decoded = await slot.decodeToHost(files);
  let next = 0;
  return sources.map((source) => {
    if (isImage(source)) return checked(source);
    const outcome = decoded[next++]!;
    if ("error" in outcome) throw outcome.error;
    return outcome.image;
  });
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
  const begun = new Set<Slot<Params, Output>>();
  const warm = async (slot: Slot<Params, Output>): Promise<void> => {
    if (begun.has(slot)) return;
    begun.add(slot);
    for (const source of sources) {
      for (const count of counts) await runBatch(pipeline, slot, source, count, params);
    }
  };
  // Asked for at once, so that each of those that are free is given out.
  await allEnded(Array.from({ length: pipeline.inFlight }, () => pipeline.withSlot(warm)));
}
