/** @module GpuTrace: events around the phases of a batch, and their place on the host's clock. */

import { Owner } from "../../core/resource.ts";
import type { Device } from "../../cuda/device.ts";
import { Event } from "../../cuda/event.ts";
import { type OnStream, Stream } from "../../cuda/stream.ts";
import type { FrameTrace, Span } from "../../runtime/backend.ts";
import type { SlotStreams } from "./gpu-streams.ts";

/** The two clocks drift apart by some microseconds a second, and an elapsed time is a float of 24 bits. */
const ANCHOR_AGE_MS = 500;
/** The shortest of so many round trips anchors the clocks. */
const ANCHOR_TRIES = 5;

/** Puts events of a device on the clock of `performance.now()`, for the slots of a backend. */
export class GpuTrace extends Owner {
  readonly device: Device;
  readonly target: FrameTrace;
  readonly #on: OnStream;
  #origin: Event;
  #candidate: Event;
  /** When the GPU passed the origin. */
  #originMs = 0;
  #slots = 0;

  constructor(device: Device, target: FrameTrace) {
    super("GpuTrace", device);
    this.device = device;
    this.target = target;
    try {
      this.#on = { stream: this.owned.use(Stream.create(device)) };
      this.#origin = this.owned.use(Event.create(device, { timing: true }));
      this.#candidate = this.owned.use(Event.create(device, { timing: true }));
      this.#anchor();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The number of the next slot. */
  nextSlot(): number {
    return this.#slots++;
  }

  /** When the GPU passed an event, in milliseconds of `performance.now()`. */
  hostMs(event: Event): number {
    return this.#originMs + event.elapsedMsSince(this.#origin);
  }

  /** Compare the clocks anew where the last time is long past. Blocks for some 50 µs then. */
  keepAnchored(): void {
    if (performance.now() - this.#originMs > ANCHOR_AGE_MS) this.#anchor();
  }

  #anchor(): void {
    let shortest = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ANCHOR_TRIES; round++) {
      const before = performance.now();
      this.#candidate.record(this.#on);
      this.#candidate.synchronize();
      const after = performance.now();
      if (after - before >= shortest) continue;
      shortest = after - before;
      this.#originMs = (before + after) / 2;
      [this.#origin, this.#candidate] = [this.#candidate, this.#origin];
    }
  }
}

/** Places of the phases' marks. */
const PLACES = { copyIn: 0, compute: 2, copyOut: 4 } as const;
type Phase = keyof typeof PLACES;

/** The events of one slot. Each mark is put into the stream of its phase. */
export class SlotTrace extends Owner {
  readonly #trace: GpuTrace;
  readonly #streams: SlotStreams;
  readonly #slot: number;
  readonly #marks: readonly Event[];

  constructor(trace: GpuTrace, streams: SlotStreams) {
    super("SlotTrace", trace);
    this.#trace = trace;
    this.#streams = streams;
    this.#slot = trace.nextSlot();
    try {
      this.#marks = Array.from({ length: 6 }, () => this.owned.use(Event.create(trace.device, { timing: true })));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** A phase begins in its stream. */
  begins(phase: Phase): void {
    this.#marks[PLACES[phase]]!.record(this.#streams[phase]);
  }

  /** A phase has been enqueued. */
  ends(phase: Phase): void {
    this.#marks[PLACES[phase] + 1]!.record(this.#streams[phase]);
  }

  /** Tell of a batch that has been waited for. */
  tell(batch: number, submittedMs: number, enqueuedMs: number, isGraph: boolean): void {
    const settledMs = performance.now();
    this.#trace.target.frame({
      slot: this.#slot,
      batch,
      submittedMs,
      enqueuedMs,
      settledMs,
      copyInMs: this.#span("copyIn"),
      computeMs: this.#span("compute"),
      copyOutMs: this.#span("copyOut"),
      isGraph,
    });
    this.#trace.keepAnchored();
  }

  #span(phase: Phase): Span {
    const at = PLACES[phase];
    return [this.#trace.hostMs(this.#marks[at]!), this.#trace.hostMs(this.#marks[at + 1]!)];
  }
}
