/** @module GpuSampler: what NVML tells of the GPUs, in the form metrics take it. */

import type { GpuUsage } from "../nvml/gpu-usage.ts";
import type { GpuSampler } from "./metrics.ts";

/** Reads all GPUs at every scrape; none where there are none, or once they are closed. @param usage stays its owner's */
export function gpuSampler(usage: GpuUsage | undefined): GpuSampler {
  return () =>
    usage === undefined || usage.closed
      ? []
      : usage.read().map(({ index, ...reading }) => ({ gpu: String(index), ...reading }));
}
