/** @module CudaDriver: libcuda, found and opened with the first call to it. */

import { join } from "node:path";
import { cacheFolder } from "../core/paths.ts";
import { type LibrarySpec, type NativeCalls, openLibrary } from "./library.ts";
import { setNativeDefault } from "./native-environment.ts";

/** The functions of libcuda. */
export type CudaDriver = NativeCalls<typeof CUDA_DRIVER_SYMBOLS>;

/** Where libcuda may lie; also what `doctor` goes by. */
export const CUDA_DRIVER_SPEC: LibrarySpec = {
  name: "libcuda",
  variable: "BUN_TENSORRT_LIBCUDA",
  files: ["libcuda.so.1"],
  folders: ["/usr/lib/wsl/lib", "/usr/lib/aarch64-linux-gnu/tegra", "/usr/lib/aarch64-linux-gnu/nvidia"],
  hint: "install NVIDIA's driver (it brings libcuda.so.1); inside a container, start it with the GPU passed through",
};

/**
 * Queues from the host to a GPU: the most there can be. Streams share them, 8 by default, and wait for what is in front of
 * them in theirs: frames in flight for a decoder's engines, which take milliseconds.
 *
 * @see https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (CUDA_DEVICE_MAX_CONNECTIONS)
 */
const CONNECTIONS = { name: "CUDA_DEVICE_MAX_CONNECTIONS", value: "32" } as const;

/**
 * Where the driver keeps what it has compiled out of PTX: in our cache rather than in `~/.nv`.
 *
 * @see https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (CUDA_CACHE_PATH)
 */
const COMPILED = { name: "CUDA_CACHE_PATH", folder: "cuda" } as const;

let driver: CudaDriver | undefined;

function open(): CudaDriver {
  // libcuda reads it when it makes a device's context.
  setNativeDefault(CONNECTIONS.name, CONNECTIONS.value);
  setNativeDefault(COMPILED.name, join(cacheFolder(), COMPILED.folder));
  return openLibrary(CUDA_DRIVER_SPEC, CUDA_DRIVER_SYMBOLS).symbols as unknown as CudaDriver;
}

/**
 * libcuda's functions. The first call opens the library and initialises nothing; `Device.open` calls `cuInit`.
 *
 * @throws {LibraryLoadError} If the machine has no NVIDIA driver
 */
export function cudaDriver(): CudaDriver {
  driver ??= open();
  return driver;
}

/** libcuda, from driver 525 (CUDA 12.0) on. */
export const CUDA_DRIVER_SYMBOLS = {
  // Errors and versions
  cuGetErrorString: {
    args: [
      "i32", // CUresult error
      "ptr", // const char **pStr
    ],
    returns: "i32",
  },
  cuGetErrorName: {
    args: [
      "i32", // CUresult error
      "ptr", // const char **pStr
    ],
    returns: "i32",
  },
  cuInit: {
    args: [
      "u32", // unsigned int Flags
    ],
    returns: "i32",
  },
  cuDriverGetVersion: {
    args: [
      "ptr", // int *driverVersion
    ],
    returns: "i32",
  },

  // Devices and their primary contexts
  cuDeviceGet: {
    args: [
      "ptr", // CUdevice *device
      "i32", // int ordinal
    ],
    returns: "i32",
  },
  cuDeviceGetName: {
    args: [
      "ptr", // char *name
      "i32", // int len
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDeviceGetUuid_v2: {
    args: [
      "ptr", // CUuuid *uuid
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDeviceTotalMem_v2: {
    args: [
      "ptr", // size_t *bytes
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDevicePrimaryCtxRetain: {
    args: [
      "ptr", // CUcontext *pctx
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuDevicePrimaryCtxRelease_v2: {
    args: [
      "i32", // CUdevice dev
    ],
    returns: "i32",
  },
  cuCtxSetCurrent: {
    args: [
      "ptr", // CUcontext ctx
    ],
    returns: "i32",
  },
  cuCtxGetCurrent: {
    args: [
      "ptr", // CUcontext *pctx
    ],
    returns: "i32",
  },

  // Events, for waits on threads without a context
  cuEventSynchronize: {
    args: [
      "ptr", // CUevent hEvent
    ],
    returns: "i32",
  },

  // Modules
  cuModuleLoadDataEx: {
    args: [
      "ptr", // CUmodule *module
      "ptr", // const void *image
      "u32", // unsigned int numOptions
      "ptr", // CUjit_option *options
      "ptr", // void **optionValues
    ],
    returns: "i32",
  },
  cuModuleUnload: {
    args: [
      "ptr", // CUmodule hmod
    ],
    returns: "i32",
  },
  cuModuleGetFunction: {
    args: [
      "ptr", // CUfunction *hfunc
      "ptr", // CUmodule hmod
      "ptr", // const char *name
    ],
    returns: "i32",
  },

  // Execution
  cuFuncGetAttribute: {
    args: [
      "ptr", // int *pi
      "i32", // CUfunction_attribute attrib
      "ptr", // CUfunction hfunc
    ],
    returns: "i32",
  },
  cuFuncSetAttribute: {
    args: [
      "ptr", // CUfunction hfunc
      "i32", // CUfunction_attribute attrib
      "i32", // int value
    ],
    returns: "i32",
  },
  cuLaunchKernel: {
    args: [
      "ptr", // CUfunction f
      "u32", // unsigned int gridDimX
      "u32", // unsigned int gridDimY
      "u32", // unsigned int gridDimZ
      "u32", // unsigned int blockDimX
      "u32", // unsigned int blockDimY
      "u32", // unsigned int blockDimZ
      "u32", // unsigned int sharedMemBytes
      "ptr", // CUstream hStream
      "ptr", // void **kernelParams
      "ptr", // void **extra
    ],
    returns: "i32",
  },
  cuOccupancyMaxActiveBlocksPerMultiprocessor: {
    args: [
      "ptr", // int *numBlocks
      "ptr", // CUfunction func
      "i32", // int blockSize
      "usize", // size_t dynamicSMemSize
    ],
    returns: "i32",
  },
} as const;
