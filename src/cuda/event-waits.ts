/**
 * @module EventWaits: the waits of frames in flight, joined: however many there are, one query loop or one sleeping thread
 * serves them all.
 */

import type { Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { NOT_READY } from "./check.ts";
import type { Event } from "./event.ts";
import { POLL_LIMIT_MS, synchronizeOffThread, type WaitMode } from "./wait.ts";

/** The two questions that waits ask the driver. */
export interface EventCalls {
  /** The status of the work before the event. */
  query(handle: Handle<"cudaEvent_t">): number;
  /** The same once that work has ended; the JS thread goes on meanwhile. */
  synchronize(handle: Handle<"cudaEvent_t">): Promise<number>;
}

/** An event as waits see it. */
export type WaitedEvent = Pick<Event, "handle" | "averageWaitMs" | "checkWaited" | "noteWait" | "noteWaitEnd">;

const driverCalls: EventCalls = {
  query: (handle) => cudaRuntime().cudaEventQuery(handle),
  synchronize: synchronizeOffThread,
};

/**
 * Waits for events of one owner, whose work ends more or less in the order it began.
 *
 * By `"poll"`, every turn of the event loop asks each event: quickest, and keeps a core busy. By `"off-thread"`, another
 * thread sleeps until the oldest event is done, and then whatever else is done settles as well. `"auto"` polls for one
 * event that is short, and sleeps where several are under way or waits are long.
 */
export class EventWaits {
  readonly mode: WaitMode;
  readonly #calls: EventCalls;
  /** Oldest first. */
  readonly #pending: EventWait[] = [];
  #isDriven = false;
  readonly #onTurn = (): void => this.#turn();
  readonly #onWake = (status: number): void => this.#wake(status);
  readonly #onFault = (error: unknown): void => this.#fault(error);

  constructor(mode: WaitMode = "auto", calls: EventCalls = driverCalls) {
    this.mode = mode;
    this.#calls = calls;
  }

  /** Number of events that are waited for. */
  get length(): number {
    return this.#pending.length;
  }

  /** A wait for an event, to be made once and used for each of its records. */
  of(event: WaitedEvent): EventWait {
    return new EventWait(event, this);
  }

  /** Called by {@linkcode EventWait.done}. */
  add(wait: EventWait): void {
    this.#pending.push(wait);
    if (!this.#isDriven) this.#drive();
  }

  #drive(): void {
    const oldest = this.#pending[0];
    this.#isDriven = oldest !== undefined;
    if (oldest === undefined) return;
    if (this.#polls(oldest)) setImmediate(this.#onTurn);
    else this.#calls.synchronize(oldest.event.handle).then(this.#onWake, this.#onFault);
  }

  #polls(oldest: EventWait): boolean {
    if (this.mode !== "auto") return this.mode === "poll";
    if (this.#pending.length > 1 || oldest.event.averageWaitMs > POLL_LIMIT_MS) return false;
    return performance.now() - oldest.startedMs < 2 * POLL_LIMIT_MS;
  }

  #turn(): void {
    this.#settleDone();
    this.#drive();
  }

  #wake(status: number): void {
    // A failure that the query does not repeat, such as of the wait itself, is the oldest one's.
    if (status !== 0) this.#pending.shift()?.settle(status, "cuEventSynchronize");
    this.#settleDone();
    this.#drive();
  }

  #fault(error: unknown): void {
    this.#pending.shift()?.fail(error);
    this.#drive();
  }

  #settleDone(): void {
    const pending = this.#pending;
    let kept = 0;
    for (const wait of pending) {
      const status = this.#calls.query(wait.event.handle);
      if (status === NOT_READY) pending[kept++] = wait;
      else wait.settle(status, "cudaEventQuery");
    }
    pending.length = kept;
  }
}

/** Weight of the newest wait in an event's average. */
const NEWEST = 0.25;

/** A wait for one event; one at a time. */
export class EventWait {
  readonly event: WaitedEvent;
  readonly #waits: EventWaits;
  /** When it began, in milliseconds of `performance.now()`. */
  startedMs = 0;
  #resolve: (() => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  /** Made by {@linkcode EventWaits.of}. */
  constructor(event: WaitedEvent, waits: EventWaits) {
    this.event = event;
    this.#waits = waits;
  }

  /**
   * Wait until the GPU has passed what was recorded last.
   *
   * @throws {CudaError} If the work failed; names the last launch
   */
  done(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#resolve = resolve;
    this.#reject = reject;
    this.startedMs = performance.now();
    this.event.noteWait();
    this.#waits.add(this);
    return promise;
  }

  /** Called by {@linkcode EventWaits} with the status of the work. */
  settle(status: number, call: string): void {
    const { event } = this;
    event.noteWaitEnd();
    event.averageWaitMs += (performance.now() - this.startedMs - event.averageWaitMs) * NEWEST;
    try {
      event.checkWaited(status, call);
      this.#resolve?.();
    } catch (error) {
      this.#reject?.(error);
    }
  }

  /** Called by {@linkcode EventWaits} where the wait itself failed. */
  fail(error: unknown): void {
    this.event.noteWaitEnd();
    this.#reject?.(error);
  }
}
