/** @module Grown buffers: memory that becomes larger when a larger image comes, and never smaller. */

import { grownLength } from "../core/units.ts";
import type { Device } from "./device.ts";
import { DeviceBuffer } from "./device-buffer.ts";
import { PinnedBuffer, type PinnedOptions } from "./pinned-buffer.ts";

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
