/** @module Stream: a queue of GPU work that runs in order. */

import { ArgumentError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import type { Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/memory.ts";
import { check, checkWait, NOT_READY } from "./check.ts";
import type { Device } from "./device.ts";

/** Does not wait for the default stream, nor makes it wait. */
const NON_BLOCKING = 1;

const out = new OutCells(1);
let created = 0;

/** What {@linkcode Stream.create} takes. */
export interface StreamOptions {
  /** Lower is more urgent, within `device.priorityRange()`; default 0, the least urgent. */
  readonly priority?: number | undefined;
}

/** An event as a stream sees it: what {@linkcode Stream.waitFor} takes. */
export interface RecordedEvent {
  readonly handle: Handle<"cudaEvent_t">;
  /** Refuse to go on with a closed event. @throws {ClosedError} If it is closed */
  assertOpen(action: string): void;
}

/** The stream that orders a call. Make the object once and reuse it where a call is made per frame. */
export interface OnStream {
  readonly stream: Stream;
}

/** A stream of one device. What is enqueued on it runs in order; different streams run side by side. */
export class Stream extends Resource {
  readonly device: Device;
  /** What was launched last, for the report of a fault. Written by {@linkcode Kernel} and {@linkcode GraphExec}. */
  lastLaunch = "none";
  readonly #handle: Handle<"cudaStream_t">;

  private constructor(device: Device, handle: Handle<"cudaStream_t">, label: string) {
    super(label, device);
    this.device = device;
    this.#handle = handle;
  }

  /**
   * Make a stream that neither waits for the default stream nor makes it wait.
   *
   * @throws {ArgumentError} If the device has no such priority
   * @throws {CudaError} If the stream cannot be made
   */
  static create(device: Device, options: StreamOptions = {}): Stream {
    const label = `Stream ${created}`;
    device.assertOpen(`create ${label}`);
    const priority = options.priority ?? 0;
    const [least, greatest] = device.priorityRange();
    if (!Number.isInteger(priority) || priority > least || priority < greatest) {
      throw new ArgumentError(
        message(`create ${label}`, `its priority must be an integer from ${greatest} to ${least}, got ${priority}`),
      );
    }
    check(
      cudaRuntime().cudaStreamCreateWithPriority(out.cells, NON_BLOCKING, priority),
      "cudaStreamCreateWithPriority",
    );
    created += 1;
    return new Stream(device, out.pointer() as Handle<"cudaStream_t">, label);
  }

  /**
   * The `cudaStream_t` (the driver's `CUstream` as well). Borrowed: valid while the stream is open.
   *
   * @throws {ClosedError} If it is closed: CUDA would follow the handle all the same
   */
  get handle(): Handle<"cudaStream_t"> {
    this.assertOpen("use a stream");
    return this.#handle;
  }

  /** True once everything enqueued so far has finished. @throws {CudaError} If some of it failed */
  get isDone(): boolean {
    this.assertOpen("query a stream");
    const status = cudaRuntime().cudaStreamQuery(this.#handle);
    if (status === NOT_READY) return false;
    checkWait(status, "cudaStreamQuery", this.lastLaunch);
    return true;
  }

  /** True while a graph is captured from the stream. */
  get isCapturing(): boolean {
    this.assertOpen("query a stream");
    check(cudaRuntime().cudaStreamIsCapturing(this.#handle, out.cells), "cudaStreamIsCapturing");
    return out.i32() !== 0;
  }

  /**
   * Block this thread until everything enqueued so far has finished. `Event.wait` waits without blocking.
   *
   * @throws {CudaError} If some of it failed; it names the last launch
   */
  synchronize(): void {
    this.assertOpen("synchronize a stream");
    checkWait(cudaRuntime().cudaStreamSynchronize(this.#handle), "cudaStreamSynchronize", this.lastLaunch);
  }

  /** Enqueue a wait: later work of this stream runs after what the event recorded. Blocks nobody. */
  waitFor(event: RecordedEvent): void {
    this.assertOpen("enqueue a wait");
    event.assertOpen("wait for an event");
    check(cudaRuntime().cudaStreamWaitEvent(this.#handle, event.handle, 0), "cudaStreamWaitEvent");
  }

  /** Waits for the work, then frees the stream. */
  protected override release(): void {
    try {
      checkWait(cudaRuntime().cudaStreamSynchronize(this.#handle), "cudaStreamSynchronize", this.lastLaunch);
    } finally {
      check(cudaRuntime().cudaStreamDestroy(this.#handle), "cudaStreamDestroy");
    }
  }
}
