/** @module Public surface of `bun-tensorrt/cuda`. Importing it opens no library. */

export { CudaError, OutOfMemoryError } from "../core/errors.ts";
export { cudaRuntimeVersion, formatCudaVersion } from "../ffi/cuda-runtime.ts";
export { BufferView, type DeviceMemory, type TypedDeviceMemory } from "./buffer-view.ts";
export {
  type CopyOptions,
  type CopyRectangle,
  copyOnDevice,
  copyRectangleOnDevice,
  copyRectangleToDevice,
  copyRectangleToHost,
  copyToDevice,
  copyToHost,
  fill,
  fillRectangle,
} from "./copy.ts";
export { Device, type DeviceMemoryInfo } from "./device.ts";
export type { DeviceAttribute } from "./device-attribute.ts";
export { type BufferSource, DeviceBuffer } from "./device-buffer.ts";
export { Event, type EventOptions } from "./event.ts";
export { type EventWait, EventWaits } from "./event-waits.ts";
export { Graph, GraphExec } from "./graph.ts";
export { Kernel, type LaunchConfig } from "./kernel.ts";
export { KernelArguments, layOut, type Parameter, type ParameterType } from "./kernel-arguments.ts";
export { MemoryPool, type MemoryPoolOptions } from "./memory-pool.ts";
export { Module, type ModuleOptions } from "./module.ts";
export { PinnedBuffer, type PinnedOptions } from "./pinned-buffer.ts";
export { type PoolUsage, PoolView } from "./pool-view.ts";
export { cudaUnavailable } from "./probe.ts";
export { type OnStream, type RecordedEvent, Stream, type StreamOptions } from "./stream.ts";
export type { WaitMode, WaitOptions } from "./wait.ts";
