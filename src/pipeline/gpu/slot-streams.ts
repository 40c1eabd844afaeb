/** @module SlotStreams: the streams of one slot, chosen anew for each batch from those that all slots share. */

import { Resource } from "../../core/resource.ts";
import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Device } from "../../cuda/device.ts";
import { Event } from "../../cuda/event.ts";
import type { OnStream, Stream } from "../../cuda/stream.ts";
import type { Activations } from "./activations.ts";
import type { Lane, Lanes } from "./lanes.ts";

/** The streams that all slots of a backend use. */
export interface SharedStreams {
  readonly lanes: Lanes;
  /** Takes pixels to the device for lanes that are busy; `undefined` where a lane does it itself. */
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
export class SlotStreams extends Resource {
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
  readonly #shared: SharedStreams;
  readonly #activations: Activations;
  readonly #copyIn: { stream: Stream };
  readonly #compute: { stream: Stream };
  readonly #copiedIn: Event | undefined;
  readonly #computed: Event | undefined;
  readonly #owned: DisposableStack;
  /** While a batch is under way. */
  #lane: Lane | undefined;

  /**
   * Made by `GpuStreams.open`.
   *
   * @param parent kept open by this: the streams' owner
   * @param owned  what the slot alone uses; closed with this
   */
  constructor(
    parent: Resource,
    shared: SharedStreams,
    device: Device,
    activations: Activations,
    owned: DisposableStack,
  ) {
    super("SlotStreams", parent);
    const { lanes, copyIn, copyOut, setup } = shared;
    const { stream } = lanes.first;
    this.#owned = owned;
    this.#shared = shared;
    this.#activations = activations;
    this.#copyIn = { stream };
    this.#compute = { stream };
    this.copyIn = this.#copyIn;
    this.compute = this.#compute;
    this.copyOut = copyOut === undefined ? this.#compute : { stream: copyOut };
    this.setup = { stream: setup };
    this.copiesOutApart = copyOut !== undefined;
    try {
      if (copyIn !== undefined) this.#copiedIn = owned.use(Event.create(device));
      if (copyOut !== undefined) this.#computed = owned.use(Event.create(device));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** For the activations of the slot's contexts, and of all others on the same lane where there is but one. */
  get activations(): DeviceMemory {
    return this.#activations.memory;
  }

  /**
   * Choose the streams of a batch: the lane with the least to do, which copies the pixels as well where it has nothing to do.
   * A copy that other copies come before would only keep an idle lane waiting: it costs a third of the rate.
   */
  enter(): void {
    this.leave();
    const { lanes, copyIn } = this.#shared;
    const lane = lanes.take();
    this.#lane = lane;
    this.#compute.stream = lane.stream;
    this.#copyIn.stream = copyIn === undefined || lane.batches === 1 ? lane.stream : copyIn;
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
    if (this.#lane === undefined) return;
    this.#shared.lanes.giveBack(this.#lane);
    this.#lane = undefined;
  }

  protected release(): void {
    this.leave();
    this.#owned.dispose();
  }
}
