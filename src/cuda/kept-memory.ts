/**
 * @module KeptMemory: memory that is kept from batch to batch: buffers that become larger when a larger image comes, and never smaller,
 * and small tables that kernels read.
 */

import { Owner } from "../core/resource.ts";
import type { DType, DTypeMap } from "../core/tensor.ts";
import { grownLength } from "../core/units.ts";
import { DeviceBuffer, PinnedBuffer, type PinnedOptions } from "./buffers.ts";
import { copyToDevice } from "./copy.ts";
import type { Device } from "./device.ts";
import { type OnStream, Stream } from "./stream.ts";

/** True if there is no buffer with so many bytes. */
function isShort(buffer: DeviceBuffer | PinnedBuffer | undefined, byteLength: number): boolean {
  return buffer === undefined || buffer.closed || buffer.byteLength < byteLength;
}

/**
 * The buffer itself where it has room, else a larger one; the former is closed then, and what it held is lost. Nothing may
 * be using it. A closed one is as good as none, so that a caller may keep it where this throws.
 *
 * @returns at least `byteLength` bytes; its owner is whoever asked
 * @throws {OutOfMemoryError} If the device has not that much left
 */
export function grownDeviceBuffer(
  buffer: DeviceBuffer<"u8"> | undefined,
  byteLength: number,
  device: Device,
): DeviceBuffer<"u8"> {
  if (!isShort(buffer, byteLength)) return buffer!;
  buffer?.close();
  return DeviceBuffer.create("u8", [grownLength(byteLength)], { device });
}

/** As {@linkcode grownDeviceBuffer}, in page-locked host memory. */
export function grownPinnedBuffer(
  buffer: PinnedBuffer<"u8"> | undefined,
  byteLength: number,
  device: Device,
  options: PinnedOptions = {},
): PinnedBuffer<"u8"> {
  if (!isShort(buffer, byteLength)) return buffer!;
  buffer?.close();
  return PinnedBuffer.create("u8", [grownLength(byteLength)], device, options);
}

/** A table on the device that never changes. */
export function deviceTable<T extends DType>(dtype: T, data: DTypeMap[T], device: Device): DeviceBuffer<T> {
  using owned = new DisposableStack();
  const table = owned.use(DeviceBuffer.create(dtype, [data.length], { device }));
  using stream = Stream.create(device);
  copyToDevice(table, data, { stream });
  stream.synchronize();
  owned.move();
  return table;
}

/** A table that is written on the host from batch to batch, and copied to the device before kernels read it. */
export class ChangingTable extends Owner {
  /** The table on the device; it stays where it is. */
  readonly device: DeviceBuffer<"u8">;
  readonly #host: PinnedBuffer<"u8">;
  readonly #words: Int32Array;
  /** What was copied last. */
  readonly #copied: Int32Array;
  #isCopied = false;

  /** @param byteLength a multiple of 4; all of it is 0 at first */
  constructor(byteLength: number, device: Device) {
    super(`ChangingTable of ${byteLength} B`, device);
    try {
      this.#host = this.owned.use(PinnedBuffer.create("u8", [byteLength], device));
      this.device = this.owned.use(DeviceBuffer.create("u8", [byteLength], { device }));
    } catch (error) {
      this.close();
      throw error;
    }
    this.#host.data.fill(0);
    this.#words = new Int32Array(this.#host.buffer, 0, byteLength / 4);
    this.#copied = new Int32Array(byteLength / 4);
  }

  /** Write the table here; it must not change between a copy and the end of the batch. */
  get buffer(): ArrayBuffer {
    return this.#host.buffer;
  }

  /** Enqueue the copy to the device. */
  enqueueCopy(on: OnStream): void {
    this.#isCopied = false;
    copyToDevice(this.device, this.#host, on);
  }

  /** Enqueue the copy to the device if something has changed since it was made last. No part of a graph. */
  update(on: OnStream): void {
    if (this.#isCopied && this.#isUnchanged()) return;
    this.enqueueCopy(on);
    this.#copied.set(this.#words);
    this.#isCopied = true;
  }

  #isUnchanged(): boolean {
    const words = this.#words;
    const copied = this.#copied;
    for (let at = 0; at < words.length; at++) {
      if (words[at] !== copied[at]) return false;
    }
    return true;
  }
}
