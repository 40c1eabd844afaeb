/** @module DecodeAll: the picture files of a batch, decoded side by side. */

import type { SourceBytes } from "../image/source.ts";
import type { DecodeOutcome } from "./backend.ts";
import type { StageTimings } from "./stage-timings.ts";

/**
 * Decode files side by side; one that cannot be decoded fails alone.
 *
 * @param decode  each into memory of its own
 * @param timings is told how long it took
 */
export async function decodeAll<Picture>(
  files: readonly SourceBytes[],
  decode: (file: SourceBytes, index: number) => Promise<Picture>,
  timings: StageTimings,
): Promise<DecodeOutcome<Picture>[]> {
  const started = performance.now();
  // Async, so that what one throws at once leaves none of the others running unseen.
  const settled = await Promise.allSettled(files.map(async (file, index) => decode(file, index)));
  timings.decode = performance.now() - started;
  return settled.map((result) =>
    result.status === "fulfilled" ? { picture: result.value } : { error: result.reason as unknown },
  );
}
