/** @module Device fault: whether an error means that a device is lost to this process. */

import { CudaError } from "../core/errors.ts";
import { isAsynchronousFault } from "../cuda/explanations.ts";

/** True for a fault inside a GPU's own work, after which every later call on that device fails as well. */
export function isDeviceFault(error: unknown): error is CudaError {
  return error instanceof CudaError && isAsynchronousFault(error.status);
}
