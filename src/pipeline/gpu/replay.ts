/** @module Replay: work on a stream that is enqueued piece by piece the first time, and replayed as one graph from then on. */

import { NativeError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Graph, type GraphExec } from "../../cuda/graph.ts";
import type { OnStream } from "../../cuda/stream.ts";

/** The work of one shape, and its graph once there is one, which it owns. */
export class Replay implements Disposable {
  readonly #label: string;
  readonly #pieces: (on: OnStream) => void;
  readonly #setup: OnStream;
  #graph: GraphExec | undefined;
  #isRefused = false;

  /**
   * @param label  for messages
   * @param pieces enqueues the work: the same kernels and addresses each time
   * @param setup  what a graph is captured from: no other work may come to it meanwhile
   */
  constructor(label: string, pieces: (on: OnStream) => void, setup: OnStream) {
    this.#label = label;
    this.#pieces = pieces;
    this.#setup = setup;
  }

  /** True once the work is replayed as a graph. */
  get isGraph(): boolean {
    return this.#graph !== undefined;
  }

  /** Enqueue the work. */
  enqueue(on: OnStream): void {
    if (this.#graph !== undefined) this.#graph.launch(on);
    else this.#pieces(on);
  }

  /**
   * Capture the work, once it has run, which lets TensorRT prepare; later calls do nothing. Where it cannot be captured, it
   * goes on being enqueued piece by piece, with a line in the log.
   */
  capture(): void {
    if (this.#graph !== undefined || this.#isRefused) return;
    try {
      using graph = Graph.capture(this.#label, () => this.#pieces(this.#setup), this.#setup);
      using owned = new DisposableStack();
      const executable = owned.use(graph.instantiate());
      executable.upload(this.#setup);
      this.#setup.stream.synchronize();
      owned.move();
      this.#graph = executable;
    } catch (error) {
      // CUDA's own, or TensorRT's where a layer does what no capture takes, such as waiting for the device.
      if (!(error instanceof NativeError)) throw error;
      this.#isRefused = true;
      logger.warn(`${this.#label} runs without a CUDA graph: ${error.message}`);
    }
  }

  /** Forget the graph, as addresses have changed. It may not be running. */
  reset(): void {
    const graph = this.#graph;
    this.#graph = undefined;
    graph?.close();
  }

  [Symbol.dispose](): void {
    this.reset();
  }
}
