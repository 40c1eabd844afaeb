/** @module A CPU backend that tells what its slots are given, and can be held up or made to fail. */

import type { Recognition } from "../../src/model/layout.ts";
import type { ModelInfo } from "../../src/model/model-info.ts";
import type { Selection } from "../../src/model/selection.ts";
import type { Backend, Slot } from "../../src/pipeline/backend.ts";
import { type BackendOptions, DEFAULT_BACKEND_OPTIONS } from "../../src/pipeline/backend.ts";
import { CpuBackend } from "../../src/pipeline/cpu/cpu-backend.ts";
import { toyDetector } from "./toy-detector.ts";

/** Runs for real, and keeps a list of the runs. */
export class WatchedBackend implements Backend {
  readonly kind = "cpu";
  /** Pictures of each run, in the order the runs began. */
  readonly runs: number[] = [];
  readonly selections: Selection[] = [];
  /** Runs that have begun and not ended. */
  running = 0;
  /** Thrown by every run instead of its result. */
  fault: Error | undefined;
  /** What slots wait for before a run of a shape that is new to them, as on a GPU. */
  preparing: ((images: number) => Promise<void> | undefined) | undefined;
  readonly #inner: CpuBackend;
  #gate: PromiseWithResolvers<void> | undefined;

  private constructor(inner: CpuBackend) {
    this.#inner = inner;
  }

  static async load(model: Uint8Array = toyDetector(), options: Partial<BackendOptions> = {}): Promise<WatchedBackend> {
    return new WatchedBackend(await CpuBackend.load(model, { ...DEFAULT_BACKEND_OPTIONS, threads: 1, ...options }));
  }

  get description(): string {
    return this.#inner.description;
  }
  get model(): ModelInfo {
    return this.#inner.model;
  }
  get recognition(): Recognition {
    return this.#inner.recognition;
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

  createSlot(): Slot {
    const slot: Slot = this.#inner.createSlot();
    const detect = slot.detect.bind(slot);
    slot.prepare = (images) => this.preparing?.(images);
    slot.detect = async (images, size, selection) => {
      this.runs.push(images.length);
      this.selections.push(selection);
      this.running += 1;
      try {
        await this.#gate?.promise;
        if (this.fault !== undefined) throw this.fault;
        return await detect(images, size, selection);
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
