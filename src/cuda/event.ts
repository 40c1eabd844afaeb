/** @module Event: a mark in a stream, to wait for and to measure time between. */

import { BunTensorRtError, message, OptionError } from "../core/errors.ts";
import { unknownWord } from "../core/options.ts";
import { Resource } from "../core/resource.ts";
import type { Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/memory.ts";
import { check, checkWait, NOT_READY } from "./check.ts";
import type { Device } from "./device.ts";
import type { OnStream } from "./stream.ts";
import { type WaitOptions, waitForEvent } from "./wait.ts";

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

  /** Check the status of a wait done elsewhere. Called by `wait.ts` and `EventWaits`. */
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
