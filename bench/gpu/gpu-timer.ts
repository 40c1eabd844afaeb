/** @module GpuTimer: GPU time of enqueued work by events, with a cold L2 cache and with many runs back to back. */

import { DeviceBuffer } from "../../src/cuda/buffers.ts";
import { fill } from "../../src/cuda/copy.ts";
import type { Device } from "../../src/cuda/device.ts";
import { Event } from "../../src/cuda/event.ts";
import { Graph, Stream } from "../../src/cuda/stream.ts";

/** Every L2 cache is smaller than this. */
const FLUSH_BYTES = 256 << 20;

/** Microseconds of GPU time. */
export interface GpuTimes {
  /** Median of single runs, each after the L2 cache was overwritten. */
  readonly cold: number;
  /** Mean of runs back to back in a graph: what a steady stream of frames sees. */
  readonly warm: number;
  /** Time of the JS thread to enqueue one run. */
  readonly enqueue: number;
}

/** Measures on a stream of its own. */
export class GpuTimer implements Disposable {
  readonly stream: Stream;
  readonly #start: Event;
  readonly #end: Event;
  readonly #flush: DeviceBuffer<"u8">;

  constructor(device: Device) {
    this.stream = Stream.create(device);
    this.#start = Event.create(device, { timing: true });
    this.#end = Event.create(device, { timing: true });
    this.#flush = DeviceBuffer.create("u8", [FLUSH_BYTES], { stream: this.stream });
  }

  /** @param enqueue enqueues one run on `stream` */
  measure(enqueue: () => void): GpuTimes {
    const { stream } = this;
    for (let warm = 0; warm < 20; warm++) enqueue();
    stream.synchronize();
    const samples: number[] = [];
    for (let sample = 0; sample < 101; sample++) {
      // While the cache is overwritten the rest is enqueued, so that no launch is waited for between the events.
      fill(this.#flush, sample & 255, { stream });
      this.#start.record({ stream });
      enqueue();
      this.#end.record({ stream });
      this.#end.synchronize();
      samples.push(this.#end.elapsedMsSince(this.#start) * 1000);
    }
    samples.sort((a, b) => a - b);
    const runs = 200;
    using graph = Graph.capture(
      "runs",
      () => {
        for (let run = 0; run < runs; run++) enqueue();
      },
      { stream },
    );
    using exec = graph.instantiate();
    exec.launch({ stream });
    this.#start.record({ stream });
    exec.launch({ stream });
    this.#end.record({ stream });
    this.#end.synchronize();
    const warm = (this.#end.elapsedMsSince(this.#start) * 1000) / runs;
    const started = performance.now();
    for (let run = 0; run < runs; run++) enqueue();
    const enqueued = ((performance.now() - started) * 1000) / runs;
    stream.synchronize();
    return { cold: samples[50]!, warm, enqueue: enqueued };
  }

  [Symbol.dispose](): void {
    this.#flush.close();
    this.#start.close();
    this.#end.close();
    this.stream.close();
  }
}
