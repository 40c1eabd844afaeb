/** @module WarmUp: pictures through every slot of a pipeline before the first that counts. */

import { allEnded } from "../core/all-ended.ts";
import type { ImageSource } from "../image/source.ts";
import type { Slot } from "./backend.ts";
import type { Job, Pipeline } from "./pipeline.ts";

/** Run one picture so many times over in one batch. @throws the error of the picture, or of the run */
async function runBatch<Params, Output>(
  pipeline: Pipeline<unknown, Params, Output>,
  slot: Slot<Params, Output>,
  source: ImageSource,
  count: number,
  params: Params,
): Promise<void> {
  const failed: unknown[] = [];
  const job: Job<Output> = {
    source,
    isSettled: false,
    succeed: () => {},
    fail: (error) => failed.push(error),
  };
  await pipeline.run(slot, Array<Job<Output>>(count).fill(job), params);
  if (failed.length > 0) throw failed[0];
}

/**
 * Run each picture alone, and as a whole batch, in every slot. A slot that is at work meanwhile needs it least: it is left
 * out where another one comes twice in its place.
 *
 * @param sources what those to come are like
 * @throws {ImageError} If one is no picture
 * @throws {NativeError} If the model, or its device, fails
 */
export async function warmUp<Params, Output>(
  pipeline: Pipeline<unknown, Params, Output>,
  sources: readonly ImageSource[],
  params: Params,
): Promise<void> {
  const counts = new Set([1, pipeline.batch]);
  const begun = new Set<Slot<Params, Output>>();
  const warm = async (slot: Slot<Params, Output>): Promise<void> => {
    if (begun.has(slot)) return;
    begun.add(slot);
    for (const source of sources) {
      for (const count of counts) await runBatch(pipeline, slot, source, count, params);
    }
  };
  // Asked for at once, so that each of those that are free is given out.
  await allEnded(Array.from({ length: pipeline.inFlight }, () => pipeline.withSlot(warm)));
}
