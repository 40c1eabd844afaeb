/**
 * @module EngineRuns: the engine alone, without the library's pipeline: contexts, plain and as a graph, on one stream where their
 * latencies are compared, and on a stream each where they run side by side.
 */

import { isDynamic, type Shape } from "../../src/core/tensor.ts";
import { DeviceBuffer } from "../../src/cuda/buffers.ts";
import type { Device } from "../../src/cuda/device.ts";
import { Event } from "../../src/cuda/event.ts";
import { Graph, type GraphExec, Stream } from "../../src/cuda/stream.ts";
import type { Engine, ExecutionContext } from "../../src/tensorrt/engine.ts";
import { Spin } from "./spin.ts";

/** Launches of one stream that may be under way. */
const DEPTH = 2;
/** The GPU is kept busy so long while a graph is launched, in microseconds. */
const SPIN_US = 100;

/** What {@linkcode EngineRun.create} takes. */
export interface EngineRunOptions {
  /** Of the first input, where the engine leaves it open. */
  readonly shape?: Shape;
  /**
   * To run on; the caller closes it after the run. Default: one of its own. What is compared shares one: on an H200 the graphs of two
   * contexts take 0.02 ms more each where each has its own stream, though only one of them runs.
   */
  readonly stream?: Stream;
}

/** One context with its memory and graph, on a stream. */
export class EngineRun implements Disposable {
  readonly stream: Stream;
  /** For what is not a graph: it is enqueued on `stream`. */
  readonly context: ExecutionContext;
  readonly #graph: GraphExec;
  readonly #start: Event;
  readonly #end: Event;
  readonly #depth: readonly Event[];
  readonly #spin: Spin;
  readonly #owned: DisposableStack;
  #launches = 0;

  private constructor(
    parts: {
      stream: Stream;
      context: ExecutionContext;
      graph: GraphExec;
      start: Event;
      end: Event;
      depth: Event[];
      spin: Spin;
    },
    owned: DisposableStack,
  ) {
    this.stream = parts.stream;
    this.context = parts.context;
    this.#graph = parts.graph;
    this.#start = parts.start;
    this.#end = parts.end;
    this.#depth = parts.depth;
    this.#spin = parts.spin;
    this.#owned = owned;
  }

  /**
   * Make a context for one input shape.
   *
   * @throws {ShapeError} If no profile allows the shape
   */
  static async create(device: Device, engine: Engine, options: EngineRunOptions = {}): Promise<EngineRun> {
    using owned = new DisposableStack();
    const { shape } = options;
    const stream = options.stream ?? owned.use(Stream.create(device));
    const context = owned.use(await engine.createContext());
    const inputs = engine.inputs.map(({ name }) => name);
    for (const tensor of context.tensors) {
      if (shape !== undefined && inputs[0] === tensor.info.name && isDynamic(tensor.info.shape)) tensor.setShape(shape);
    }
    for (const tensor of context.tensors) {
      const buffer = owned.use(DeviceBuffer.create(tensor.info.dtype, tensor.shape, { device }, tensor.vector));
      tensor.setAddress(buffer.pointer);
    }
    context.enqueue(stream);
    stream.synchronize();
    using captured = Graph.capture("engine", () => context.enqueue(stream), { stream });
    const graph = owned.use(captured.instantiate());
    graph.upload({ stream });
    const start = owned.use(Event.create(device, { timing: true }));
    const end = owned.use(Event.create(device, { timing: true }));
    const depth = Array.from({ length: DEPTH }, () => owned.use(Event.create(device)));
    const spin = owned.use(new Spin(device, SPIN_US));
    return new EngineRun({ stream, context, graph, start, end, depth, spin }, owned.move());
  }

  /** GPU milliseconds of single runs, by events: of graphs alone, of plain runs with what the JS thread takes to enqueue them. */
  times(mode: "graph" | "plain", count: number): number[] {
    const on = { stream: this.stream };
    const samples: number[] = [];
    for (let at = 0; at < count; at++) {
      if (mode === "graph") this.#spin.enqueue(on);
      this.#start.record(on);
      if (mode === "graph") this.#graph.launch(on);
      else this.context.enqueue(this.stream);
      this.#end.record(on);
      this.#end.synchronize();
      samples.push(this.#end.elapsedMsSince(this.#start));
    }
    return samples;
  }

  /** Launch once; blocks while as many launches as may be are under way. */
  push(): void {
    const event = this.#depth[this.#launches++ % DEPTH]!;
    event.synchronize();
    const on = { stream: this.stream };
    this.#graph.launch(on);
    event.record(on);
  }

  [Symbol.dispose](): void {
    this.stream.synchronize();
    this.#owned.dispose();
  }
}

/** Launches per second of several contexts side by side, one figure for each of so many parts of the time. */
export function throughput(runs: readonly EngineRun[], durationMs: number, parts = 10): number[] {
  const rates: number[] = [];
  for (let part = 0; part < parts; part++) {
    const started = performance.now();
    let launches = 0;
    while (performance.now() - started < durationMs / parts) {
      for (const run of runs) run.push();
      launches += runs.length;
    }
    for (const run of runs) run.stream.synchronize();
    rates.push((launches * 1000) / (performance.now() - started));
  }
  return rates;
}

/** GPU milliseconds of whatever is enqueued, by events, one sample a call. */
export function gpuTimes(
  device: Device,
  stream: Stream,
  options: { readonly warmUp: number; readonly count: number },
  enqueue: () => void,
): number[] {
  using start = Event.create(device, { timing: true });
  using end = Event.create(device, { timing: true });
  using spin = new Spin(device, SPIN_US);
  const samples: number[] = [];
  for (let at = -options.warmUp; at < options.count; at++) {
    spin.enqueue({ stream });
    start.record({ stream });
    enqueue();
    end.record({ stream });
    end.synchronize();
    if (at >= 0) samples.push(end.elapsedMsSince(start));
  }
  return samples;
}
