/** @module MemoryShortage: which errors mean that the device has no memory left, whoever asked for it. */

import { CudaError, NativeError, TensorRtError } from "../../core/errors.ts";
import { MEMORY_ALLOCATION } from "../../cuda/check.ts";

/**
 * True where memory has run out, which others may give back: what CUDA or nvJPEG was asked for, or what TensorRT takes for
 * itself, of which its log alone may tell.
 */
export function isOutOfMemory(error: unknown): error is NativeError {
  if (error instanceof CudaError) return error.status === MEMORY_ALLOCATION;
  if (error instanceof TensorRtError) {
    return error.code === "FAILED_ALLOCATION" || error.log.some((line) => /out[ _]?of[ _]?memory/i.test(line));
  }
  return error instanceof NativeError && error.code === "NVJPEG_STATUS_ALLOCATOR_FAILURE";
}
