/**
 * @module EventWaits: the waits of frames in flight, joined: however many there are, one query loop or one sleeping thread
 * serves them all.
 */

import { ArgumentError, BunTensorRtError, message } from "../core/errors.ts";
import type { Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { addressOf } from "../ffi/memory.ts";
import { SHIM_STATUS, shimOffThread } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import { NOT_READY } from "./check.ts";
import type { Device } from "./device.ts";
import { type AwaitedEvent, noteDuration, POLL_LIMIT_MS, type WaitMode } from "./event.ts";

/** How long a wait is asked for without a pause, and so how long other events of the JS thread wait at most. */
const LINGER_MS = 0.02;

/** What waits ask of CUDA. */
export interface EventCalls {
  /** The status of the work before the event. */
  query(handle: Handle<"cudaEvent_t">): number;
  /** Resolves once some of the board's events are marked as done; the JS thread goes on meanwhile. */
  watch(board: EventBoard): Promise<void>;
}

/** An event that stays open while it is waited for. */
export interface HeldEvent extends AwaitedEvent {
  /** A wait begins. */
  noteWait(): void;
  /** A wait has ended. */
  noteWaitEnd(): void;
}

/** CUDA's own calls for the events of a device. */
function callsOf(device: Device): EventCalls {
  return {
    query: (handle) => cudaRuntime().cudaEventQuery(handle),
    watch: (board) => board.watch(device.index),
  };
}

/**
 * Waits for events of one device and one owner.
 *
 * By `"poll"`, every turn of the event loop asks each event: quickest, and keeps a core busy. By `"off-thread"`, another
 * thread asks them between short sleeps and wakes the JS thread when some are done. `"auto"` polls for one event that is
 * short, and leaves it to the other thread where several are under way or waits are long.
 */
export class EventWaits {
  readonly mode: WaitMode;
  readonly #calls: EventCalls;
  readonly #board = new EventBoard();
  /** Oldest first. */
  readonly #pending: EventWait[] = [];
  #isDriven = false;
  readonly #onTurn = (): void => this.#settle(true);
  readonly #onWake = (): void => this.#settle(false);
  readonly #onFault = (error: unknown): void => this.#fault(error);

  /** @param machine the device, or what stands for it in tests */
  constructor(mode: WaitMode, machine: Device | EventCalls) {
    this.mode = mode;
    this.#calls = "query" in machine ? machine : callsOf(machine);
  }

  /** Number of events that are waited for. */
  get length(): number {
    return this.#pending.length;
  }

  /** A wait for an event, to be made once, used for each of its records, and closed before the event. */
  of(event: HeldEvent): EventWait {
    return new EventWait(event, this, this.#board);
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
    else this.#calls.watch(this.#board).then(this.#onWake, this.#onFault);
  }

  #polls(oldest: EventWait): boolean {
    if (this.mode !== "auto") return this.mode === "poll";
    if (this.#pending.length > 1 || oldest.event.averageWaitMs > POLL_LIMIT_MS) return false;
    return performance.now() - oldest.startedMs < 2 * POLL_LIMIT_MS;
  }

  /**
   * Ask without a pause where the only wait is a short one, or about to end, by how long those before it took. A turn of the event loop
   * takes 2 µs and more, and one frame at a time waits for half of it; it also allocates, so that a turn for each question brought a
   * collection of garbage every 120 frames of 0.45 ms.
   */
  #linger({ event, startedMs }: EventWait): void {
    const now = performance.now();
    const { averageWaitMs } = event;
    if (averageWaitMs > POLL_LIMIT_MS && now - startedMs < averageWaitMs - LINGER_MS) return;
    const until = now + LINGER_MS;
    while (this.#calls.query(event.handle) === NOT_READY && performance.now() < until);
  }

  /** Settle what is done, oldest first. @param asksAll false: only what the watching thread has marked is asked for */
  #settle(asksAll: boolean): void {
    const pending = this.#pending;
    if (asksAll && pending.length === 1) this.#linger(pending[0]!);
    let kept = 0;
    for (const wait of pending) {
      const status = asksAll || wait.isMarked ? this.#calls.query(wait.event.handle) : NOT_READY;
      if (status === NOT_READY) pending[kept++] = wait;
      else wait.settle(status, "cudaEventQuery");
    }
    pending.length = kept;
    this.#drive();
  }

  /** The watching itself has failed: nobody will learn of these events. */
  #fault(error: unknown): void {
    for (const wait of this.#pending) wait.fail(error);
    this.#pending.length = 0;
    this.#isDriven = false;
  }
}

/** A wait for one event; one at a time. */
export class EventWait {
  readonly event: HeldEvent;
  readonly #waits: EventWaits;
  readonly #board: EventBoard;
  readonly #place: number;
  /** When it began, in milliseconds of `performance.now()`. */
  startedMs = 0;
  #resolve: (() => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  /** Made by {@linkcode EventWaits.of}. */
  constructor(event: HeldEvent, waits: EventWaits, board: EventBoard) {
    this.event = event;
    this.#waits = waits;
    this.#board = board;
    this.#place = board.add(event.handle);
  }

  /** True if the watching thread found the event done. */
  get isMarked(): boolean {
    return this.#board.isDone(this.#place);
  }

  /** Let go of the event. Nothing may be waiting for it. */
  close(): void {
    this.#board.remove(this.#place);
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
    this.#board.begin(this.#place);
    this.#waits.add(this);
    return promise;
  }

  /** Called by {@linkcode EventWaits} with the status of the work. */
  settle(status: number, call: string): void {
    const { event } = this;
    this.#end();
    noteDuration(event, this.startedMs);
    try {
      event.checkWaited(status, call);
      this.#resolve?.();
    } catch (error) {
      this.#reject?.(error);
    }
  }

  /** Called by {@linkcode EventWaits} where the wait itself failed. */
  fail(error: unknown): void {
    this.#end();
    this.#reject?.(error);
  }

  #end(): void {
    this.#board.end(this.#place);
    this.event.noteWaitEnd();
  }
}

/** More slots than two backends have in flight, of which one takes the other's place. */
const CAPACITY = 512;

/** The watching thread sleeps so long between two rounds of questions: a thirtieth of a small model's frame. */
const PAUSE_US = 20;

const { BT_MARK_NONE: NONE, BT_MARK_AWAITED: AWAITED, BT_MARK_DONE: DONE } = SHIM_CONSTANTS;

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
      message("watch events", `a thread cannot be bound to device ${deviceIndex}, status ${done}`),
    );
  }
}
