/** @module A CPU backend that tells what its slots are given, and can be held up or made to fail. */

import type { ModelInfo } from "../../src/model/model-info.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import {
  type BackendOptions,
  DEFAULT_BACKEND_OPTIONS,
  type DetectBackend,
  type DetectCpuBackend,
  type DetectSlot,
  loadCpu,
} from "./backends.ts";
import { toyDetector } from "./toy-detector.ts";

/** Runs for real, and keeps a list of the runs. */
export class WatchedBackend implements DetectBackend {
  readonly kind = "cpu";
  /** Images of each run, in the order the runs began. */
  readonly runs: number[] = [];
  readonly selections: NmsOptions[] = [];
  /** Runs that have begun and not ended. */
  running = 0;
  /** Thrown by every run instead of its result. */
  fault: Error | undefined;
  /** What slots wait for before a run of a shape that is new to them, as on a GPU. */
  preparing: ((images: number) => Promise<void> | undefined) | undefined;
  readonly #inner: DetectCpuBackend;
  #gate: PromiseWithResolvers<void> | undefined;

  private constructor(inner: DetectCpuBackend) {
    this.#inner = inner;
  }

  static async load(model: Uint8Array = toyDetector(), options: Partial<BackendOptions> = {}): Promise<WatchedBackend> {
    return new WatchedBackend(await loadCpu(model, { ...DEFAULT_BACKEND_OPTIONS, threads: 1, ...options }));
  }

  get description(): string {
    return this.#inner.description;
  }
  get model(): ModelInfo {
    return this.#inner.model;
  }
  get task(): DetectBackend["task"] {
    return this.#inner.task;
  }
  get maxBatch(): number {
    return this.#inner.maxBatch;
  }
  get inFlight(): number {
    return this.#inner.inFlight;
  }

  /** Let no run go on from now. */
  hold(): void {
    this.#gate ??= Promise.withResolvers();
  }

  /** Let those go on that were held. */
  letGo(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  createSlot(): DetectSlot {
    const slot: DetectSlot = this.#inner.createSlot();
    const run = slot.run.bind(slot);
    slot.prepare = (images) => this.preparing?.(images.length);
    slot.run = async (images, size, selection) => {
      this.runs.push(images.length);
      this.selections.push(selection);
      this.running += 1;
      try {
        await this.#gate?.promise;
        if (this.fault !== undefined) throw this.fault;
        return await run(images, size, selection);
      } finally {
        this.running -= 1;
      }
    };
    return slot;
  }

  close(): void {
    this.#inner.close();
  }
}
