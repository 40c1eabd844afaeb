/** @module PinnedFrames: frames in page-locked memory, from where a GPU copies them without staging. */

import { Resource } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import { PinnedBuffer } from "../cuda/pinned-buffer.ts";

/** Owns the buffers of one source's frames: close it after the source, and after the detector that was fed from it. */
export class PinnedFrames extends Resource {
  readonly #device: Device;
  readonly #buffers: PinnedBuffer<"u8">[] = [];

  constructor(device: Device) {
    super("PinnedFrames", device);
    this.#device = device;
  }

  /** For the option `allocate` of a video. @throws {OutOfMemoryError} If the system locks no more memory */
  allocate(byteLength: number): Uint8Array {
    this.assertOpen("allocate a frame");
    const buffer = PinnedBuffer.create("u8", [byteLength], this.#device);
    this.#buffers.push(buffer);
    return buffer.data;
  }

  protected override release(): void {
    for (const buffer of this.#buffers) buffer.close();
  }
}
