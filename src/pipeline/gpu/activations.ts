/** @module Activations: memory of an engine's intermediate tensors, shared by contexts that never run side by side. */

import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import type { Engine } from "../../tensorrt/engine.ts";

/** Owns the memory once a context has asked for it. */
export class Activations implements Disposable {
  readonly #engine: Engine;
  readonly #device: Device;
  #memory: DeviceBuffer<"u8"> | undefined;

  constructor(engine: Engine, device: Device) {
    this.#engine = engine;
    this.#device = device;
  }

  /** As many bytes as any context of the engine needs, allocated by the first call. @throws {OutOfMemoryError} */
  get memory(): DeviceMemory {
    const bytes = Math.max(this.#engine.deviceMemoryBytes(), 1);
    this.#memory ??= DeviceBuffer.create("u8", [bytes], { device: this.#device });
    return this.#memory;
  }

  [Symbol.dispose](): void {
    this.#memory?.close();
  }
}
