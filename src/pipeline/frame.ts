/** @module Frame: one picture on its way, from the call to the result. */

import type { ImageSource } from "../image/source.ts";
import type { FrameResult, Job } from "./pipeline.ts";

/** Copies a result out of its slot. */
export type ReadResult<Output, T> = (result: FrameResult<Output>, startedAt: number) => T;

/** Where a frame waits for a slot. */
export interface WaitingRoom {
  /** True once the frames have waited for each other and only a slot is missing. */
  readonly isShortOfSlots: boolean;
  /** One of its frames has been aborted. */
  forget(): void;
}

/** A batch in a slot. */
export interface RunInFlight {
  /** One of its frames has been aborted. */
  abandon(): void;
}

/** A picture in line, as whoever put it there sees it. */
export interface QueuedFrame<T> {
  readonly promise: Promise<T>;
  /**
   * Put a newer picture in this one's place in line.
   *
   * @returns false where that would not help: it runs already, or waits for others of its batch rather than for a slot
   */
  replace(source: ImageSource): boolean;
  /** Fail it if it has not begun: then it never will. */
  cancel(reason: unknown): void;
}

/** One picture, the promise of its result, and how far it is: waiting, running, settled. */
export class Frame<T, Output> implements Job<Output>, QueuedFrame<T>, EventListenerObject {
  readonly promise: Promise<T>;
  readonly #room: WaitingRoom;
  readonly #read: ReadResult<Output, T>;
  readonly #signal: AbortSignal | undefined;
  #source: ImageSource | undefined;
  #startedAt = performance.now();
  #run: RunInFlight | undefined;
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

  get isSettled(): boolean {
    return this.#state === "settled";
  }

  /**
   * A run has taken it.
   *
   * @param run ended if all of its frames are aborted
   */
  begin(run: RunInFlight): void {
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
    const value = this.#read(result, this.#startedAt);
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
