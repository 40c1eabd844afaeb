/** @module CudaDriver: libcuda, found and opened with the first call to it. */

import { join } from "node:path";
import { cacheFolder } from "../core/paths.ts";
import { DRIVER_FOLDERS, type LibrarySpec } from "./discovery.ts";
import { type NativeCalls, openLibrary } from "./library.ts";
import { setNativeDefault } from "./native-environment.ts";

/** The functions of libcuda. */
type CudaDriver = NativeCalls<typeof CUDA_DRIVER_SYMBOLS>;

/** Where libcuda may lie; also what `doctor` goes by. */
export const CUDA_DRIVER_SPEC: LibrarySpec = {
  name: "libcuda",
  variable: "BUN_TENSORRT_LIBCUDA",
  files: [process.platform === "win32" ? "nvcuda.dll" : "libcuda.so.1"],
  // A toolkit's newer libcuda for an older driver, which the dynamic linker's must not give way to, comes last.
  folders: [...DRIVER_FOLDERS, "", "/usr/local/cuda/compat", "/usr/local/cuda-*/compat"],
  hint: "install NVIDIA's driver, which brings it (libcuda.so.1, nvcuda.dll on Windows); inside a container, start it with the GPU passed through",
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
  return openLibrary(CUDA_DRIVER_SPEC, CUDA_DRIVER_SYMBOLS).symbols;
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
  cuGetErrorString: { args: ["i32", "ptr"], returns: "i32" }, // error, pStr
  cuGetErrorName: { args: ["i32", "ptr"], returns: "i32" }, // error, pStr
  cuInit: { args: ["u32"], returns: "i32" }, // Flags
  cuDriverGetVersion: { args: ["ptr"], returns: "i32" }, // driverVersion

  // Devices and their primary contexts
  cuDeviceGet: { args: ["ptr", "i32"], returns: "i32" }, // device, ordinal
  cuDeviceGetName: { args: ["ptr", "i32", "i32"], returns: "i32" }, // name, len, dev
  cuDeviceGetUuid_v2: { args: ["ptr", "i32"], returns: "i32" }, // uuid, dev
  cuDeviceTotalMem_v2: { args: ["ptr", "i32"], returns: "i32" }, // bytes, dev
  cuDevicePrimaryCtxRetain: { args: ["ptr", "i32"], returns: "i32" }, // pctx, dev
  cuDevicePrimaryCtxRelease_v2: { args: ["i32"], returns: "i32" }, // dev

  // Events, for waits on threads without a context
  cuEventSynchronize: { args: ["ptr"], returns: "i32" }, // hEvent

  // Modules
  // module, image, numOptions, options, optionValues
  cuModuleLoadDataEx: { args: ["ptr", "ptr", "u32", "ptr", "ptr"], returns: "i32" },
  cuModuleUnload: { args: ["ptr"], returns: "i32" }, // hmod
  cuModuleGetFunction: { args: ["ptr", "ptr", "ptr"], returns: "i32" }, // hfunc, hmod, name

  // Execution
  cuFuncGetAttribute: { args: ["ptr", "i32", "ptr"], returns: "i32" }, // pi, attrib, hfunc
  cuFuncSetAttribute: { args: ["ptr", "i32", "i32"], returns: "i32" }, // hfunc, attrib, value
  // f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams, extra
  cuLaunchKernel: {
    args: ["ptr", "u32", "u32", "u32", "u32", "u32", "u32", "u32", "ptr", "ptr", "ptr"],
    returns: "i32",
  },
  // numBlocks, func, blockSize, dynamicSMemSize
  cuOccupancyMaxActiveBlocksPerMultiprocessor: { args: ["ptr", "ptr", "i32", "usize"], returns: "i32" },
} as const;
