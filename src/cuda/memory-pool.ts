/** @module MemoryPool: the pools that stream-ordered device memory comes from. */

import { message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { formatBytes, type Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/scratch.ts";
import { check } from "./check.ts";
import type { Device } from "./device.ts";

/** Attribute numbers of `enum cudaMemPoolAttr`. */
const RELEASE_THRESHOLD = 4;
const RESERVED_CURRENT = 5;
const RESERVED_HIGH = 6;
const USED_CURRENT = 7;
const USED_HIGH = 8;

/** Bytes of `struct cudaMemPoolProps`, and what is written into it. The rest has to be zero. */
const PROPS_BYTES = 88;
const ALLOCATION_PINNED = 1;
const LOCATION_DEVICE = 1;
const LOCATION_TYPE_WORD = 2;
const LOCATION_ID_WORD = 3;
const MAX_BYTES_CELL = 3;

const out = new OutCells(1);

/** What a pool holds, in bytes. */
export interface PoolUsage {
  /** Handed out now, and at most so far. */
  readonly usedBytes: number;
  readonly usedHighBytes: number;
  /** Taken from the device now, and at most so far. */
  readonly reservedBytes: number;
  readonly reservedHighBytes: number;
}

/** A pool someone else owns: the device, or a {@linkcode MemoryPool}. */
export class PoolView {
  readonly device: Device;
  readonly handle: Handle<"cudaMemPool_t">;

  /** Made by {@linkcode Device} and {@linkcode MemoryPool}. */
  constructor(device: Device, handle: Handle<"cudaMemPool_t">) {
    this.device = device;
    this.handle = handle;
  }

  /** The pool every device has from the start. */
  static defaultOf(device: Device): PoolView {
    check(cudaRuntime().cudaDeviceGetDefaultMemPool(out.cells, device.index), "cudaDeviceGetDefaultMemPool");
    return new PoolView(device, out.pointer() as Handle<"cudaMemPool_t">);
  }

  /** How much is handed out and reserved. */
  usage(): PoolUsage {
    return {
      usedBytes: this.#attribute(USED_CURRENT),
      usedHighBytes: this.#attribute(USED_HIGH),
      reservedBytes: this.#attribute(RESERVED_CURRENT),
      reservedHighBytes: this.#attribute(RESERVED_HIGH),
    };
  }

  /**
   * How much freed memory the pool keeps for later allocations when a stream is synchronised. 0, the default, gives
   * all of it back to the device, which makes the next allocation slow.
   *
   * @param bytes `Infinity` to keep everything
   */
  setReleaseThreshold(bytes: number): void {
    if (bytes === Number.POSITIVE_INFINITY) out.cells[0] = 0xffff_ffff_ffff_ffffn;
    else out.setPointer(0, bytes);
    check(cudaRuntime().cudaMemPoolSetAttribute(this.handle, RELEASE_THRESHOLD, out.cells), "cudaMemPoolSetAttribute");
  }

  /** Give unused memory back to the device. @param keepBytes how much may stay reserved */
  trim(keepBytes = 0): void {
    check(cudaRuntime().cudaMemPoolTrimTo(this.handle, keepBytes), "cudaMemPoolTrimTo");
  }

  #attribute(attribute: number): number {
    check(cudaRuntime().cudaMemPoolGetAttribute(this.handle, attribute, out.cells), "cudaMemPoolGetAttribute");
    return out.pointer();
  }
}

/** What {@linkcode MemoryPool.create} takes. */
export interface MemoryPoolOptions {
  /** Most bytes the pool may take; 0, the default, for all the device has. Drivers before CUDA 12.2 ignore it. */
  readonly maxBytes?: number;
}

/** A pool of one's own: what it holds is counted, limited and given back apart from everyone else's. */
export class MemoryPool extends Resource {
  /** Hand this to `DeviceBuffer.create`. Borrowed: valid while the pool is open. */
  readonly view: PoolView;

  private constructor(device: Device, handle: Handle<"cudaMemPool_t">, label: string) {
    super(label, device);
    this.view = new PoolView(device, handle);
  }

  /**
   * Make a pool on a device.
   *
   * @throws {Error} If the device has no pools
   * @throws {CudaError} If the pool cannot be made
   */
  static create(device: Device, options: MemoryPoolOptions = {}): MemoryPool {
    const maxBytes = options.maxBytes ?? 0;
    const label = `MemoryPool (${maxBytes === 0 ? "unlimited" : formatBytes(maxBytes)})`;
    device.assertOpen(`create a ${label}`);
    if (device.pool === undefined) {
      const hint = "allocate with { device } instead of { stream }";
      throw new Error(message("create a memory pool", `as ${device.label} has no stream-ordered memory`, hint));
    }
    const props = new Int32Array(new ArrayBuffer(PROPS_BYTES));
    props[0] = ALLOCATION_PINNED;
    props[LOCATION_TYPE_WORD] = LOCATION_DEVICE;
    props[LOCATION_ID_WORD] = device.index;
    new BigUint64Array(props.buffer)[MAX_BYTES_CELL] = BigInt(maxBytes);
    check(cudaRuntime().cudaMemPoolCreate(out.cells, props), "cudaMemPoolCreate");
    return new MemoryPool(device, out.pointer() as Handle<"cudaMemPool_t">, label);
  }

  protected override release(): void {
    check(cudaRuntime().cudaMemPoolDestroy(this.view.handle), "cudaMemPoolDestroy");
  }
}
