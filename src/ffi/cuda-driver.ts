/** @module CudaDriver: libcuda, found and opened with the first call to it. */

import type { NativeCalls } from "./cuda-calls.ts";
import { CUDA_DRIVER_SYMBOLS } from "./cuda-driver-symbols.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";

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

let driver: CudaDriver | undefined;

/**
 * libcuda's functions. The first call opens the library and initialises nothing; `Device.open` calls `cuInit`.
 *
 * @throws {LibraryLoadError} If the machine has no NVIDIA driver
 */
export function cudaDriver(): CudaDriver {
  driver ??= openLibrary(CUDA_DRIVER_SPEC, CUDA_DRIVER_SYMBOLS).symbols as unknown as CudaDriver;
  return driver;
}
