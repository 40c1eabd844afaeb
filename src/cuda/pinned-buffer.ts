/** @module PinnedBuffer: page-locked host memory, seen from JS as a typed array with no copy in between. */

import { ArgumentError, BunTensorRtError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { bytesPerElement, type DType, type DTypeMap, formatShape, type Shape, viewOf, volume } from "../core/tensor.ts";
import type { DevicePtr, HostPtr } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { nativeView, OutCells } from "../ffi/memory.ts";
import { check, checkAllocation } from "./check.ts";
import type { Device } from "./device.ts";
import type { DeviceMemory } from "./device-buffer.ts";

const PORTABLE = 1;
const MAPPED = 2;
const WRITE_COMBINED = 4;

const out = new OutCells(1);

/** Which open buffer an ArrayBuffer belongs to. */
const owners = new WeakMap<ArrayBufferLike, PinnedBuffer>();

/** What {@linkcode PinnedBuffer.create} takes. */
export interface PinnedOptions {
  /**
   * `"copy"` (the default) is copied to and from; `"mapped"` kernels can also read and write in place;
   * `"upload"` is quicker to copy to the device and very slow to read from JS.
   */
  readonly use?: "copy" | "mapped" | "upload" | undefined;
}

/** What a buffer is made of. */
interface PinnedMemory {
  readonly pointer: HostPtr;
  /** Over the same memory. */
  readonly buffer: ArrayBuffer;
  readonly mapped: DevicePtr | undefined;
}

/**
 * Host memory that the GPU copies from and to at full speed and without the JS thread. It never moves.
 * `close()` detaches every view of it, so a stale one reads as empty.
 *
 * @example
 * ```ts
 * import { copyToDevice, Device, DeviceBuffer, Event, PinnedBuffer, Stream } from "bun-tensorrt/cuda";
 *
 * using device = Device.open();
 * using stream = Stream.create(device);
 * using pixels = PinnedBuffer.create("u8", [1080, 1920, 3], device);
 * using buffer = DeviceBuffer.create("u8", pixels.shape, { stream });
 * pixels.data.fill(128);
 * copyToDevice(buffer, pixels, { stream }); // returns at once
 * using copied = Event.create(device);
 * copied.record({ stream });
 * await copied.wait(); // from here on the pixels may change
 * ```
 */
export class PinnedBuffer<T extends DType = DType> extends Resource {
  readonly dtype: T;
  readonly shape: Shape;
  /** Number of elements. */
  readonly length: number;
  readonly byteLength: number;
  readonly #pointer: HostPtr;
  readonly #buffer: ArrayBuffer;
  readonly #data: DTypeMap[T];
  readonly #mapped: DeviceMemory | undefined;

  private constructor(dtype: T, shape: Shape, { pointer, buffer, mapped }: PinnedMemory, device: Device) {
    super(`PinnedBuffer ${dtype} ${formatShape(shape)}`, device);
    this.dtype = dtype;
    this.shape = shape;
    this.length = volume(shape);
    this.byteLength = this.length * bytesPerElement(dtype);
    this.#pointer = pointer;
    this.#buffer = buffer;
    this.#data = viewOf(dtype, buffer, 0, this.length);
    this.#mapped = mapped === undefined ? undefined : { pointer: mapped, byteLength: this.byteLength };
    owners.set(this.#buffer, this);
  }

  /**
   * The open buffer that a view lies in, `view.byteOffset` bytes from its start, so that it can be copied without
   * staging; `undefined` for other memory.
   */
  static owning(view: ArrayBufferView): PinnedBuffer | undefined {
    const owner = owners.get(view.buffer);
    return owner === undefined || owner.closed ? undefined : owner;
  }

  /**
   * Allocate page-locked memory, not zeroed. Slow (it waits for the device): do it once, not per frame.
   *
   * @param shape at least one element
   * @throws {ArgumentError} If the shape is dynamic or empty, or larger than an ArrayBuffer may be: 4 GiB in Bun 1.4
   * @throws {OutOfMemoryError} If the system locks no more memory
   */
  static create<T extends DType>(dtype: T, shape: Shape, device: Device, options: PinnedOptions = {}): PinnedBuffer<T> {
    const name = `page-locked ${dtype} ${formatShape(shape)}`;
    const byteLength = volume(shape) * bytesPerElement(dtype);
    if (byteLength === 0) throw new ArgumentError(message(`allocate ${name}`, "it must have at least one element"));
    device.assertOpen(`allocate ${name}`);
    device.makeCurrent();
    const { use = "copy" } = options;
    const flags = PORTABLE | (use === "mapped" ? MAPPED : 0) | (use === "upload" ? WRITE_COMBINED : 0);
    const runtime = cudaRuntime();
    const where = "page-locked host memory";
    checkAllocation(runtime.cudaHostAlloc(out.cells, byteLength, flags), "cudaHostAlloc", byteLength, where);
    const pointer = out.pointer() as HostPtr;
    using refused = new DisposableStack();
    refused.defer(() => check(runtime.cudaFreeHost(pointer), "cudaFreeHost"));
    const buffer = viewed(name, pointer, byteLength);
    let mapped: DevicePtr | undefined;
    if (use === "mapped") {
      check(runtime.cudaHostGetDevicePointer(out.cells, pointer, 0), "cudaHostGetDevicePointer");
      mapped = out.pointer() as DevicePtr;
    }
    refused.move();
    return new PinnedBuffer(dtype, shape, { pointer, buffer, mapped }, device);
  }

  /** Host address of the first byte. Borrowed: valid while the buffer is open. @throws {ClosedError} If it is closed */
  get pointer(): HostPtr {
    this.assertOpen("use page-locked memory");
    return this.#pointer;
  }

  /**
   * The memory itself, [length] elements. The GPU writes it behind JS's back: read it after the copy's event, and keep
   * no view beyond `close()`.
   *
   * @throws {ClosedError} If the buffer is closed
   */
  get data(): DTypeMap[T] {
    this.assertOpen("use page-locked memory");
    return this.#data;
  }

  /** The ArrayBuffer under `data`, for further views. @throws {ClosedError} If the buffer is closed */
  get buffer(): ArrayBuffer {
    this.assertOpen("use page-locked memory");
    return this.#buffer;
  }

  /** True if kernels can read and write it in place: it was made with `use: "mapped"`. */
  get isMapped(): boolean {
    return this.#mapped !== undefined;
  }

  /** The memory as kernels see it. @throws {BunTensorRtError} If it was not made with `use: "mapped"` */
  get mapped(): DeviceMemory {
    this.assertOpen("use page-locked memory");
    if (this.#mapped === undefined) {
      const hint = 'create it with { use: "mapped" }';
      throw new BunTensorRtError(message(`use ${this.label} in a kernel`, "it is not mapped for the device", hint));
    }
    return this.#mapped;
  }

  protected override release(): void {
    // Transferring detaches all views; what it moves to has no destructor, so the memory stays cudaFreeHost's to free.
    this.#buffer.transfer();
    check(cudaRuntime().cudaFreeHost(this.#pointer), "cudaFreeHost");
  }
}

/** @throws {ArgumentError} If there are more bytes than an ArrayBuffer may have */
function viewed(name: string, pointer: HostPtr, byteLength: number): ArrayBuffer {
  try {
    return nativeView(pointer, byteLength);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const text = message(`allocate ${name}`, `no ArrayBuffer may have ${byteLength} bytes`);
    throw new ArgumentError(text, { cause });
  }
}
