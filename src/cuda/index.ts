/** @module Public surface of `bun-tensorrt/cuda`. Importing it opens no library. */

export { CudaError, OutOfMemoryError } from "../core/errors.ts";
export type { Resource } from "../core/resource.ts";
export type { DevicePtr, Handle, HostPtr } from "../core/units.ts";
export { cudaRuntimeVersion, formatCudaVersion } from "../ffi/cuda-runtime.ts";
export { type CompileCudaOptions, type CompiledPtx, compileCuda } from "../ffi/nvrtc.ts";
export {
  type BufferSource,
  BufferView,
  DeviceBuffer,
  type DeviceMemory,
  PinnedBuffer,
  type PinnedOptions,
  type TypedDeviceMemory,
} from "./buffers.ts";
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
export {
  cudaUnavailable,
  Device,
  type DeviceAttribute,
  type DeviceMemoryInfo,
  MemoryPool,
  type MemoryPoolOptions,
  type PoolUsage,
  PoolView,
} from "./device.ts";
export { Event, type EventOptions, type WaitMode, type WaitOptions } from "./event.ts";
export { type EventBoard, type EventCalls, type EventWait, EventWaits, type HeldEvent } from "./event-waits.ts";
export {
  Kernel,
  KernelArguments,
  type LaunchConfig,
  layOut,
  Module,
  type ModuleOptions,
  type Parameter,
  type ParameterType,
} from "./kernel.ts";
export { Graph, GraphExec, type OnStream, type RecordedEvent, Stream, type StreamOptions } from "./stream.ts";
