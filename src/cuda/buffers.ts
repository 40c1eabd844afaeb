/**
 * @module Buffers: owned, typed and shaped memory: of a device, and page-locked on the host, seen from JS as a typed array with no copy in
 * between.
 */

import { ArgumentError, BunTensorRtError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import {
  bytesPerElement,
  type DType,
  type DTypeMap,
  formatShape,
  type Shape,
  vectorVolume,
  viewOf,
  volume,
} from "../core/tensor.ts";
import type { DevicePtr, HostPtr } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { nativeView, OutCells } from "../ffi/memory.ts";
import { check, checkAllocation } from "./check.ts";
import type { Device, PoolView } from "./device.ts";
import type { Stream } from "./stream.ts";

/** Sizes are rounded up to this, so that a kernel's widest access never crosses the end. */
const GRANULE_BYTES = 16;

const out = new OutCells(1);

/** Where a buffer's memory comes from: a stream's pool, in stream order, or the device itself. */
export type BufferSource =
  | {
      /** Orders the allocation and the free: use the memory on this stream, or on one that waits for it. */
      readonly stream: Stream;
      /** Default: the device's own pool. */
      readonly pool?: PoolView;
    }
  | {
      /** Allocate at once, for every stream; the free waits for the whole device. For what lives long. */
      readonly device: Device;
    };

/** Device memory that is freed by `close()`: on the stream it was made on, in stream order, or at once. */
export class DeviceBuffer<T extends DType = DType> extends Resource implements DeviceMemory {
  readonly dtype: T;
  readonly shape: Shape;
  readonly vector: number;
  /** Number of elements, and of those that fill the last vector of channels. */
  readonly length: number;
  readonly byteLength: number;
  readonly #pointer: DevicePtr;
  readonly #device: Device;
  readonly #stream: Stream | undefined;

  private constructor(
    dtype: T,
    shape: Shape,
    pointer: DevicePtr,
    owner: Device | Stream,
    {
      device,
      stream,
      vector,
    }: { readonly device: Device; readonly stream: Stream | undefined; readonly vector: number },
  ) {
    super(`DeviceBuffer ${dtype} ${formatShape(shape)}`, owner);
    this.dtype = dtype;
    this.shape = shape;
    this.vector = vector;
    this.length = vectorVolume(shape, vector);
    this.byteLength = this.length * bytesPerElement(dtype);
    this.#pointer = pointer;
    this.#device = device;
    this.#stream = stream;
  }

  /**
   * Allocate device memory, not zeroed.
   *
   * With `{ stream }` the memory comes from the pool in stream order and `close()` gives it back in stream order:
   * neither waits for the GPU. The buffer holds the stream open. Where the device has no pools, it is as with `{ device }`.
   *
   * @param shape  at least one element
   * @param vector channels side by side, default 1: row-major; see {@linkcode TypedDeviceMemory.vector}
   * @throws {ArgumentError} If the shape is dynamic or empty
   * @throws {OutOfMemoryError} If the device has not that much left
   */
  static create<T extends DType>(dtype: T, shape: Shape, source: BufferSource, vector = 1): DeviceBuffer<T> {
    const name = `${dtype} ${formatShape(shape)}`;
    const byteLength = vectorVolume(shape, vector) * bytesPerElement(dtype);
    if (byteLength === 0) throw new ArgumentError(message(`allocate ${name}`, "it must have at least one element"));
    const granted = Math.ceil(byteLength / GRANULE_BYTES) * GRANULE_BYTES;
    if (!("stream" in source)) {
      return DeviceBuffer.#onDevice(dtype, shape, granted, source.device, source.device, vector);
    }
    const { stream, pool } = source;
    stream.assertOpen(`allocate ${name}`);
    if (stream.device.pool === undefined) {
      return DeviceBuffer.#onDevice(dtype, shape, granted, stream.device, stream, vector);
    }
    const where = stream.device.label;
    if (pool === undefined) {
      const status = cudaRuntime().cudaMallocAsync(out.cells, granted, stream.handle);
      checkAllocation(status, "cudaMallocAsync", granted, where);
    } else {
      const status = cudaRuntime().cudaMallocFromPoolAsync(out.cells, granted, pool.handle, stream.handle);
      checkAllocation(status, "cudaMallocFromPoolAsync", granted, where);
    }
    return new DeviceBuffer(dtype, shape, out.pointer() as DevicePtr, stream, {
      device: stream.device,
      stream,
      vector,
    });
  }

  static #onDevice<T extends DType>(
    dtype: T,
    shape: Shape,
    granted: number,
    device: Device,
    owner: Device | Stream,
    vector: number,
  ): DeviceBuffer<T> {
    owner.assertOpen(`allocate ${dtype} ${formatShape(shape)}`);
    device.makeCurrent();
    checkAllocation(cudaRuntime().cudaMalloc(out.cells, granted), "cudaMalloc", granted, device.label);
    return new DeviceBuffer(dtype, shape, out.pointer() as DevicePtr, owner, { device, stream: undefined, vector });
  }

  /** Address of the first byte. Borrowed: valid while the buffer is open. @throws {ClosedError} If it is closed */
  get pointer(): DevicePtr {
    this.assertOpen("use device memory");
    return this.#pointer;
  }

  /**
   * A part of the buffer under a shape of its own. Copies nothing and owns nothing.
   *
   * @param shape  of the part
   * @param offset elements before it, default 0
   * @throws {ArgumentError} If the part reaches beyond the buffer
   */
  view(shape: Shape, offset = 0): BufferView<T> {
    return BufferView.of(this, shape, offset);
  }

  /** Free the memory, on the stream it was made on where there is one: work enqueued there before still runs. */
  protected override release(): void {
    const stream = this.#stream;
    if (stream !== undefined) {
      check(cudaRuntime().cudaFreeAsync(this.#pointer, stream.handle), "cudaFreeAsync");
      return;
    }
    // Another device may be current by now.
    this.#device.makeCurrent();
    check(cudaRuntime().cudaFree(this.#pointer), "cudaFree");
  }
}

/** Device memory, whoever owns it: what copies and kernels take. */
export interface DeviceMemory {
  /** Address of the first byte. */
  readonly pointer: DevicePtr;
  readonly byteLength: number;
}

/** Typed device memory, whoever owns it. */
export interface TypedDeviceMemory<T extends DType = DType> extends DeviceMemory {
  readonly dtype: T;
  readonly shape: Shape;
  /**
   * Channels side by side: of [N, C, H, W] the element (n, c, cell) lies at
   * `n · ⌈C / vector⌉ · vector · H · W + (⌊c / vector⌋ · H · W + cell) · vector + c mod vector`. Left out it is 1: row-major.
   */
  readonly vector?: number;
  /** Number of elements, and of those that fill the last vector of channels. */
  readonly length: number;
}

/** A part of memory that someone else owns and frees: there is no `close`. */
export class BufferView<T extends DType = DType> implements TypedDeviceMemory<T> {
  readonly dtype: T;
  readonly shape: Shape;
  readonly length: number;
  readonly byteLength: number;
  readonly #source: DeviceMemory;
  readonly #offsetBytes: number;

  private constructor(dtype: T, shape: Shape, source: DeviceMemory, offsetBytes: number) {
    this.dtype = dtype;
    this.shape = shape;
    this.length = volume(shape);
    this.byteLength = this.length * bytesPerElement(dtype);
    this.#source = source;
    this.#offsetBytes = offsetBytes;
  }

  /**
   * A part of typed memory. Keeps the source referenced, so the owner's `close()` is seen.
   *
   * @param offset elements before it
   * @throws {ArgumentError} If it reaches beyond the source
   */
  static of<T extends DType>(source: TypedDeviceMemory<T>, shape: Shape, offset = 0): BufferView<T> {
    const end = offset + volume(shape);
    if (!Number.isInteger(offset) || offset < 0 || end > source.length) {
      const found = `elements ${offset} to ${end} of ${source.dtype} are asked for, and the memory has ${source.length}`;
      throw new ArgumentError(message(`view a part ${formatShape(shape)} of device memory`, found));
    }
    return new BufferView(source.dtype, shape, source, offset * bytesPerElement(source.dtype));
  }

  /**
   * Memory of another library, such as a decoder's output. The caller makes sure that it outlives the view.
   *
   * @param pointer device address, not 0
   */
  static wrap<T extends DType>(pointer: number, dtype: T, shape: Shape): BufferView<T> {
    if (pointer === 0) throw new ArgumentError(message("view device memory", "its address is NULL"));
    const byteLength = volume(shape) * bytesPerElement(dtype);
    return new BufferView(dtype, shape, { pointer: pointer as DevicePtr, byteLength }, 0);
  }

  /** Address of the first byte. @throws {ClosedError} If the owner has freed the memory */
  get pointer(): DevicePtr {
    return (this.#source.pointer + this.#offsetBytes) as DevicePtr;
  }
}

const PORTABLE = 1;
const MAPPED = 2;
const WRITE_COMBINED = 4;

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
