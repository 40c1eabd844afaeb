/**
 * @module Copy: moving and filling memory. Everything here enqueues on a stream and returns before the GPU has run,
 * except copies of ordinary arrays, which say so.
 */

import { ArgumentError, message } from "../core/errors.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { addressOf } from "../ffi/memory.ts";
import { shim } from "../ffi/shim.ts";
import { type DeviceMemory, PinnedBuffer } from "./buffers.ts";
import { check } from "./check.ts";
import type { OnStream, Stream } from "./stream.ts";

/** Values of `enum cudaMemcpyKind`. */
const HOST_TO_DEVICE = 1;
const DEVICE_TO_HOST = 2;
const DEVICE_TO_DEVICE = 3;

/** Which part of the memories is copied; without it, as much as the source holds. */
export interface CopyOptions extends OnStream {
  /** Default: all of the source, less its offset. */
  readonly byteLength?: number | undefined;
  /** Bytes before the part in the target and in the source, default 0. */
  readonly targetOffsetBytes?: number | undefined;
  readonly sourceOffsetBytes?: number | undefined;
}

/** A rectangle of bytes: rows of `widthBytes`, whose starts lie a pitch apart. */
export interface CopyRectangle {
  readonly widthBytes: number;
  /** Rows. */
  readonly height: number;
  readonly targetPitchBytes: number;
  readonly sourcePitchBytes: number;
  /** Bytes before the first row in the target and in the source, default 0. */
  readonly targetOffsetBytes?: number | undefined;
  readonly sourceOffsetBytes?: number | undefined;
}

/** Number of bytes to copy, checked against both ends. */
function copyLength(action: string, targetBytes: number, sourceBytes: number, options: CopyOptions): number {
  const targetOffset = options.targetOffsetBytes ?? 0;
  const sourceOffset = options.sourceOffsetBytes ?? 0;
  const byteLength = options.byteLength ?? sourceBytes - sourceOffset;
  const fits =
    targetOffset >= 0 &&
    sourceOffset >= 0 &&
    byteLength >= 0 &&
    sourceOffset + byteLength <= sourceBytes &&
    targetOffset + byteLength <= targetBytes;
  if (!fits) {
    const from = `bytes ${sourceOffset} to ${sourceOffset + byteLength} of ${sourceBytes}`;
    const to = `bytes ${targetOffset} to ${targetOffset + byteLength} of ${targetBytes}`;
    throw new ArgumentError(message(action, `${from} do not fit into ${to}`, "check byteLength and the offsets"));
  }
  return byteLength;
}

/**
 * Where a part of host memory is, for a native call.
 *
 * @throws {ArgumentError} If an ordinary array is captured: every replay would read it, when JS may have moved or freed it
 */
function hostPart(
  memory: PinnedBuffer | ArrayBufferView,
  offset: number,
  byteLength: number,
  stream: Stream,
): number | Uint8Array {
  if (memory instanceof PinnedBuffer) return memory.pointer + offset;
  if (stream.isCapturing) {
    const hint = "copy from and to a PinnedBuffer inside a capture";
    throw new ArgumentError(message("capture a copy of an ordinary array", "its memory may move", hint));
  }
  return new Uint8Array(memory.buffer, memory.byteOffset + offset, byteLength);
}

/**
 * Copy from the host to the device.
 *
 * From a {@linkcode PinnedBuffer} it only enqueues: leave the source alone until the copy has run. From an ordinary
 * array it waits for the stream's earlier work and returns once the array may be changed again.
 *
 * @throws {ArgumentError} If the part does not fit
 * @throws {ArgumentError} If an ordinary array is copied inside a graph capture
 */
export function copyToDevice(target: DeviceMemory, source: PinnedBuffer | ArrayBufferView, options: CopyOptions): void {
  const byteLength = copyLength("copy to the device", target.byteLength, source.byteLength, options);
  if (byteLength === 0) return;
  const { stream } = options;
  const from = hostPart(source, options.sourceOffsetBytes ?? 0, byteLength, stream);
  const to = target.pointer + (options.targetOffsetBytes ?? 0);
  check(cudaRuntime().cudaMemcpyAsync(to, from, byteLength, HOST_TO_DEVICE, stream.handle), "cudaMemcpyAsync");
}

/**
 * Copy from the device to the host.
 *
 * Into a {@linkcode PinnedBuffer} it only enqueues: read the target after an event recorded behind the copy. Into an
 * ordinary array it blocks until the copy, and all earlier work of the stream, is done.
 *
 * @throws {ArgumentError} If the part does not fit
 * @throws {ArgumentError} If an ordinary array is copied inside a graph capture
 */
export function copyToHost(target: PinnedBuffer | ArrayBufferView, source: DeviceMemory, options: CopyOptions): void {
  const byteLength = copyLength("copy to the host", target.byteLength, source.byteLength, options);
  if (byteLength === 0) return;
  const { stream } = options;
  const to = hostPart(target, options.targetOffsetBytes ?? 0, byteLength, stream);
  const from = source.pointer + (options.sourceOffsetBytes ?? 0);
  check(cudaRuntime().cudaMemcpyAsync(to, from, byteLength, DEVICE_TO_HOST, stream.handle), "cudaMemcpyAsync");
  if (!(target instanceof PinnedBuffer)) stream.synchronize();
}

/** Enqueue a copy from device memory to device memory; the parts must not overlap. @throws {ArgumentError} If it does not fit */
export function copyOnDevice(target: DeviceMemory, source: DeviceMemory, options: CopyOptions): void {
  const byteLength = copyLength("copy on the device", target.byteLength, source.byteLength, options);
  if (byteLength === 0) return;
  const to = target.pointer + (options.targetOffsetBytes ?? 0);
  const from = source.pointer + (options.sourceOffsetBytes ?? 0);
  const { handle } = options.stream;
  check(cudaRuntime().cudaMemcpyAsync(to, from, byteLength, DEVICE_TO_DEVICE, handle), "cudaMemcpyAsync");
}

/** Memory on either side. */
type Memory = Pick<DeviceMemory | PinnedBuffer, "pointer" | "byteLength">;

/** @throws {ArgumentError} If a rectangle does not fit into memories of so many bytes */
function assertFits(targetBytes: number, sourceBytes: number, rectangle: CopyRectangle): void {
  const { widthBytes, height, targetPitchBytes, sourcePitchBytes } = rectangle;
  const { targetOffsetBytes = 0, sourceOffsetBytes = 0 } = rectangle;
  const target = targetOffsetBytes + targetPitchBytes * (height - 1) + widthBytes;
  const source = sourceOffsetBytes + sourcePitchBytes * (height - 1) + widthBytes;
  const isNarrow = widthBytes > targetPitchBytes || widthBytes > sourcePitchBytes;
  const isBefore = targetOffsetBytes < 0 || sourceOffsetBytes < 0;
  if (!isNarrow && !isBefore && target <= targetBytes && source <= sourceBytes) return;
  const needs = `${height} rows of ${widthBytes} bytes, ${sourcePitchBytes} apart into ${targetPitchBytes} apart`;
  const found = `${needs} do not fit, from ${sourceBytes} into ${targetBytes} bytes`;
  throw new ArgumentError(message("copy a rectangle", found, "check the pitches and offsets"));
}

function copyRectangle(to: Memory, from: Memory, rectangle: CopyRectangle, kind: number, { stream }: OnStream): void {
  assertFits(to.byteLength, from.byteLength, rectangle);
  const { widthBytes, height, targetPitchBytes, sourcePitchBytes } = rectangle;
  const targetAt = to.pointer + (rectangle.targetOffsetBytes ?? 0);
  const sourceAt = from.pointer + (rectangle.sourceOffsetBytes ?? 0);
  const { cudaMemcpy2DAsync } = cudaRuntime();
  check(
    cudaMemcpy2DAsync(targetAt, targetPitchBytes, sourceAt, sourcePitchBytes, widthBytes, height, kind, stream.handle),
    "cudaMemcpy2DAsync",
  );
}

/** Enqueue a copy of a rectangle to the device, pitch by pitch. @throws {ArgumentError} If it does not fit */
export function copyRectangleToDevice(
  target: DeviceMemory,
  source: PinnedBuffer,
  rectangle: CopyRectangle,
  options: OnStream,
): void {
  copyRectangle(target, source, rectangle, HOST_TO_DEVICE, options);
}

/** Enqueue a copy of a rectangle to the host. @throws {ArgumentError} If it does not fit */
export function copyRectangleToHost(
  target: PinnedBuffer,
  source: DeviceMemory,
  rectangle: CopyRectangle,
  options: OnStream,
): void {
  copyRectangle(target, source, rectangle, DEVICE_TO_HOST, options);
}

/** Enqueue a copy of a rectangle from device memory to device memory. @throws {ArgumentError} If it does not fit */
export function copyRectangleOnDevice(
  target: DeviceMemory,
  source: DeviceMemory,
  rectangle: CopyRectangle,
  options: OnStream,
): void {
  copyRectangle(target, source, rectangle, DEVICE_TO_DEVICE, options);
}

/** Enqueue setting every byte of device memory. @param byte 0 to 255 */
export function fill(target: DeviceMemory, byte: number, options: OnStream): void {
  const { handle } = options.stream;
  check(cudaRuntime().cudaMemsetAsync(target.pointer, byte, target.byteLength, handle), "cudaMemsetAsync");
}

/** Enqueue setting every byte of a rectangle of device memory. @throws {ArgumentError} If it does not fit */
export function fillRectangle(
  target: DeviceMemory,
  byte: number,
  rectangle: Pick<CopyRectangle, "widthBytes" | "height" | "targetPitchBytes">,
  options: OnStream,
): void {
  const { widthBytes, height, targetPitchBytes } = rectangle;
  if (widthBytes > targetPitchBytes || targetPitchBytes * (height - 1) + widthBytes > target.byteLength) {
    const found = `${height} rows of ${widthBytes} bytes, ${targetPitchBytes} apart, do not fit`;
    throw new ArgumentError(message("fill a rectangle", `${found} into ${target.byteLength} bytes`, "check the pitch"));
  }
  check(
    cudaRuntime().cudaMemset2DAsync(target.pointer, targetPitchBytes, byte, widthBytes, height, options.stream.handle),
    "cudaMemset2DAsync",
  );
}

/**
 * Copy bytes from one place in host memory to another, as `target.set(source)` does, by up to four threads: one core alone
 * moves a part of what the memory can. Blocks until it is done.
 *
 * @param target     u8; may not overlap with `source`
 * @param source     u8
 * @param byteLength how much, from the start of each
 * @throws {ArgumentError} If one of them is shorter
 * @throws {LibraryLoadError} If the package has no shim for this platform
 */
export function copyHost(target: Uint8Array, source: Uint8Array, byteLength: number): void {
  if (byteLength > target.length || byteLength > source.length) {
    const found = `both must have room for ${byteLength} bytes, got ${target.length} and ${source.length}`;
    throw new ArgumentError(message("copy in host memory", found));
  }
  // Its only refusals are null and negative arguments, which the check above leaves no room for.
  if (byteLength > 0 && shim().bt_copy(target, source, byteLength) !== 0) {
    throw new ArgumentError(message("copy in host memory", `bt_copy refuses ${byteLength} bytes`));
  }
}

/**
 * Copy a rectangle of bytes from one place in host memory to another, as {@linkcode copyHost} copies bytes. What lies between the
 * rows is neither read nor written.
 *
 * @throws {ArgumentError} If it does not fit into one of them
 * @throws {LibraryLoadError} If the package has no shim for this platform
 */
export function copyHostRectangle(target: Uint8Array, source: Uint8Array, rectangle: CopyRectangle): void {
  assertFits(target.length, source.length, rectangle);
  const { widthBytes, height, targetPitchBytes, sourcePitchBytes } = rectangle;
  const to = addressOf(target) + (rectangle.targetOffsetBytes ?? 0);
  const from = addressOf(source) + (rectangle.sourceOffsetBytes ?? 0);
  if (shim().bt_copy_rows(to, targetPitchBytes, from, sourcePitchBytes, widthBytes, height) !== 0) {
    throw new ArgumentError(
      message("copy in host memory", `bt_copy_rows refuses ${height} rows of ${widthBytes} bytes`),
    );
  }
}
