/** @module GpuStreams: the streams that frames in flight run on, in one of three layouts. */

import { Resource } from "../../core/resource.ts";
import type { Device } from "../../cuda/device.ts";
import { Stream } from "../../cuda/stream.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { StreamLayout } from "../backend.ts";
import { Activations } from "./activations.ts";
import { Lanes } from "./lanes.ts";
import { type SharedStreams, SlotStreams } from "./slot-streams.ts";

/** A layout, simplest first; see `StreamLayout`. */
export type StreamLayoutName = Exclude<StreamLayout, "auto">;

/** Slots from which on there are half as many lanes. */
const HALVED_FROM = 16;

/** More lanes side by side than this bring nothing. */
const MOST_LANES = 16;

/**
 * Streams that batches of `parallel` compute on: one for each of a few slots, and half as many for many. Two batches then
 * take turns on a lane, and the pixels of the second are on the device before the first has ended, so that no lane waits for a
 * copy or for JS. On an H200, yolov8n 640 FP16: 5,253 frames/s with 16 slots on as many lanes, 5,343 with 16 on 8, 5,894 with
 * 32 on 16.
 */
function lanesFor(slots: number): number {
  return slots < HALVED_FROM ? slots : Math.min(MOST_LANES, slots >> 1);
}

/**
 * The streams of a backend. Slots of `one` share a stream, those of `split` three, and with them the memory of the
 * activations; those of `parallel` share several lanes, and each has activations of its own.
 */
export class GpuStreams extends Resource {
  readonly layout: StreamLayoutName;
  readonly #device: Device;
  readonly #engine: Engine;
  readonly #owned = new DisposableStack();
  readonly #shared: SharedStreams;
  /** Of all contexts, where a single lane orders them. */
  readonly #activations: Activations | undefined;

  /** @param slots how many will be open at once: it decides the number of lanes */
  constructor(engine: Engine, device: Device, layout: StreamLayoutName, slots: number) {
    super(`GpuStreams (${layout})`, engine);
    this.layout = layout;
    this.#device = device;
    this.#engine = engine;
    const laneCount = layout === "parallel" ? lanesFor(slots) : 1;
    try {
      const create = (): Stream => this.#owned.use(Stream.create(device));
      this.#shared = {
        lanes: new Lanes(Array.from({ length: laneCount }, create)),
        copyIn: laneCount < slots && layout !== "one" ? create() : undefined,
        copyOut: layout === "split" ? create() : undefined,
        setup: create(),
      };
      if (layout !== "parallel") this.#activations = this.#owned.use(new Activations(engine, device));
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

  protected release(): void {
    this.#owned.dispose();
  }
}
