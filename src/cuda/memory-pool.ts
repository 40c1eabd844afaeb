/** @module MemoryPool: a pool of stream-ordered device memory of one's own. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { formatBytes, type Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/memory.ts";
import { check } from "./check.ts";
import type { Device } from "./device.ts";
import { PoolView } from "./pool-view.ts";

/** Bytes of `struct cudaMemPoolProps`, and what is written into it. The rest has to be zero. */
const PROPS_BYTES = 88;
const ALLOCATION_PINNED = 1;
const LOCATION_DEVICE = 1;
const LOCATION_TYPE_WORD = 2;
const LOCATION_ID_WORD = 3;
const MAX_BYTES_CELL = 3;

const out = new OutCells(1);

/** What {@linkcode MemoryPool.create} takes. */
export interface MemoryPoolOptions {
  /** Most bytes the pool may take; 0, the default, for all the device has. Drivers before CUDA 12.2 ignore it. */
  readonly maxBytes?: number | undefined;
}

/** A pool of one's own: what it holds is counted, limited and given back apart from everyone else's. */
export class MemoryPool extends Resource {
  /** Hand this to `DeviceBuffer.create`. Borrowed: valid while the pool is open. */
  readonly view: PoolView;

  private constructor(device: Device, handle: Handle<"cudaMemPool_t">, label: string) {
    super(label, device);
    this.view = new PoolView(handle);
  }

  /**
   * Make a pool on a device.
   *
   * @throws {BunTensorRtError} If the device has no pools
   * @throws {CudaError} If the pool cannot be made
   */
  static create(device: Device, options: MemoryPoolOptions = {}): MemoryPool {
    const maxBytes = options.maxBytes ?? 0;
    const label = `MemoryPool (${maxBytes === 0 ? "unlimited" : formatBytes(maxBytes)})`;
    device.assertOpen(`create a ${label}`);
    if (device.pool === undefined) {
      const hint = "allocate with { device } instead of { stream }";
      throw new BunTensorRtError(message("create a memory pool", `${device.label} has no stream-ordered memory`, hint));
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
