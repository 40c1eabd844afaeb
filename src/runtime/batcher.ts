/** @module MicroBatcher: one image on its way, from the call to the result, and the runs that images share. */

import type { ClosedError } from "../core/errors.ts";
import { Fifo } from "../core/fifo.ts";
import type { ImageSource } from "../image/source.ts";
import type { FrameResult, Job, Slot } from "./backend.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Waiter } from "./slots.ts";

/** Copies a result out of its slot. @param source what its image was made of */
export type ReadResult<Output, T> = (result: FrameResult<Output>, startedAt: number, source: ImageSource) => T;

/** Where a frame waits for a slot. */
interface WaitingRoom {
  /** True once the frames have waited for each other and only a slot is missing. */
  readonly isShortOfSlots: boolean;
  /** One of its frames has been aborted. */
  forget(): void;
}

/** An image in line, as whoever put it there sees it. */
export interface QueuedFrame<T> {
  readonly promise: Promise<T>;
  /**
   * Put a newer image in this one's place in line.
   *
   * @returns false where that would not help: it runs already, or waits for others of its batch rather than for a slot
   */
  replace(source: ImageSource): boolean;
  /** Fail it if it has not begun: then it never will. */
  cancel(reason: unknown): void;
}

/** One image, the promise of its result, and how far it is: waiting, running, settled. */
class Frame<T, Output> implements Job<Output>, QueuedFrame<T>, EventListenerObject {
  readonly promise: Promise<T>;
  readonly #room: WaitingRoom;
  readonly #read: ReadResult<Output, T>;
  readonly #signal: AbortSignal | undefined;
  #source: ImageSource | undefined;
  #startedAt = performance.now();
  #run: SharedRun | undefined;
  #state: "waiting" | "running" | "settled" = "waiting";
  #resolve!: (value: T) => void;
  #reject!: (error: unknown) => void;

  /** @param signal fails the frame when it is aborted; not yet */
  constructor(source: ImageSource, room: WaitingRoom, read: ReadResult<Output, T>, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#room = room;
    this.#read = read;
    this.#signal = signal;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    signal?.addEventListener("abort", this);
  }

  get source(): ImageSource {
    return this.#source!;
  }

  get signal(): AbortSignal | undefined {
    return this.#signal;
  }

  get isSettled(): boolean {
    return this.#state === "settled";
  }

  keep(bytes: Uint8Array): void {
    this.#source = bytes;
  }

  /** A run has taken it. @param run ended if all of its frames are aborted */
  begin(run: SharedRun): void {
    this.#state = "running";
    this.#run = run;
  }

  replace(source: ImageSource): boolean {
    if (this.#state !== "waiting" || !this.#room.isShortOfSlots) return false;
    this.#source = source;
    this.#startedAt = performance.now();
    return true;
  }

  cancel(reason: unknown): void {
    if (this.#state === "waiting") this.#abort(reason);
  }

  /** @throws what reading the result throws; the frame is not settled then */
  succeed(result: FrameResult<Output>): void {
    if (this.#state === "settled") return;
    const value = this.#read(result, this.#startedAt, this.#source!);
    this.#settle();
    this.#resolve(value);
  }

  fail(error: unknown): void {
    if (this.#state === "settled") return;
    this.#settle();
    this.#reject(error);
  }

  /** The signal was aborted. A run that has begun goes on for the sake of others, and ends where there are none. */
  handleEvent(): void {
    this.#abort(this.#signal?.reason);
  }

  #abort(reason: unknown): void {
    if (this.#state === "waiting") this.#room.forget();
    const run = this.#run;
    this.fail(reason);
    run?.abandon();
  }

  #settle(): void {
    this.#state = "settled";
    this.#source = undefined;
    this.#run = undefined;
    this.#signal?.removeEventListener("abort", this);
  }
}

/** How frames are joined. */
interface BatchingOptions<Output, T> {
  /** Most milliseconds a frame waits for others; 0 for those of the same moment alone. */
  readonly wait: number;
  readonly read: ReadResult<Output, T>;
}

/** A slot at work on frames, which ends it together. */
class SharedRun {
  readonly #slot: Pick<Slot<never, unknown>, "interrupt">;
  readonly #frames: readonly { readonly isSettled: boolean }[];

  constructor(slot: Pick<Slot<never, unknown>, "interrupt">, frames: readonly { readonly isSettled: boolean }[]) {
    this.#slot = slot;
    this.#frames = frames;
  }

  /** One of its frames has been aborted. */
  abandon(): void {
    if (this.#frames.every(({ isSettled }) => isSettled)) this.#slot.interrupt?.();
  }
}

/**
 * Frames that may share a run. A slot is asked for as soon as a batch is full, or its first frame has waited long enough;
 * which frames go into it is settled when it comes, so that those that arrived meanwhile come along.
 */
class BatchGroup<Params, Output, T> implements Waiter<Slot<Params, Output>>, WaitingRoom {
  readonly params: Params;
  readonly #pipeline: Pipeline<unknown, Params, Output>;
  readonly #options: BatchingOptions<Output, T>;
  /** Most frames of a run. */
  readonly #most: number;
  /** Aborted ones stay in line, and are passed over. */
  readonly #line = new Fifo<Frame<T, Output>>();
  /** Frames in line that are not aborted. */
  #waiting = 0;
  /** Slots that were asked for and have not come yet. */
  #requested = 0;
  /** Whether the end of the wait is set already; a number is its timer. */
  #deadline: ReturnType<typeof setTimeout> | "soon" | undefined;

  constructor(pipeline: Pipeline<unknown, Params, Output>, params: Params, options: BatchingOptions<Output, T>) {
    this.params = params;
    this.#pipeline = pipeline;
    this.#most = Math.min(pipeline.batch, pipeline.task.mostWith?.(params) ?? pipeline.batch);
    this.#options = options;
  }

  /** True if no frame waits. */
  get isIdle(): boolean {
    return this.#waiting === 0 && this.#requested === 0 && this.#deadline === undefined;
  }

  get isShortOfSlots(): boolean {
    return this.#requested > 0;
  }

  /** @param signal not aborted yet */
  add(source: ImageSource, signal: AbortSignal | undefined): Frame<T, Output> {
    const frame = new Frame(source, this, this.#options.read, signal);
    this.#line.push(frame);
    this.#waiting += 1;
    const unserved = this.#waiting - this.#requested * this.#most;
    if (unserved >= this.#most) this.#request();
    else if (unserved > 0 && this.#deadline === undefined) this.#setDeadline();
    return frame;
  }

  /** Wait no longer for others. */
  flush(): void {
    this.#clearDeadline();
    if (this.#waiting > this.#requested * this.#most) this.#request();
  }

  forget(): void {
    this.#waiting -= 1;
  }

  take(slot: Slot<Params, Output>): void {
    this.#requested -= 1;
    const frames: Frame<T, Output>[] = [];
    const run = new SharedRun(slot, frames);
    while (frames.length < this.#most) {
      const frame = this.#line.shift();
      if (frame === undefined) break;
      if (frame.isSettled) continue;
      frame.begin(run);
      frames.push(frame);
    }
    this.#waiting -= frames.length;
    void this.#run(slot, frames);
  }

  refuse(error: ClosedError): void {
    this.#requested -= 1;
    // Those in front still get the slots that were asked for before.
    const served = Math.min(this.#waiting, this.#requested * this.#most);
    let kept = 0;
    for (let left = this.#line.length; left > 0; left--) {
      const frame = this.#line.shift()!;
      if (frame.isSettled) continue;
      if (kept < served) this.#line.push(frame);
      else frame.fail(error);
      kept += 1;
    }
    this.#waiting = served;
  }

  #request(): void {
    this.#clearDeadline();
    this.#requested += 1;
    this.#pipeline.request(this);
  }

  #setDeadline(): void {
    if (this.#options.wait === 0) {
      this.#deadline = "soon";
      queueMicrotask(() => {
        if (this.#deadline === "soon") this.flush();
      });
      return;
    }
    this.#deadline = setTimeout(() => this.flush(), this.#options.wait);
  }

  #clearDeadline(): void {
    if (typeof this.#deadline === "object") clearTimeout(this.#deadline);
    this.#deadline = undefined;
  }

  async #run(slot: Slot<Params, Output>, frames: readonly Frame<T, Output>[]): Promise<void> {
    let fault: unknown;
    try {
      await this.#pipeline.run(slot, frames, this.params);
    } catch (error) {
      fault = error;
      for (const frame of frames) frame.fail(error);
    } finally {
      this.#pipeline.release(slot, fault);
    }
  }
}

/**
 * The way into a pipeline, one frame at a time. Frames that overlap share a run where their parameters are the same;
 * with a batch of 1 each has its own. Those with the same parameters run in the order they came.
 */
export class MicroBatcher<Params, Output, T> {
  readonly #pipeline: Pipeline<unknown, Params, Output>;
  readonly #options: BatchingOptions<Output, T>;
  /** Idle ones stay until others are asked for. */
  #groups: BatchGroup<Params, Output, T>[] = [];

  constructor(pipeline: Pipeline<unknown, Params, Output>, options: BatchingOptions<Output, T>) {
    this.#pipeline = pipeline;
    this.#options = options;
  }

  /**
   * Put an image in line.
   *
   * @param source decoded pixels must not change until the frame has settled
   * @param signal fails this frame alone when it is aborted
   * @throws the signal's reason, if it has been aborted already
   */
  submit(source: ImageSource, params: Params, signal?: AbortSignal): Frame<T, Output> {
    signal?.throwIfAborted();
    return this.#groupOf(params).add(source, signal);
  }

  /** Let no frame wait for others any longer. */
  flush(): void {
    for (const group of this.#groups) group.flush();
  }

  #groupOf(params: Params): BatchGroup<Params, Output, T> {
    const { task } = this.#pipeline;
    for (const group of this.#groups) if (task.sameParams(group.params, params)) return group;
    this.#groups = this.#groups.filter((group) => !group.isIdle);
    const group = new BatchGroup<Params, Output, T>(this.#pipeline, params, this.#options);
    this.#groups.push(group);
    return group;
  }
}
