/** @module EventBoard: the events that a thread outside JS watches, and which of them are waited for. */

import { ArgumentError, BunTensorRtError, message } from "../core/errors.ts";
import type { Handle } from "../core/handle.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { addressOf } from "../ffi/pointer.ts";
import { SHIM_STATUS, shimOffThread } from "../ffi/shim.ts";

/** More slots than any backend has in flight. */
const CAPACITY = 256;

/** The watching thread sleeps so long between two rounds of questions: a thirtieth of a small model's frame. */
const PAUSE_US = 20;

/** BT_MARK_… of native/shim.h. */
const NONE = 0;
const AWAITED = 1;
const DONE = 2;

/**
 * Places for events, in memory that another thread reads: a handle is written before its mark is set, and stays while it
 * is set.
 */
export class EventBoard {
  readonly #handles = new BigUint64Array(new ArrayBuffer(CAPACITY * 8));
  readonly #marks = new Int32Array(new ArrayBuffer(CAPACITY * 4));
  readonly #free: number[] = [];
  #used = 0;

  /** A place for an event; the event stays open until `remove`. @throws {ArgumentError} If there is none left */
  add(handle: Handle<"cudaEvent_t">): number {
    const place = this.#free.pop() ?? this.#used++;
    if (place >= CAPACITY) {
      this.#used = CAPACITY;
      throw new ArgumentError(message("watch another event", `at most ${CAPACITY} are watched at once`));
    }
    this.#handles[place] = BigInt(handle);
    return place;
  }

  /** Give a place back. Nothing may be waiting for it. */
  remove(place: number): void {
    this.#handles[place] = 0n;
    this.#free.push(place);
  }

  /** Mark the event as waited for. A thread that watches already takes it in. */
  begin(place: number): void {
    Atomics.store(this.#marks, place, AWAITED);
  }

  /** Take the mark away. No thread may be watching. */
  end(place: number): void {
    Atomics.store(this.#marks, place, NONE);
  }

  /** Mark the event as done, as the watching thread does. */
  finish(place: number): void {
    Atomics.store(this.#marks, place, DONE);
  }

  /** True if the watching thread found the event done, or failed. */
  isDone(place: number): boolean {
    return this.#marks[place] === DONE;
  }

  /**
   * Watch on another thread until some of the events that are waited for are done. One call at a time.
   *
   * @param deviceIndex of the events
   * @throws {BunTensorRtError} If the thread cannot be bound to the device
   */
  async watch(deviceIndex: number): Promise<void> {
    const done = await shimOffThread("bt_wait_any")(
      deviceIndex,
      cudaRuntime().cudaEventQuery.ptr,
      addressOf(this.#handles),
      addressOf(this.#marks),
      // All places, and not those used so far: one that is given meanwhile is watched as well.
      CAPACITY,
      PAUSE_US,
    );
    if (done >= SHIM_STATUS.ok) return;
    throw new BunTensorRtError(
      message("watch events", `a thread cannot be bound to device ${deviceIndex}: status ${done}`),
    );
  }
}
