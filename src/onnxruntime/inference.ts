/** @module Inference: a prepared run, for the hot path: same inputs, same shapes, frame after frame. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import type { Tensor } from "../core/tensor.ts";
import { type BindingParts, RunBinding } from "./run-binding.ts";

/** Options of one run. */
export interface InferenceRunOptions {
  /** Ends the run between two operators; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * A run that was prepared once: names, values and pointers are in place, so a frame costs no allocation beyond its
 * promise. Made by `Session.prepare`, which stays open for as long.
 */
export class Inference extends Resource {
  /** Write the next frame into these before `run`; their arrays must stay where they are. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly #binding: RunBinding;

  /** @internal */
  constructor(parts: BindingParts, session: Resource) {
    super(`Inference of ${parts.label}`, session);
    try {
      this.#binding = new RunBinding(parts);
    } catch (error) {
      this.close();
      throw error;
    }
    this.inputs = new Map(parts.inputs.map(({ info, tensor }) => [info.name, tensor]));
  }

  /**
   * Run the model on what the inputs hold, on a worker thread. One call at a time.
   *
   * @returns the outputs by name, valid until the next `run` or `close`: the same map each time
   * @throws {OnnxRuntimeError} If the run fails
   * @throws {ClosedError} If it is closed, or was closed while running
   * @throws {BunTensorRtError} If it is still running
   */
  async run(options?: InferenceRunOptions): Promise<ReadonlyMap<string, Tensor>> {
    this.assertOpen("run the model");
    if (this.#binding.isRunning) {
      throw new BunTensorRtError(
        message(
          "run the model",
          `the last run has not settled yet: ${this.label}`,
          "await it, or prepare a second inference of the same session",
        ),
      );
    }
    await this.#binding.run(options?.signal);
    return this.#binding.outputs.tensors;
  }

  /** End the run in flight, if there is one, between two operators; those of a `Loop` too. It rejects then. */
  interrupt(): void {
    this.#binding.interrupt();
  }

  /** A run in flight is told to end and rejects; its memory is freed once it has. */
  protected release(): void {
    this.#binding?.dispose();
  }
}
