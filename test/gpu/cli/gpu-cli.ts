/** @module GpuCli: the command line on a GPU, with an engine cache of its own and the libraries this process found. */

import { dirname } from "node:path";
import { cudaRuntimePath } from "../../../src/ffi/cuda-runtime.ts";
import { gpuLibrary } from "../../support/gpu-tensorrt.ts";

/**
 * The environment of a command whose cache lies elsewhere: libraries that `install` has put into the usual one are named
 * outright.
 */
export function gpuEnvironment(cache: string): Record<string, string> {
  const { path } = gpuLibrary();
  return {
    BUN_TENSORRT_BACKEND: "auto",
    BUN_TENSORRT_CACHE: cache,
    ...(path.includes("/") ? { BUN_TENSORRT_TENSORRT: dirname(path) } : {}),
    ...(cudaRuntimePath().includes("/") ? { BUN_TENSORRT_CUDART: cudaRuntimePath() } : {}),
  };
}
