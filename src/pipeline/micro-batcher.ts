/** @module MicroBatcher: frames of any callers, joined to runs of as many pictures as the model takes. */

import type { ImageSource } from "../image/source.ts";
import { BatchGroup, type BatchingOptions } from "./batch-group.ts";
import type { Frame } from "./frame.ts";
import type { Pipeline } from "./pipeline.ts";

/**
 * The way into a pipeline, one frame at a time. Frames that overlap share a run where their parameters are the same;
 * with a batch of 1 each has its own. Those with the same parameters run in the order they came.
 */
export class MicroBatcher<Params, Output, T> {
  readonly #pipeline: Pipeline<unknown, Params, Output>;
  readonly #options: BatchingOptions<Output, T>;
  /** Idle ones stay until others are asked for. */
  #groups: BatchGroup<Params, Output, T>[] = [];

  constructor(pipeline: Pipeline<unknown, Params, Output>, options: BatchingOptions<Output, T>) {
    this.#pipeline = pipeline;
    this.#options = options;
  }

  /**
   * Put a picture in line.
   *
   * @param source decoded pixels must not change until the frame has settled
   * @param signal fails this frame alone when it is aborted
   * @throws the signal's reason, if it has been aborted already
   */
  submit(source: ImageSource, params: Params, signal?: AbortSignal): Frame<T, Output> {
    signal?.throwIfAborted();
    return this.#groupOf(params).add(source, signal);
  }

  /** Let no frame wait for others any longer. */
  flush(): void {
    for (const group of this.#groups) group.flush();
  }

  #groupOf(params: Params): BatchGroup<Params, Output, T> {
    const { task } = this.#pipeline;
    for (const group of this.#groups) if (task.sameParams(group.params, params)) return group;
    this.#groups = this.#groups.filter((group) => !group.isIdle);
    const group = new BatchGroup<Params, Output, T>(this.#pipeline, params, this.#options);
    this.#groups.push(group);
    return group;
  }
}
