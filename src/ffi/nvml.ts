/** @module Nvml: libnvidia-ml, found and opened with the first call to it. */

import { message, NativeError } from "../core/errors.ts";
import { DRIVER_FOLDERS, type LibrarySpec } from "./discovery.ts";
import { type NativeCalls, openLibrary } from "./library.ts";
import { readCString } from "./memory.ts";

/** The functions of libnvidia-ml. */
export type Nvml = NativeCalls<typeof NVML_SYMBOLS>;

const SPEC: LibrarySpec = {
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
  return openLibrary(SPEC, NVML_SYMBOLS).symbols;
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
