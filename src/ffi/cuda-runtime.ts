/**
 * @module CudaRuntime: libcuda, and libcudart 12 or 13, whichever fits the driver; each is found and opened with the first call to it.
 */

import { join } from "node:path";
import { LibraryLoadError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cacheFolder } from "../core/paths.ts";
import { CUDA_TOOLKIT, DRIVER_FOLDERS, type LibrarySpec } from "./discovery.ts";
import { setNativeDefault } from "./libc.ts";
import { type NativeCalls, openLibrary } from "./library.ts";
import { OutCells } from "./memory.ts";

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

function openDriver(): CudaDriver {
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
  driver ??= openDriver();
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

/** The functions of libcudart. */
type CudaRuntime = NativeCalls<typeof CUDA_RUNTIME_SYMBOLS>;

/** File of one of CUDA's libraries: `libcudart.so.12`, `cudart64_12.dll`. */
export function cudaFile(name: "cudart" | "nvjpeg" | "nvrtc", major: number): string {
  if (process.platform !== "win32") return `lib${name}.so.${major}`;
  return name === "nvrtc" ? `nvrtc64_${major}0_0.dll` : `${name}64_${major}.dll`;
}

/** Where NVIDIA's Python packages have their libraries, of CUDA 12 by the package, of 13 all together. */
export function cudaPackages(name: "cuda_runtime" | "nvjpeg" | "cuda_nvrtc"): readonly string[] {
  if (process.platform !== "win32") return [`nvidia/${name}/lib`, "nvidia/cu13/lib"];
  return [`nvidia/${name}/bin`, "nvidia/cu13/bin/x86_64"];
}

/** Where libcudart may lie, best version first; also what `doctor` prints. */
export function cudaRuntimeSpec(files: readonly string[]): LibrarySpec {
  return {
    name: "libcudart",
    variable: "BUN_TENSORRT_CUDART",
    files,
    python: cudaPackages("cuda_runtime"),
    toolkit: CUDA_TOOLKIT,
    hint: "run `bunx bun-tensorrt install cuda-runtime`, or install the CUDA toolkit, or set BUN_TENSORRT_CUDART to the path of the file",
  };
}

/**
 * Major versions of CUDA's libraries to look for, best first. Those of 13 refuse a driver of CUDA 12, while those of 12
 * work with both; where there is no driver either will do, and its own error says so.
 */
export function cudaMajors(): readonly number[] {
  const both = [13, 12];
  const out = new OutCells(1);
  try {
    const driver = cudaDriver();
    if (driver.cuDriverGetVersion(out.cells) !== 0) return both;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    logger.debug("libcuda is absent: CUDA's libraries are chosen without knowing the driver's version");
    return both;
  }
  return out.i32() >= 13_000 ? both : [12];
}

let runtime: CudaRuntime | undefined;
let runtimeVersion = 0;
let runtimePath = "";

function openRuntime(): CudaRuntime {
  const names = cudaMajors().map((major) => cudaFile("cudart", major));
  const { path, symbols: opened } = openLibrary(cudaRuntimeSpec(names), CUDA_RUNTIME_SYMBOLS);
  const out = new OutCells(1);
  const status = opened.cudaRuntimeGetVersion(out.cells);
  const major = Math.floor(out.i32() / 1000);
  if (status !== 0 || (major !== 12 && major !== 13)) {
    const version = status === 0 ? formatCudaVersion(out.i32()) : `status ${status} of cudaRuntimeGetVersion`;
    const text = message(`use ${path}`, `it must be version 12 or 13, got ${version}`, "install libcudart 12 or 13");
    throw new LibraryLoadError(text, "libcudart", [path]);
  }
  runtimeVersion = out.i32();
  runtimePath = path;
  return opened;
}

/**
 * libcudart's functions. The first call opens the library; no device is touched.
 *
 * @throws {LibraryLoadError} If the library is nowhere, or of a version other than 12 and 13
 */
export function cudaRuntime(): CudaRuntime {
  runtime ??= openRuntime();
  return runtime;
}

/** Version of the opened libcudart as CUDA counts it: 12.2 is 12020. @throws {LibraryLoadError} If it is nowhere */
export function cudaRuntimeVersion(): number {
  cudaRuntime();
  return runtimeVersion;
}

/** Where the opened libcudart was found; a bare name where the dynamic linker knew it. @throws {LibraryLoadError} If it is nowhere */
export function cudaRuntimePath(): string {
  cudaRuntime();
  return runtimePath;
}

/** `12.2` for 12020. */
export function formatCudaVersion(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}

/**
 * libcudart, major versions 12 and 13: what the package calls, in header order, with the same signature in both.
 *
 * What differs between the two is not called, but this is:
 * - `cudaGetDeviceProperties`: the struct's layout moved; attributes one by one, the name from libcuda.
 * - `cudaMemPrefetchAsync`, `cudaMemAdvise`: a device number in 12, a location struct in 13; managed memory is not used.
 * - `cudaStreamGetCaptureInfo`: its parameters changed; `cudaStreamIsCapturing` did not.
 * - `cudaGraphInstantiate` and `cudaGraphExecUpdate` changed between 11 and 12 alone; `cudaGraphInstantiateWithFlags`
 *   never did, so graphs are made by it.
 * - `cudaEventElapsedTime` has a `_v2` in late 12.x, which 13 has under the plain name; the parameters are the same.
 * - The `_ptsz` twins (per-thread default stream) are not bound: every enqueue names its stream.
 *
 * @see https://docs.nvidia.com/cuda/cuda-runtime-api/
 */
export const CUDA_RUNTIME_SYMBOLS = {
  // Device management
  cudaDeviceSynchronize: { args: [], returns: "i32" },
  cudaDeviceGetStreamPriorityRange: { args: ["ptr", "ptr"], returns: "i32" }, // leastPriority, greatestPriority

  // Error handling
  cudaGetLastError: { args: [], returns: "i32" },
  cudaGetErrorName: { args: ["i32"], returns: "ptr" }, // error
  cudaGetErrorString: { args: ["i32"], returns: "ptr" }, // error

  // Device management
  cudaGetDeviceCount: { args: ["ptr"], returns: "i32" }, // count
  cudaDeviceGetAttribute: { args: ["ptr", "i32", "i32"], returns: "i32" }, // value, attr, device
  cudaDeviceGetDefaultMemPool: { args: ["ptr", "i32"], returns: "i32" }, // memPool, device
  cudaSetDevice: { args: ["i32"], returns: "i32" }, // device

  // Streams
  cudaStreamCreateWithPriority: { args: ["ptr", "u32", "i32"], returns: "i32" }, // pStream, flags, priority
  cudaStreamDestroy: { args: ["ptr"], returns: "i32" }, // stream
  cudaStreamWaitEvent: { args: ["ptr", "ptr", "u32"], returns: "i32" }, // stream, event, flags
  cudaStreamSynchronize: { args: ["ptr"], returns: "i32" }, // stream
  cudaStreamQuery: { args: ["ptr"], returns: "i32" }, // stream
  cudaStreamBeginCapture: { args: ["ptr", "i32"], returns: "i32" }, // stream, mode
  cudaStreamEndCapture: { args: ["ptr", "ptr"], returns: "i32" }, // stream, pGraph
  cudaStreamIsCapturing: { args: ["ptr", "ptr"], returns: "i32" }, // stream, pCaptureStatus

  // Events
  cudaEventCreateWithFlags: { args: ["ptr", "u32"], returns: "i32" }, // event, flags
  cudaEventRecord: { args: ["ptr", "ptr"], returns: "i32" }, // event, stream
  cudaEventQuery: { args: ["ptr"], returns: "i32" }, // event
  cudaEventSynchronize: { args: ["ptr"], returns: "i32" }, // event
  cudaEventDestroy: { args: ["ptr"], returns: "i32" }, // event
  cudaEventElapsedTime: { args: ["ptr", "ptr", "ptr"], returns: "i32" }, // ms, start, end

  // Memory management
  cudaMalloc: { args: ["ptr", "usize"], returns: "i32" }, // devPtr, size
  cudaFree: { args: ["ptr"], returns: "i32" }, // devPtr
  cudaFreeHost: { args: ["ptr"], returns: "i32" }, // ptr
  cudaHostAlloc: { args: ["ptr", "usize", "u32"], returns: "i32" }, // pHost, size, flags
  cudaHostGetDevicePointer: { args: ["ptr", "ptr", "u32"], returns: "i32" }, // pDevice, pHost, flags
  cudaMemGetInfo: { args: ["ptr", "ptr"], returns: "i32" }, // free, total
  cudaMemcpyAsync: { args: ["ptr", "ptr", "usize", "i32", "ptr"], returns: "i32" }, // dst, src, count, kind, stream
  // dst, dpitch, src, spitch, width, height, kind, stream
  cudaMemcpy2DAsync: { args: ["ptr", "usize", "ptr", "usize", "usize", "usize", "i32", "ptr"], returns: "i32" },
  cudaMemsetAsync: { args: ["ptr", "i32", "usize", "ptr"], returns: "i32" }, // devPtr, value, count, stream
  // devPtr, pitch, value, width, height, stream
  cudaMemset2DAsync: { args: ["ptr", "usize", "i32", "usize", "usize", "ptr"], returns: "i32" },

  // Stream-ordered memory
  cudaMallocAsync: { args: ["ptr", "usize", "ptr"], returns: "i32" }, // devPtr, size, hStream
  cudaFreeAsync: { args: ["ptr", "ptr"], returns: "i32" }, // devPtr, hStream
  cudaMemPoolTrimTo: { args: ["ptr", "usize"], returns: "i32" }, // memPool, minBytesToKeep
  cudaMemPoolSetAttribute: { args: ["ptr", "i32", "ptr"], returns: "i32" }, // memPool, attr, value
  cudaMemPoolGetAttribute: { args: ["ptr", "i32", "ptr"], returns: "i32" }, // memPool, attr, value
  cudaMemPoolCreate: { args: ["ptr", "ptr"], returns: "i32" }, // memPool, poolProps
  cudaMemPoolDestroy: { args: ["ptr"], returns: "i32" }, // memPool
  cudaMallocFromPoolAsync: { args: ["ptr", "usize", "ptr", "ptr"], returns: "i32" }, // ptr, size, memPool, stream

  // Versions
  cudaRuntimeGetVersion: { args: ["ptr"], returns: "i32" }, // runtimeVersion

  // Graphs
  cudaGraphGetNodes: { args: ["ptr", "ptr", "ptr"], returns: "i32" }, // graph, nodes, numNodes
  cudaGraphInstantiateWithFlags: { args: ["ptr", "ptr", "usize"], returns: "i32" }, // pGraphExec, graph, flags
  cudaGraphExecUpdate: { args: ["ptr", "ptr", "ptr"], returns: "i32" }, // hGraphExec, hGraph, resultInfo
  cudaGraphUpload: { args: ["ptr", "ptr"], returns: "i32" }, // graphExec, stream
  cudaGraphLaunch: { args: ["ptr", "ptr"], returns: "i32" }, // graphExec, stream
  cudaGraphExecDestroy: { args: ["ptr"], returns: "i32" }, // graphExec
  cudaGraphDestroy: { args: ["ptr"], returns: "i32" }, // graph
} as const;
