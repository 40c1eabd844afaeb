/** @module Probe: whether this machine has a GPU that CUDA can use, and if not, why. */

import { CudaError, inShort, LibraryLoadError } from "../core/errors.ts";
import { cudaDriver } from "../ffi/cuda-driver.ts";
import { Device } from "./device.ts";

/** Statuses that mean "there is no usable GPU here", in contrast to one that is broken. */
const ABSENT: ReadonlySet<number> = new Set([34, 35, 100]);

/**
 * Why CUDA cannot be used on this machine, or `undefined` where it can. Opens the libraries, but no device.
 *
 * @returns one line: a library that is nowhere, no driver, a driver too old, or no GPU
 * @throws {CudaError} If there is a GPU and it fails for another reason
 */
export function cudaUnavailable(): string | undefined {
  try {
    cudaDriver();
    Device.count();
    return undefined;
  } catch (error) {
    const isAbsent = error instanceof LibraryLoadError || (error instanceof CudaError && ABSENT.has(error.status));
    if (!isAbsent) throw error;
    return inShort(error);
  }
}
