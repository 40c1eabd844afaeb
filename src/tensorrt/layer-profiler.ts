/** @module LayerProfiler: how long each layer of an engine takes. */

import { Resource } from "../core/resource.ts";
import { shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import type { ExecutionContext } from "./engine.ts";
import { Ring } from "./log-ring.ts";

/** Times of one layer over the inferences that were profiled. */
export interface LayerTime {
  readonly name: string;
  readonly count: number;
  readonly totalMs: number;
  readonly meanMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}

const CAPACITY_BYTES = 1024 * 1024;

/** A profiler of one context. While it is attached, TensorRT runs the layers one after the other: the sum is too long. */
export class LayerProfiler extends Resource {
  readonly #context: ExecutionContext;
  readonly #ring = new Ring(CAPACITY_BYTES);
  readonly #handle: number;
  readonly #times = new Map<string, { count: number; totalMs: number; minMs: number; maxMs: number }>();

  private constructor(context: ExecutionContext) {
    super(`LayerProfiler of ${context.engine.source}`, context);
    this.#context = context;
    // IProfiler has another object layout since TensorRT 11.
    const layout = context.library.isStronglyTyped ? 11 : 10;
    this.#handle = shim().bt_profiler_create(layout, this.#ring.handle)!;
  }

  /** Attach a profiler; every enqueue from now on is measured, until it is closed. */
  static create(context: ExecutionContext): LayerProfiler {
    const profiler = new LayerProfiler(context);
    context.setProfiler(profiler.#handle);
    return profiler;
  }

  /** Take over what was measured. Call it at least every hundred inferences: the queue is bounded. */
  collect(): void {
    this.assertOpen("collect layer times");
    this.#ring.drain((record) => {
      if (record.kind !== SHIM_CONSTANTS.BT_RECORD_LAYER) return;
      const time = this.#times.get(record.text) ?? { count: 0, totalMs: 0, minMs: Number.POSITIVE_INFINITY, maxMs: 0 };
      time.count += 1;
      time.totalMs += record.value;
      time.minMs = Math.min(time.minMs, record.value);
      time.maxMs = Math.max(time.maxMs, record.value);
      this.#times.set(record.text, time);
    });
  }

  /** All layers in the order they ran, with what has been collected. */
  layers(): LayerTime[] {
    this.collect();
    return [...this.#times].map(([name, time]) => ({ name, ...time, meanMs: time.totalMs / time.count }));
  }

  /** Forget what was collected, after a warm-up. */
  reset(): void {
    this.collect();
    this.#times.clear();
  }

  protected override release(): void {
    this.#context.setProfiler(0);
    this.#context.retire(() => {
      shim().bt_observer_destroy(this.#handle);
      this.#ring.destroy();
    });
  }
}
