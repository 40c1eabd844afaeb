/**
 * @module Event: a mark in a stream, to wait for and to measure time between. Waits do not block the JS thread: short ones poll,
 * long ones go to another thread; the choice is made from how long earlier waits took.
 */

import { BunTensorRtError, message, OptionError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { unknownWord } from "../core/options.ts";
import { Resource } from "../core/resource.ts";
import type { Handle } from "../core/units.ts";
import { cudaDriver, cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/memory.ts";
import { type OffThreadFunction, offThread } from "../ffi/off-thread.ts";
import { check, checkWait, NOT_READY } from "./check.ts";
import type { Device } from "./device.ts";
import type { OnStream } from "./stream.ts";

/** An event as a wait sees it. */
export interface AwaitedEvent {
  readonly handle: Handle<"cudaEvent_t">;
  /** How long the waits for it took on average, in milliseconds; updated by every wait. */
  averageWaitMs: number;
  /** @throws {CudaError} If the status tells of a failure */
  checkWaited(status: number, call: string): void;
}

/** How the JS thread waits for a GPU. `poll`: it asks the event; `off-thread`: another thread waits; `auto`: by measured duration. */
export type WaitMode = "auto" | "poll" | "off-thread";

/** What `Event.wait` takes. */
export interface WaitOptions {
  /**
   * `"poll"` asks once a turn of the event loop: quickest, and keeps one core busy. `"off-thread"` costs some 12 µs
   * more and no core. `"auto"`, the default, polls where waits are short.
   */
  readonly mode?: WaitMode | undefined;
}

/** Waits of up to this length are polled, in milliseconds: the thread's wake-up would cost over a percent of them. */
export const POLL_LIMIT_MS = 1;

/** Weight of the newest wait in the average. */
const NEWEST = 0.25;

/** `CUDA_ERROR_INVALID_CONTEXT`: the call wants a context that is current on its thread. */
const INVALID_CONTEXT = 201;

interface Polled {
  readonly event: AwaitedEvent;
  readonly started: number;
  /** When to give up polling; `Infinity` where only polling was asked for. */
  readonly deadline: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const polled: Polled[] = [];
let isScheduled = false;

/**
 * A wait counts for at most so many times the average. One that a collection of garbage or the system held up says nothing of the
 * next: on an H200 a frame of 8 ms sent the five after it, of half a millisecond, to the other thread.
 */
const MOST_TIMES = 1.5;

/** Take a wait that has ended into the average. @param started when it began, by `performance.now()` */
export function noteDuration(event: AwaitedEvent, started: number): void {
  const waited = performance.now() - started;
  const average = event.averageWaitMs;
  const counted = average > 0 ? Math.min(waited, average * MOST_TIMES) : waited;
  event.averageWaitMs = average + (counted - average) * NEWEST;
}

/** Settle a wait whose event answered `status`. */
function settle(entry: Polled, status: number): void {
  noteDuration(entry.event, entry.started);
  try {
    entry.event.checkWaited(status, "cudaEventQuery");
    entry.resolve();
  } catch (error) {
    entry.reject(error);
  }
}

/** One turn: settle what is done, oldest first, hand what takes too long to another thread, keep the rest. */
function poll(): void {
  isScheduled = false;
  const runtime = cudaRuntime();
  const now = performance.now();
  let kept = 0;
  for (const entry of polled) {
    const status = runtime.cudaEventQuery(entry.event.handle);
    if (status !== NOT_READY) settle(entry, status);
    else if (now < entry.deadline) polled[kept++] = entry;
    else waitOffThread(entry.event, entry.started).then(entry.resolve, entry.reject);
  }
  polled.length = kept;
  schedule();
}

function schedule(): void {
  if (isScheduled || polled.length === 0) return;
  isScheduled = true;
  setImmediate(poll);
}

function waitByPolling(event: AwaitedEvent, started: number, limitMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const entry: Polled = { event, started, deadline: started + limitMs, resolve, reject };
    const status = cudaRuntime().cudaEventQuery(event.handle);
    if (status !== NOT_READY) {
      settle(entry, status);
      return;
    }
    polled.push(entry);
    schedule();
  });
}

let driverSynchronize: OffThreadFunction | undefined;
let runtimeSynchronize: OffThreadFunction | undefined;
let needsContext = false;

/**
 * Wait for an event on one of koffi's threads. Those have no context of their own. The driver's call takes it from the
 * event; should a driver refuse, the runtime's call makes device 0 current on the thread first, which serves events of any
 * device.
 *
 * @returns the status of the work before the event; libcuda and libcudart number them alike
 */
async function synchronizeOffThread(handle: Handle<"cudaEvent_t">): Promise<number> {
  if (!needsContext) {
    driverSynchronize ??= offThread(cudaDriver().cuEventSynchronize.ptr, { args: ["ptr"], returns: "i32" });
    const status = await driverSynchronize(handle);
    if (status !== INVALID_CONTEXT) return status;
    if (!needsContext) {
      logger.info("cuEventSynchronize wants a current context: off-thread waits use cudaEventSynchronize instead");
    }
    needsContext = true;
  }
  runtimeSynchronize ??= offThread(cudaRuntime().cudaEventSynchronize.ptr, { args: ["ptr"], returns: "i32" });
  return await runtimeSynchronize(handle);
}

async function waitOffThread(event: AwaitedEvent, started: number): Promise<void> {
  const status = await synchronizeOffThread(event.handle);
  noteDuration(event, started);
  event.checkWaited(status, needsContext ? "cudaEventSynchronize" : "cuEventSynchronize");
}

/** Wait for an event in the way its history or the caller suggests. Called by `Event.wait`. */
function waitForEvent(event: AwaitedEvent, options: WaitOptions): Promise<void> {
  const started = performance.now();
  switch (options.mode ?? "auto") {
    case "poll":
      return waitByPolling(event, started, Number.POSITIVE_INFINITY);
    case "off-thread":
      return waitOffThread(event, started);
    case "auto":
      return event.averageWaitMs > POLL_LIMIT_MS
        ? waitOffThread(event, started)
        : waitByPolling(event, started, 2 * POLL_LIMIT_MS);
  }
}

/** The waiting thread sleeps instead of spinning. */
const BLOCKING_SYNC = 1;
const DISABLE_TIMING = 2;

const out = new OutCells(1);

/** Options by their names of before. */
const FORMER: Readonly<Record<string, string>> = { purpose: "timing", waiting: "blocking" };

/** What {@linkcode Event.create} takes. */
export interface EventOptions {
  /** True: time can be measured with it. Default false, which is faster. */
  readonly timing?: boolean | undefined;
  /** True: a thread that waits in `synchronize` or off-thread sleeps, and frees its core. Default false: it spins, which is quicker. */
  readonly blocking?: boolean | undefined;
}

/**
 * A mark that is put into a stream and is done when the work before it is. May be recorded again and again.
 *
 * @example
 * ```ts
 * import { Device, DeviceBuffer, Event, fill, Stream } from "bun-tensorrt/cuda";
 *
 * using device = Device.open();
 * using stream = Stream.create(device);
 * using buffer = DeviceBuffer.create("u8", [2 ** 26], { device });
 * using begin = Event.create(device, { timing: true });
 * using end = Event.create(device, { timing: true });
 * begin.record({ stream });
 * fill(buffer, 0, { stream });
 * end.record({ stream });
 * await end.wait();
 * console.log(`${end.elapsedMsSince(begin).toFixed(3)} ms`);
 * ```
 */
export class Event extends Resource {
  readonly device: Device;
  /** The `cudaEvent_t` (the driver's `CUevent` as well). Borrowed: valid while the event is open. */
  readonly handle: Handle<"cudaEvent_t">;
  /** How long the waits for this event took on average, in milliseconds; it decides how the next one is done. */
  averageWaitMs = 0;
  /** What had been launched when it was recorded. */
  #launch = "none";
  #waits = 0;

  private constructor(device: Device, handle: Handle<"cudaEvent_t">, label: string) {
    super(label, device);
    this.device = device;
    this.handle = handle;
  }

  /** Make an event. @throws {CudaError} If it cannot be made */
  static create(device: Device, options: EventOptions = {}): Event {
    const { timing = false, blocking = false, ...unknown } = options;
    for (const name of Object.keys(unknown)) {
      throw new OptionError(unknownWord("option", name, ["timing", "blocking"], FORMER[name]), name);
    }
    const label = timing ? "Event (timing)" : "Event";
    device.assertOpen(`create ${label}`);
    device.makeCurrent();
    const flags = (timing ? 0 : DISABLE_TIMING) | (blocking ? BLOCKING_SYNC : 0);
    check(cudaRuntime().cudaEventCreateWithFlags(out.cells, flags), "cudaEventCreateWithFlags");
    return new Event(device, out.pointer() as Handle<"cudaEvent_t">, label);
  }

  /** Enqueue the mark. Returns before the GPU has reached it. */
  record(options: OnStream): void {
    this.assertOpen("record an event");
    const { stream } = options;
    this.#launch = stream.lastLaunch;
    check(cudaRuntime().cudaEventRecord(this.handle, stream.handle), "cudaEventRecord");
  }

  /** True once the GPU has passed the mark, and before the first `record`. @throws {CudaError} If the work failed */
  get isDone(): boolean {
    this.assertOpen("query an event");
    const status = cudaRuntime().cudaEventQuery(this.handle);
    if (status === NOT_READY) return false;
    checkWait(status, "cudaEventQuery", this.#launch);
    return true;
  }

  /** Block this thread until the GPU has passed the mark. @throws {CudaError} If the work failed; names the last launch */
  synchronize(): void {
    this.assertOpen("synchronize with an event");
    checkWait(cudaRuntime().cudaEventSynchronize(this.handle), "cudaEventSynchronize", this.#launch);
  }

  /**
   * Wait until the GPU has passed the mark, while the JS thread goes on.
   *
   * A short wait polls once a turn of the event loop, a long one sleeps on another thread. Which it is follows from
   * how long earlier waits for this event took, unless `mode` says otherwise.
   *
   * @throws {CudaError} If the work failed; names the last launch
   */
  async wait(options: WaitOptions = {}): Promise<void> {
    this.assertOpen("wait for an event");
    this.noteWait();
    try {
      await waitForEvent(this, options);
    } finally {
      this.noteWaitEnd();
    }
  }

  /** A wait begins: the event must stay open until {@linkcode Event.noteWaitEnd}. Called by `wait` and `EventWaits`. */
  noteWait(): void {
    this.#waits += 1;
  }

  /** A wait has ended. */
  noteWaitEnd(): void {
    this.#waits -= 1;
  }

  /** Check the status of a wait done elsewhere. Called by `EventWaits` and by waits that poll. */
  checkWaited(status: number, call: string): void {
    checkWait(status, call, this.#launch);
  }

  /**
   * GPU time between two marks that have both been passed. Both events need `timing: true`.
   *
   * @returns milliseconds, to about half a microsecond
   * @throws {CudaError} If one was not recorded, not passed yet, or cannot be measured with
   */
  elapsedMsSince(start: Event): number {
    this.assertOpen("measure time");
    start.assertOpen("measure time");
    check(cudaRuntime().cudaEventElapsedTime(out.cells, start.handle, this.handle), "cudaEventElapsedTime");
    return out.f32();
  }

  /** @throws {BunTensorRtError} If a `wait` is under way */
  override close(): void {
    if (this.#waits > 0) {
      throw new BunTensorRtError(
        message(`close ${this.label}`, `${this.#waits} waits for it are under way`, "await them first"),
      );
    }
    super.close();
  }

  protected override release(): void {
    check(cudaRuntime().cudaEventDestroy(this.handle), "cudaEventDestroy");
  }
}
