/** @module CudaRuntime: libcudart 12 or 13, whichever fits the driver, found and opened with the first call to it. */

import { LibraryLoadError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cudaDriver } from "./cuda-driver.ts";
import { CUDA_TOOLKIT, type LibrarySpec } from "./discovery.ts";
import { type NativeCalls, openLibrary } from "./library.ts";
import { OutCells } from "./memory.ts";

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
    hint:
      "install the CUDA toolkit or, alone, the Python package nvidia-cuda-runtime (CUDA 13) or " +
      "nvidia-cuda-runtime-cu12 (CUDA 12), or set BUN_TENSORRT_CUDART to the path of the file",
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

function open(): CudaRuntime {
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
  runtime ??= open();
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
