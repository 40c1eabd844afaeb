/** @module DeviceAttribute: the numbers of the device attributes the package and its users ask for. */

/** Names of ours, numbers of `enum cudaDeviceAttr` (the same in CUDA 12 and 13). */
export const DEVICE_ATTRIBUTES = {
  maxThreadsPerBlock: 1,
  maxSharedBytesPerBlock: 8,
  warpSize: 10,
  clockRateKhz: 13,
  multiprocessorCount: 16,
  /** 1 where CPU and GPU share one memory, as on Jetson. */
  isIntegrated: 18,
  canMapHostMemory: 19,
  memoryClockRateKhz: 36,
  memoryBusWidthBits: 37,
  l2Bytes: 38,
  asyncEngineCount: 40,
  computeCapabilityMajor: 75,
  computeCapabilityMinor: 76,
  sharedBytesPerMultiprocessor: 81,
  maxSharedBytesPerBlockOptIn: 97,
  memoryPoolsSupported: 115,
} as const;

/** Name of a device attribute. */
export type DeviceAttribute = keyof typeof DEVICE_ATTRIBUTES;
