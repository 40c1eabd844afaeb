/**
 * @module GpuStreams: the streams that the slots of a backend share, the memory that follows from who shares which, and the trace of what
 * runs on them, by the host's clock.
 */

import { Owner, type Resource } from "../../core/resource.ts";
import { DeviceBuffer, type DeviceMemory } from "../../cuda/buffers.ts";
import type { Device } from "../../cuda/device.ts";
import { Event } from "../../cuda/event.ts";
import { type OnStream, Stream } from "../../cuda/stream.ts";
import type { FrameTrace, Span } from "../../runtime/backend.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { StreamLayout } from "../accelerator-options.ts";

/** Memory of an engine's intermediate tensors, shared by contexts that never run side by side. */
class Activations implements Disposable {
  readonly #engine: Engine;
  readonly #device: Device;
  #memory: DeviceBuffer<"u8"> | undefined;

  constructor(engine: Engine, device: Device) {
    this.#engine = engine;
    this.#device = device;
  }

  /** As many bytes as any context of the engine needs, allocated by the first call. @throws {OutOfMemoryError} */
  get memory(): DeviceMemory {
    const bytes = Math.max(this.#engine.deviceMemoryBytes(), 1);
    this.#memory ??= DeviceBuffer.create("u8", [bytes], { device: this.#device });
    return this.#memory;
  }

  [Symbol.dispose](): void {
    this.#memory?.close();
  }
}

/** A stream with what is enqueued on it. */
export interface PooledStream {
  readonly stream: Stream;
  /** Batches that were put on it and not yet waited for. */
  batches: number;
}

/**
 * What else is under way when a batch's pixels are copied: nothing, batches on other streams, or batches before it on its own, so
 * that the stream that copies for all does it.
 */
export type Turn = "alone" | "beside" | "ahead";

/** The streams that batches of a backend compute on; whoever made them closes them. */
export class StreamPool {
  /** Batches on all of them. */
  batches = 0;
  readonly #streams: readonly PooledStream[];

  /** @param streams at least one */
  constructor(streams: readonly Stream[]) {
    this.#streams = streams.map((stream) => ({ stream, batches: 0 }));
  }

  /** The first of them, which is the only one in the layouts `one` and `split`. */
  get first(): PooledStream {
    return this.#streams[0]!;
  }

  /**
   * Put one more batch on the stream with the fewest, the first of several. One that is alone thus always has the first, whichever
   * slot it is of: engines whose graphs keep to one stream are the fastest.
   *
   * @returns the stream; `giveBack` it once the batch has ended
   */
  take(): PooledStream {
    const streams = this.#streams;
    let least = streams[0]!;
    for (let at = 1; at < streams.length && least.batches > 0; at++) {
      const next = streams[at]!;
      if (next.batches < least.batches) least = next;
    }
    least.batches += 1;
    this.batches += 1;
    return least;
  }

  /** A batch of a stream has ended, or failed. Once for each `take`. */
  giveBack(pooled: PooledStream): void {
    pooled.batches -= 1;
    this.batches -= 1;
  }
}

/** The streams that all slots of a backend use. */
interface SharedStreams {
  /** What batches compute on. */
  readonly pool: StreamPool;
  /** Takes pixels to the device for streams that are busy; `undefined` where each does it itself. */
  readonly copyIn: Stream | undefined;
  /** Likewise for the rows. */
  readonly copyOut: Stream | undefined;
  /** No batch runs on it: see {@linkcode SlotStreams.setup}. */
  readonly setup: Stream;
}

/**
 * The streams of one slot, all shared with others. A batch begins with `enter`, which chooses them, and ends with `leave`;
 * its work is joined by `joinCopyIn` and `joinCopyOut`, which do nothing where one stream orders it.
 */
export class SlotStreams extends Owner {
  /** Takes pixels to the device: the same object always, with the stream that the last `enter` chose. */
  readonly copyIn: OnStream;
  /** Runs everything between the copies; likewise. */
  readonly compute: OnStream;
  /** Takes kept rows to the host; likewise. */
  readonly copyOut: OnStream;
  /** Where memory is prepared, graphs are captured and tensors are read. No batch runs on it. */
  readonly setup: OnStream;
  /** True if copies of kept rows have a stream of their own: they are then no part of a graph. */
  readonly copiesOutApart: boolean;
  /**
   * True if batches take turns on the streams. Kept rows are copied to the host then, and tables by each graph: kernels write rows
   * there otherwise, and tables are copied where they have changed, which is sooner for a frame alone, and loses 3 % and a twelfth
   * of 32 in flight on an H200.
   */
  readonly takesTurns: boolean;
  readonly #shared: SharedStreams;
  readonly #activations: Activations;
  readonly #copyIn: { stream: Stream };
  readonly #compute: { stream: Stream };
  readonly #copiedIn: Event | undefined;
  readonly #computed: Event | undefined;
  /** While a batch is under way. */
  #taken: PooledStream | undefined;

  /** Made by `GpuStreams.open`. @param owned what the slot alone uses */
  constructor(
    parent: Resource,
    shared: SharedStreams,
    device: Device,
    activations: Activations,
    owned: DisposableStack,
  ) {
    super("SlotStreams", parent, owned);
    const { pool, copyIn, copyOut, setup } = shared;
    const { stream } = pool.first;
    this.#shared = shared;
    this.#activations = activations;
    this.#copyIn = { stream };
    this.#compute = { stream };
    this.copyIn = this.#copyIn;
    this.compute = this.#compute;
    this.copyOut = copyOut === undefined ? this.#compute : { stream: copyOut };
    this.setup = { stream: setup };
    this.copiesOutApart = copyOut !== undefined;
    this.takesTurns = copyIn !== undefined;
    try {
      if (copyIn !== undefined) this.#copiedIn = owned.use(Event.create(device));
      if (copyOut !== undefined) this.#computed = owned.use(Event.create(device));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** For the activations of the slot's contexts, and of all others where a single stream orders them. */
  get activations(): DeviceMemory {
    return this.#activations.memory;
  }

  /**
   * Choose the streams of a batch: the one with the least to do, which copies the pixels as well where it has nothing to do.
   * A copy that other copies come before would only keep an idle stream waiting: it costs a third of the rate.
   */
  enter(): void {
    this.leave();
    const { pool, copyIn } = this.#shared;
    const taken = pool.take();
    this.#taken = taken;
    this.#compute.stream = taken.stream;
    this.#copyIn.stream = copyIn === undefined || taken.batches === 1 ? taken.stream : copyIn;
  }

  /** How the batch's pixels come to the device. */
  get turn(): Turn {
    if (this.#copyIn.stream !== this.#compute.stream) return "ahead";
    return this.#shared.pool.batches > 1 ? "beside" : "alone";
  }

  /** Let what comes next on `compute` wait for the pixels. */
  joinCopyIn(): void {
    if (this.#copiedIn === undefined || this.copyIn.stream === this.compute.stream) return;
    this.#copiedIn.record(this.copyIn);
    this.compute.stream.waitFor(this.#copiedIn);
  }

  /** Let what comes next on `copyOut` wait for the rows. */
  joinCopyOut(): void {
    if (this.#computed === undefined) return;
    this.#computed.record(this.compute);
    this.copyOut.stream.waitFor(this.#computed);
  }

  /** The batch has been waited for, or has failed. Without one it does nothing. */
  leave(): void {
    if (this.#taken === undefined) return;
    this.#shared.pool.giveBack(this.#taken);
    this.#taken = undefined;
  }

  protected override release(): void {
    this.leave();
    super.release();
  }
}

/** A layout, simplest first; see `StreamLayout`. */
export type StreamLayoutName = Exclude<StreamLayout, "auto">;

/** Slots from which on there are half as many streams. */
const HALVED_FROM = 16;

/** More streams side by side than this bring nothing. */
const MOST_STREAMS = 16;

/**
 * Streams that batches of `parallel` compute on: one for each of a few slots, and half as many for many. Two batches then
 * take turns on a stream, and the pixels of the second are on the device before the first has ended, so that none waits for a
 * copy or for JS. On an H200, yolov8n 640 FP16: 5,253 frames/s with 16 slots on as many streams, 5,343 with 16 on 8, 5,894 with
 * 32 on 16.
 */
function streamsFor(slots: number): number {
  return slots < HALVED_FROM ? slots : Math.min(MOST_STREAMS, slots >> 1);
}

/**
 * The streams of a backend. Slots of `one` share a stream, those of `split` three, and with them the memory of the
 * activations; those of `parallel` share several streams, and each has activations of its own.
 */
export class GpuStreams extends Owner {
  readonly layout: StreamLayoutName;
  readonly #device: Device;
  readonly #engine: Engine;
  readonly #shared: SharedStreams;
  /** Of all contexts, where a single stream orders them. */
  readonly #activations: Activations | undefined;

  /** @param slots how many will be open at once: it decides the number of streams */
  constructor(engine: Engine, device: Device, layout: StreamLayoutName, slots: number) {
    super(`GpuStreams (${layout})`, engine);
    this.layout = layout;
    this.#device = device;
    this.#engine = engine;
    const count = layout === "parallel" ? streamsFor(slots) : 1;
    try {
      const create = (): Stream => this.owned.use(Stream.create(device));
      this.#shared = {
        pool: new StreamPool(Array.from({ length: count }, create)),
        copyIn: count < slots && layout !== "one" ? create() : undefined,
        copyOut: layout === "split" ? create() : undefined,
        setup: create(),
      };
      if (layout !== "parallel") this.#activations = this.owned.use(new Activations(engine, device));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The streams of one more slot; closed by the slot. */
  open(): SlotStreams {
    using owned = new DisposableStack();
    const activations = this.#activations ?? owned.use(new Activations(this.#engine, this.#device));
    return new SlotStreams(this, this.#shared, this.#device, activations, owned.move());
  }
}

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
