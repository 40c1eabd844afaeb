/**
 * @module Wait: wait for an event without blocking the JS thread. Short waits poll, long ones go to another thread;
 * the choice is made from how long earlier waits took.
 */

import { logger } from "../core/log.ts";
import type { Handle } from "../core/units.ts";
import { cudaDriver } from "../ffi/cuda-driver.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { type OffThreadFunction, offThread } from "../ffi/off-thread.ts";
import { NOT_READY } from "./check.ts";

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
export function waitForEvent(event: AwaitedEvent, options: WaitOptions): Promise<void> {
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
