/** @module Nvml: libnvidia-ml, found and opened with the first call to it. */

import { message, NativeError } from "../core/errors.ts";
import { readCString } from "./cstring.ts";
import type { NativeCalls } from "./cuda-calls.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";
import { NVML_SUCCESS, NVML_SYMBOLS } from "./nvml-symbols.ts";

/** The functions of libnvidia-ml. */
export type Nvml = NativeCalls<typeof NVML_SYMBOLS>;

const SPEC: LibrarySpec = {
  name: "libnvidia-ml",
  variable: "BUN_TENSORRT_NVML",
  files: ["libnvidia-ml.so.1"],
  folders: ["/usr/lib/wsl/lib"],
  hint: "NVIDIA's driver brings it; a Jetson has none",
};

/**
 * The functions of libnvidia-ml. Opens the library, and initialises nothing.
 *
 * @throws {LibraryLoadError} If the machine has no NVIDIA driver
 */
export function nvml(): Nvml {
  return openLibrary(SPEC, NVML_SYMBOLS).symbols as unknown as Nvml;
}

/**
 * Check the status of a call on its line.
 *
 * @throws {NativeError} If it is not 0
 */
export function checkNvml(library: Nvml, status: number, call: string): void {
  if (status === NVML_SUCCESS) return;
  const text = readCString(library.nvmlErrorString(status));
  const error = new NativeError(message(`complete ${call}`, `it returned ${status}: ${text}`), {
    code: `NVML_${status}`,
    call,
  });
  Error.captureStackTrace(error, checkNvml);
  throw error;
}
