/** @module CudaWish: which CUDA's libraries to install, by the user's word, else by the driver. */

import type { CudaMajor, CudaWish } from "../catalogue/component.ts";
import { LibraryLoadError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cudaDriver } from "../ffi/cuda-driver.ts";
import { formatCudaVersion } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/memory.ts";

/** The driver's own CUDA version as CUDA counts it, such as 12020; `undefined` if there is no driver that answers. */
function driverCuda(): number | undefined {
  const out = new OutCells(1);
  try {
    if (cudaDriver().cuDriverGetVersion(out.cells) === 0) return out.i32();
    logger.debug("libcuda does not tell its version");
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    logger.debug("libcuda is absent: libraries for CUDA 12 are chosen, which run with newer drivers as well");
  }
  return undefined;
}

/**
 * The wish for a machine: CUDA 13 where the driver has it (580 and later), else 12. Without a driver 12, as it runs with
 * the drivers of both; a component that there is for 13 alone is then taken for 13.
 *
 * @param word of `--cuda`, if it was given
 */
export function cudaWish(word: CudaMajor | undefined): CudaWish {
  if (word !== undefined) return { major: word, reason: `--cuda ${word} was given` };
  const version = driverCuda();
  if (version === undefined) return { major: 12 };
  return {
    major: version >= 13_000 ? 13 : 12,
    reason: `the driver has CUDA ${formatCudaVersion(version)}`,
  };
}
