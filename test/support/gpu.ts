/** @module Gpu: a device and a stream for tests that need a card; `isGpuMissing` is the one reason such a test is skipped. */

import { SPIN_PTX } from "../../bench/gpu/spin.ts";
import { allocate, type DType, packVectors, type Tensor, vectorVolume } from "../../src/core/tensor.ts";
import type { DevicePtr } from "../../src/core/units.ts";
import { DeviceBuffer, type TypedDeviceMemory } from "../../src/cuda/buffers.ts";
import { copyToDevice, copyToHost } from "../../src/cuda/copy.ts";
import { cudaUnavailable, Device } from "../../src/cuda/device.ts";
import { type Kernel, layOut, Module } from "../../src/cuda/kernel.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { useCpuCuda } from "./cpu-cuda.ts";

/** True where `$BUN_TENSORRT_TEST_KERNELS=cpu` says that kernels run on the CPU: see cpu-cuda.ts. */
export const isOnCpu: boolean = process.env.BUN_TENSORRT_TEST_KERNELS === "cpu";

if (isOnCpu) await useCpuCuda();

/** True on a machine without a usable GPU. */
export const isGpuMissing: boolean = cudaUnavailable() !== undefined;

/** True where `$BUN_TENSORRT_TEST_SANITIZER=1` says that compute-sanitizer watches: a launch then takes fifty times as long. */
export const isSanitized: boolean = process.env.BUN_TENSORRT_TEST_SANITIZER === "1";

/** Time limit of a test that takes long, in milliseconds. */
export const SLOW_TEST_MS: number = isSanitized ? 1_200_000 : 300_000;

/** How often to do what must go well however often: a tenth of it under a sanitizer, which sees no more in the rest. */
export function times(count: number): number {
  return isSanitized ? Math.ceil(count / 10) : count;
}

/** Rounds of {@linkcode leastLost} at most. */
const LOSS_ROUNDS = 20;

/**
 * Device memory that a round of work leaves taken, the least of several rounds: what the device has left is of all processes, and
 * another one may take memory during a round. A leak takes it in every round.
 *
 * @param allowed bytes; the first round that takes no more is the last
 * @param work    once, after whatever it keeps has been made
 */
export async function leastLost(device: Device, allowed: number, work: () => unknown): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < LOSS_ROUNDS && least > allowed; round++) {
    const before = device.memory().freeBytes;
    await work();
    least = Math.min(least, before - device.memory().freeBytes);
  }
  return least;
}

/** A device with one stream, closed in the right order. */
export class Gpu implements Disposable {
  readonly device: Device;
  readonly stream: Stream;
  readonly #stack = new DisposableStack();

  constructor() {
    this.device = this.#stack.use(Device.open());
    this.stream = this.#stack.use(Stream.create(this.device));
  }

  /** Close a resource with the others, before what was added earlier. */
  own<T extends Disposable>(resource: T): T {
    return this.#stack.use(resource);
  }

  /** A buffer with the contents of a tensor, owned by this. @param vector channels side by side */
  upload<T extends DType>(tensor: Tensor<T>, vector = 1): DeviceBuffer<T> {
    const { dtype, shape, data } = tensor;
    const buffer = this.own(DeviceBuffer.create(dtype, shape, { stream: this.stream }, vector));
    const packed = vector === 1 ? data : allocate(dtype, vectorVolume(shape, vector));
    if (vector !== 1) packVectors(packed, tensor, vector);
    copyToDevice(buffer, packed, { stream: this.stream });
    return buffer;
  }

  /** Write an array over a buffer's contents. */
  refill(buffer: DeviceBuffer, array: ArrayBufferView): void {
    copyToDevice(buffer, array, { stream: this.stream });
  }

  /** The contents of device memory, once earlier work of the stream is done. */
  download<T extends DType>(memory: TypedDeviceMemory<T>): ReturnType<typeof allocate<T>> {
    const array = allocate(memory.dtype, memory.length);
    copyToHost(array, memory, { stream: this.stream });
    return array;
  }

  /** A kernel that keeps the GPU busy; see {@linkcode spin}. */
  spinner(): Kernel {
    const module = this.own(Module.load(this.device, SPIN_PTX, { name: "spin.ptx" }));
    return module.kernel("spin", layOut([["nanoseconds", "pointer"]]));
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

/** Enqueue work that takes this long. */
export function spin(kernel: Kernel, milliseconds: number, stream: Stream): void {
  const args = kernel.createArguments();
  args.setPointer(0, Math.round(milliseconds * 1e6) as DevicePtr);
  kernel.launch({ grid: [1, 1, 1], block: [1, 1, 1] }, args, { stream });
}
