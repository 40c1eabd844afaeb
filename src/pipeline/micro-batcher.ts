/** @module MicroBatcher: frames of any callers, joined to runs of as many pictures as the model takes. */

import type { ImageSource } from "../image/source.ts";
import { type Selection, sameSelection } from "../model/selection.ts";
import { BatchGroup, type BatchingOptions } from "./batch-group.ts";
import type { Frame } from "./frame.ts";
import type { Pipeline } from "./pipeline.ts";

/**
 * The way into a pipeline, one frame at a time. Frames that overlap share a run where their selections keep the same rows;
 * with a batch of 1 each has its own. Those of one selection run in the order they came.
 */
export class MicroBatcher<T> {
  readonly #pipeline: Pipeline;
  readonly #options: BatchingOptions<T>;
  /** Idle ones stay until a further selection comes. */
  #groups: BatchGroup<T>[] = [];

  constructor(pipeline: Pipeline, options: BatchingOptions<T>) {
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
  submit(source: ImageSource, selection: Selection, signal?: AbortSignal): Frame<T> {
    signal?.throwIfAborted();
    return this.#groupOf(selection).add(source, signal);
  }

  /** Let no frame wait for others any longer. */
  flush(): void {
    for (const group of this.#groups) group.flush();
  }

  #groupOf(selection: Selection): BatchGroup<T> {
    for (const group of this.#groups) if (sameSelection(group.selection, selection)) return group;
    this.#groups = this.#groups.filter((group) => !group.isIdle);
    const group = new BatchGroup<T>(this.#pipeline, selection, this.#options);
    this.#groups.push(group);
    return group;
  }
}
