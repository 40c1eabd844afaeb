/**
 * @module NvidiaLibraries: libnvjpeg 12 or 13, whichever fits the driver; and what comes with the driver: libnvcuvid, which decodes video, and
 * libnvidia-ml, which tells how busy GPUs are. Each is found and opened with the first call to it.
 */

import { LibraryLoadError, message, NativeError } from "../core/errors.ts";
import { cudaFile, cudaMajors, cudaPackages, cudaRuntime } from "./cuda-runtime.ts";
import { CUDA_TOOLKIT, DRIVER_FOLDERS, type LibrarySpec } from "./discovery.ts";
import { type NativeCalls, openLibrary } from "./library.ts";
import { OutCells, readCString } from "./memory.ts";

/** The functions of libnvjpeg. */
type NvJpegCalls = NativeCalls<typeof NVJPEG_SYMBOLS>;

/** Where libnvjpeg may lie; also what `doctor` prints. */
export function nvJpegSpec(): LibrarySpec {
  return {
    name: "libnvjpeg",
    variable: "BUN_TENSORRT_NVJPEG",
    files: cudaMajors().map((major) => cudaFile("nvjpeg", major)),
    python: cudaPackages("nvjpeg"),
    toolkit: CUDA_TOOLKIT,
    hint: "run `bunx bun-tensorrt install nvjpeg`, or set BUN_TENSORRT_NVJPEG to the path of the file",
  };
}

/** libnvjpeg, opened. */
export interface NvJpegLibrary {
  readonly path: string;
  /** `13.0.1` */
  readonly version: string;
  readonly calls: NvJpegCalls;
}

let nvJpeg: NvJpegLibrary | undefined;

function openNvJpeg(): NvJpegLibrary {
  const spec = nvJpegSpec();
  const { path, symbols: calls } = openLibrary(spec, NVJPEG_SYMBOLS);
  const out = new OutCells(1);
  const parts = [0, 1, 2].map((part) => (calls.nvjpegGetProperty(part, out.cells) === 0 ? out.i32() : -1));
  if (parts[0] !== 12 && parts[0] !== 13) {
    const found = `it must be version 12 or 13, got ${parts.join(".")}`;
    throw new LibraryLoadError(message(`use ${path}`, found, spec.hint), "libnvjpeg", [path]);
  }
  return { path, version: parts.join("."), calls };
}

/**
 * libnvjpeg. The first call opens it; no device is touched.
 *
 * @throws {LibraryLoadError} If it is nowhere, or of a version other than 12 and 13
 */
export function nvJpegLibrary(): NvJpegLibrary {
  nvJpeg ??= openNvJpeg();
  return nvJpeg;
}

/** Values of `nvjpegBackend_t` that are used. */
export const NVJPEG_BACKEND_GPU_HYBRID = 2;
/** The engines beside the multiprocessors that do nothing but decode JPEG; not every GPU has them. */
export const NVJPEG_BACKEND_HARDWARE = 3;

/** `nvjpegOutputFormat_t`: interleaved RGB in the first channel. */
export const NVJPEG_OUTPUT_RGBI = 5;

/** Chroma is interpolated as libjpeg does it, not repeated. Ignored by libraries that do not know it. */
export const NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION = 32;

/** Bytes of `nvjpegImage_t`: four channel addresses, then four row pitches in bytes, all of 8 bytes. */
export const NVJPEG_IMAGE_BYTES = 64;
/** Place of the first pitch in an `nvjpegImage_t`, in 8 bytes. */
export const NVJPEG_IMAGE_PITCH = 4;

/** Names of `nvjpegStatus_t`, by number. */
export const NVJPEG_STATUSES: readonly string[] = (
  "NVJPEG_STATUS_SUCCESS NVJPEG_STATUS_NOT_INITIALIZED NVJPEG_STATUS_INVALID_PARAMETER NVJPEG_STATUS_BAD_JPEG " +
  "NVJPEG_STATUS_JPEG_NOT_SUPPORTED NVJPEG_STATUS_ALLOCATOR_FAILURE NVJPEG_STATUS_EXECUTION_FAILED " +
  "NVJPEG_STATUS_ARCH_MISMATCH NVJPEG_STATUS_INTERNAL_ERROR NVJPEG_STATUS_IMPLEMENTATION_NOT_SUPPORTED " +
  "NVJPEG_STATUS_INCOMPLETE_BITSTREAM"
).split(" ");

/** libnvjpeg, major versions 12 and 13. */
export const NVJPEG_SYMBOLS = {
  nvjpegGetProperty: { args: ["i32", "ptr"], returns: "i32" }, // type (0 major, 1 minor, 2 patch), value
  // backend, dev_allocator, pinned_allocator, flags, handle
  nvjpegCreateEx: { args: ["i32", "ptr", "ptr", "u32", "ptr"], returns: "i32" },
  nvjpegDestroy: { args: ["ptr"], returns: "i32" }, // handle
  // handle, num_engines, num_cores_per_engine
  nvjpegGetHardwareDecoderInfo: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  nvjpegJpegStateCreate: { args: ["ptr", "ptr"], returns: "i32" }, // handle, jpeg_handle
  nvjpegJpegStateDestroy: { args: ["ptr"], returns: "i32" }, // jpeg_handle
  // handle, jpeg_handle, batch_size, max_cpu_threads, output_format
  nvjpegDecodeBatchedInitialize: { args: ["ptr", "ptr", "i32", "i32", "i32"], returns: "i32" },
  // handle, jpeg_handle, data, lengths, destinations, stream
  nvjpegDecodeBatched: { args: ["ptr", "ptr", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
} as const;

/** Where libnvcuvid may lie: where libcuda does. */
export const NVCUVID_SPEC: LibrarySpec = {
  name: "libnvcuvid",
  variable: "BUN_TENSORRT_NVCUVID",
  files: process.platform === "win32" ? ["nvcuvid.dll"] : ["libnvcuvid.so.1"],
  folders: [...DRIVER_FOLDERS, "", "/usr/local/nvidia/lib64"],
  hint: "NVIDIA's driver brings it; inside a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility,video",
};

/** libnvcuvid, from driver 525 on. In the order in which the shim takes them. */
const NVCUVID_SYMBOLS = {
  cuvidGetDecoderCaps: { args: ["ptr"], returns: "i32" }, // pdc
  cuvidCreateDecoder: { args: ["ptr", "ptr"], returns: "i32" }, // phDecoder, pdci
  cuvidDestroyDecoder: { args: ["ptr"], returns: "i32" }, // hDecoder
  cuvidDecodePicture: { args: ["ptr", "ptr"], returns: "i32" }, // hDecoder, pPicParams
  cuvidGetDecodeStatus: { args: ["ptr", "i32", "ptr"], returns: "i32" }, // hDecoder, nPicIdx, pDecodeStatus
  cuvidReconfigureDecoder: { args: ["ptr", "ptr"], returns: "i32" }, // hDecoder, pDecReconfigParams
  // hDecoder, nPicIdx, pDevPtr, pPitch, pVPP
  cuvidMapVideoFrame64: { args: ["ptr", "i32", "ptr", "ptr", "ptr"], returns: "i32" },
  cuvidUnmapVideoFrame64: { args: ["ptr", "u64"], returns: "i32" }, // hDecoder, DevPtr
  cuvidCtxLockCreate: { args: ["ptr", "ptr"], returns: "i32" }, // pLock, ctx
  cuvidCtxLockDestroy: { args: ["ptr"], returns: "i32" }, // lck
  cuvidCreateVideoParser: { args: ["ptr", "ptr"], returns: "i32" }, // pObj, pParams
  cuvidParseVideoData: { args: ["ptr", "ptr"], returns: "i32" }, // obj, pPacket
  cuvidDestroyVideoParser: { args: ["ptr"], returns: "i32" }, // obj
} as const;

/** Functions that the shim calls to decode, by their places; the last two are libcudart's. */
export const VIDEO_CALLS: readonly string[] = [
  ...Object.keys(NVCUVID_SYMBOLS),
  "cudaStreamSynchronize",
  "cudaEventSynchronize",
];

/** libnvcuvid, opened. */
interface NvcuvidLibrary {
  readonly path: string;
  /** Addresses of the {@linkcode VIDEO_CALLS}, as the shim takes them. */
  readonly functions: OutCells;
}

let nvcuvid: NvcuvidLibrary | undefined;

function openNvcuvid(): NvcuvidLibrary {
  const { path, symbols } = openLibrary(NVCUVID_SPEC, NVCUVID_SYMBOLS);
  const { cudaStreamSynchronize, cudaEventSynchronize } = cudaRuntime();
  const calls = [...Object.values(symbols), cudaStreamSynchronize, cudaEventSynchronize];
  const functions = new OutCells(calls.length);
  for (const [at, call] of calls.entries()) functions.setPointer(at, call.ptr);
  return { path, functions };
}

/**
 * libnvcuvid. The first call opens it; no device is touched.
 *
 * @throws {LibraryLoadError} If it is nowhere, as in a container that was not given the video part of the driver
 */
export function nvcuvidLibrary(): NvcuvidLibrary {
  nvcuvid ??= openNvcuvid();
  return nvcuvid;
}

/** The functions of libnvidia-ml. */
export type Nvml = NativeCalls<typeof NVML_SYMBOLS>;

const NVML_SPEC: LibrarySpec = {
  name: "libnvidia-ml",
  variable: "BUN_TENSORRT_NVML",
  files: [process.platform === "win32" ? "nvml.dll" : "libnvidia-ml.so.1"],
  folders: DRIVER_FOLDERS,
  hint: "NVIDIA's driver brings it; a Jetson has none",
};

/**
 * The functions of libnvidia-ml. Opens the library, and initialises nothing.
 *
 * @throws {LibraryLoadError} If the machine has no NVIDIA driver
 */
export function nvml(): Nvml {
  return openLibrary(NVML_SPEC, NVML_SYMBOLS).symbols;
}

/**
 * Check the status of a call on its line.
 *
 * @throws {NativeError} If it is not 0
 */
export function checkNvml(library: Nvml, status: number, call: string): void {
  if (status === NVML_SUCCESS) return;
  const text = readCString(library.nvmlErrorString(status));
  const found = `it returned ${status} (${text})`;
  const error = new NativeError(message(`complete ${call}`, found), { code: `NVML_${status}`, call });
  Error.captureStackTrace(error, checkNvml);
  throw error;
}

/** Status: all is well. */
const NVML_SUCCESS = 0;
/** Status: this GPU, or this slice of one, does not tell. */
export const NVML_ERROR_NOT_SUPPORTED = 3;
/** Status: the process may not know. */
export const NVML_ERROR_NO_PERMISSION = 4;
/** Status: the GPU has fallen off the bus, or was taken away. */
export const NVML_ERROR_GPU_IS_LOST = 15;

/** Prototypes of `nvml.h`. @see https://docs.nvidia.com/deploy/nvml-api/ */
const NVML_SYMBOLS = {
  nvmlInit_v2: { args: [], returns: "i32" },
  nvmlShutdown: { args: [], returns: "i32" },
  nvmlErrorString: { args: ["i32"], returns: "ptr" }, // result
  nvmlDeviceGetCount_v2: { args: ["ptr"], returns: "i32" }, // deviceCount
  nvmlDeviceGetHandleByIndex_v2: { args: ["u32", "ptr"], returns: "i32" }, // index (as nvidia-smi counts), device
  // device, memory (unsigned long long total, free, used, in bytes)
  nvmlDeviceGetMemoryInfo: { args: ["ptr", "ptr"], returns: "i32" },
  // device, utilization (unsigned int gpu, memory, in percent of the last sample period); not on a slice of a GPU (MIG)
  nvmlDeviceGetUtilizationRates: { args: ["ptr", "ptr"], returns: "i32" },
} as const;
