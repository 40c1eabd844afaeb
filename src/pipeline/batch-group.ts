/** @module BatchGroup: frames with the same parameters, on their way into common runs. */

import type { ClosedError } from "../core/errors.ts";
import { Fifo } from "../core/fifo.ts";
import type { ImageSource } from "../image/source.ts";
import type { Slot } from "./backend.ts";
import { Frame, type ReadResult, type RunInFlight, type WaitingRoom } from "./frame.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Waiter } from "./ring.ts";

/** How frames are joined. */
export interface BatchingOptions<Output, T> {
  /** Most milliseconds a frame waits for others; 0 for those of the same moment alone. */
  readonly wait: number;
  readonly read: ReadResult<Output, T>;
}

/** A slot at work on frames, which ends it together. */
class SharedRun implements RunInFlight {
  readonly #slot: Pick<Slot<never, unknown>, "interrupt">;
  readonly #frames: readonly { readonly isSettled: boolean }[];

  constructor(slot: Pick<Slot<never, unknown>, "interrupt">, frames: readonly { readonly isSettled: boolean }[]) {
    this.#slot = slot;
    this.#frames = frames;
  }

  abandon(): void {
    if (this.#frames.every(({ isSettled }) => isSettled)) this.#slot.interrupt?.();
  }
}

/**
 * Frames that may share a run. A slot is asked for as soon as a batch is full, or its first frame has waited long enough;
 * which frames go into it is settled when it comes, so that those that arrived meanwhile come along.
 */
export class BatchGroup<Params, Output, T> implements Waiter<Slot<Params, Output>>, WaitingRoom {
  readonly params: Params;
  readonly #pipeline: Pipeline<unknown, Params, Output>;
  readonly #options: BatchingOptions<Output, T>;
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
    const unserved = this.#waiting - this.#requested * this.#pipeline.batch;
    if (unserved >= this.#pipeline.batch) this.#request();
    else if (unserved > 0 && this.#deadline === undefined) this.#setDeadline();
    return frame;
  }

  /** Wait no longer for others. */
  flush(): void {
    this.#clearDeadline();
    if (this.#waiting > this.#requested * this.#pipeline.batch) this.#request();
  }

  forget(): void {
    this.#waiting -= 1;
  }

  take(slot: Slot<Params, Output>): void {
    this.#requested -= 1;
    const frames: Frame<T, Output>[] = [];
    const run = new SharedRun(slot, frames);
    while (frames.length < this.#pipeline.batch) {
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
    const served = Math.min(this.#waiting, this.#requested * this.#pipeline.batch);
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
