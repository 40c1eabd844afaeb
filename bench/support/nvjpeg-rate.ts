/** @module NvjpegRate: how many pictures a second nvJPEG decodes in batches with nothing else to do. */

import { existsSync } from "node:fs";
import { join } from "node:path";

/** The library's own measurement of nvJPEG, where this build has it. */
const MODULE = join(import.meta.dir, "../../src/nvjpeg/batch-rate.ts");

interface BatchRate {
  /** Pictures a second, one figure for each part of the time. */
  batchRates(bytes: Uint8Array, durationMs: number): Promise<number[]>;
}

/** Pictures a second of one picture over and over; or why there is no figure, in a clause. */
export async function nvjpegRate(bytes: Uint8Array, durationMs: number): Promise<number[] | string> {
  if (!existsSync(MODULE)) return "this build of the library has no nvJPEG to measure alone";
  const { batchRates } = (await import(MODULE)) as BatchRate;
  return batchRates(bytes, durationMs);
}
