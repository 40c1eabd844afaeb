/** @module GpuStreams: the streams that frames in flight run on, in one of three layouts. */

import { Resource } from "../../core/resource.ts";
import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { Event } from "../../cuda/event.ts";
import { type OnStream, Stream } from "../../cuda/stream.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { StreamLayout } from "../backend.ts";

/** A layout, simplest first; see `StreamLayout`. */
export type StreamLayoutName = Exclude<StreamLayout, "auto">;

/** Streams and memory that slots share. */
interface Shared {
  readonly copyIn: Stream;
  readonly compute: Stream;
  readonly copyOut: Stream;
  readonly setup: Stream;
  /** Activations of every context that runs on `compute`, which orders them. */
  readonly activations: Activations;
}

/** Memory for the activations of contexts that never run side by side, allocated when the first asks. */
class Activations implements Disposable {
  readonly #engine: Engine;
  readonly #device: Device;
  #memory: DeviceBuffer<"u8"> | undefined;

  constructor(engine: Engine, device: Device) {
    this.#engine = engine;
    this.#device = device;
  }

  get memory(): DeviceMemory {
    const bytes = Math.max(this.#engine.deviceMemoryBytes(), 1);
    this.#memory ??= DeviceBuffer.create("u8", [bytes], { device: this.#device });
    return this.#memory;
  }

  [Symbol.dispose](): void {
    this.#memory?.close();
  }
}

/**
 * The streams of a backend. Slots of `one` share a stream, those of `split` three, and with them the memory of the
 * activations; each slot of `parallel` has its own.
 */
export class GpuStreams extends Resource {
  readonly layout: StreamLayoutName;
  readonly #device: Device;
  readonly #engine: Engine;
  readonly #owned = new DisposableStack();
  readonly #shared: Shared | undefined;

  constructor(engine: Engine, device: Device, layout: StreamLayoutName) {
    super(`GpuStreams (${layout})`, engine);
    this.layout = layout;
    this.#device = device;
    this.#engine = engine;
    try {
      if (layout !== "parallel") this.#shared = this.#share(layout === "split");
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The streams of one more slot; closed by the slot. */
  open(): SlotStreams {
    const { layout } = this;
    using owned = new DisposableStack();
    if (this.#shared !== undefined) return new SlotStreams(this, this.#shared, layout, this.#device, owned.move());
    const stream = owned.use(Stream.create(this.#device));
    const activations = owned.use(new Activations(this.#engine, this.#device));
    const own = { copyIn: stream, compute: stream, copyOut: stream, setup: stream, activations };
    return new SlotStreams(this, own, layout, this.#device, owned.move());
  }

  #share(isSplit: boolean): Shared {
    const create = (): Stream => this.#owned.use(Stream.create(this.#device));
    const compute = create();
    return {
      compute,
      copyIn: isSplit ? create() : compute,
      copyOut: isSplit ? create() : compute,
      setup: create(),
      activations: this.#owned.use(new Activations(this.#engine, this.#device)),
    };
  }

  protected release(): void {
    this.#owned.dispose();
  }
}

/**
 * The streams of one slot; some may be one and the same, and shared with other slots. Their work is joined by
 * `joinCopyIn` and `joinCopyOut`, which do nothing where one stream orders it.
 */
export class SlotStreams extends Resource {
  /** Takes pixels to the device. */
  readonly copyIn: OnStream;
  /** Runs everything between the copies. */
  readonly compute: OnStream;
  /** Takes kept rows to the host. */
  readonly copyOut: OnStream;
  /**
   * Where memory is prepared, graphs are captured and tensors are read. No frame runs on it, or the slot's own alone: a
   * capture catches no other slot's work.
   */
  readonly setup: OnStream;
  readonly #activations: Activations;
  /** True if copies of kept rows have a stream of their own: they are then no part of a graph. */
  readonly copiesOutApart: boolean;
  readonly #copiedIn: Event | undefined;
  readonly #computed: Event | undefined;
  readonly #owned: DisposableStack;

  /** Made by {@linkcode GpuStreams.open}. */
  constructor(parent: GpuStreams, streams: Shared, layout: StreamLayoutName, device: Device, owned: DisposableStack) {
    super("SlotStreams", parent);
    this.#owned = owned;
    this.copyIn = { stream: streams.copyIn };
    this.compute = { stream: streams.compute };
    this.copyOut = { stream: streams.copyOut };
    this.setup = { stream: streams.setup };
    this.#activations = streams.activations;
    this.copiesOutApart = layout === "split";
    try {
      if (!this.copiesOutApart) return;
      this.#copiedIn = owned.use(Event.create(device));
      this.#computed = owned.use(Event.create(device));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** For the activations of the slot's contexts, and of all others on the same `compute`. */
  get activations(): DeviceMemory {
    return this.#activations.memory;
  }

  /** Let what comes next on `compute` wait for the pixels. */
  joinCopyIn(): void {
    if (this.#copiedIn === undefined) return;
    this.#copiedIn.record(this.copyIn);
    this.compute.stream.waitFor(this.#copiedIn);
  }

  /** Let what comes next on `copyOut` wait for the rows. */
  joinCopyOut(): void {
    if (this.#computed === undefined) return;
    this.#computed.record(this.compute);
    this.copyOut.stream.waitFor(this.#computed);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}
