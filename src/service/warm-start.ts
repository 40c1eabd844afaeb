/** @module WarmStart: the detector of a service warmed up before the first frame, as far as that goes. */

import { inShort, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import type { Detector } from "../detector/detector.ts";

/**
 * Warm a detector up. What the machine has no room for now it may have for the frames to come, which may be smaller: that is
 * a warning. A model that gives what its layout rules out is not worth starting with.
 *
 * @throws {ModelError} If the model's output cannot be what its layout says
 */
export async function warmStart(detector: Pick<Detector, "warmUp">): Promise<void> {
  try {
    await detector.warmUp();
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    logger.warn(`The first frames take longer, as the warm-up failed: ${inShort(error)}`);
  }
}
