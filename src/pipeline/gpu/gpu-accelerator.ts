/** @module GpuAccelerator: TensorRT, on NVIDIA GPUs. */

import { inShort, LibraryLoadError } from "../../core/errors.ts";
import { cudaUnavailable } from "../../cuda/probe.ts";
import { openTensorRt } from "../../tensorrt/library.ts";
import type { Accelerator } from "../backend.ts";
import { GpuBackend } from "./gpu-backend.ts";
import { type ModelFile, readModelFile } from "./model-file.ts";

/**
 * Why models cannot run on a GPU of this machine, in one line; `undefined` where they can. Opens the libraries.
 */
export function gpuUnavailable(): string | undefined {
  const cuda = cudaUnavailable();
  if (cuda !== undefined) return cuda;
  try {
    openTensorRt();
    return undefined;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return inShort(error);
  }
}

/** Models on TensorRT. */
export const gpuAccelerator: Accelerator = {
  unavailable: gpuUnavailable,
  open: (source, task, options) => GpuBackend.load(source as string | Uint8Array | ModelFile, task, options),
  read: readModelFile,
};
