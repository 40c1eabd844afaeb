/** @module Levers: the known ways to make detection faster, each by what it brought in this run. */

import type { Measurement, StudyResult } from "../result.ts";
import type { Study } from "../study.ts";
import { driftOf, medianOf } from "../support/samples.ts";
import { formatWithUnit } from "../support/units.ts";

/** Two measurements of which the second should be better. A name may end in `*`: the best of those that fit. */
interface Lever {
  readonly name: string;
  readonly without: readonly [study: string, id: string];
  readonly withIt: readonly [study: string, id: string];
}

const LEVERS: readonly Lever[] = [
  { name: "CUDA graph: the engine alone", without: ["latency", "raw-plain"], withIt: ["latency", "raw-graph"] },
  { name: "page-locked frames: one at a time", without: ["latency", "pageable"], withIt: ["latency", "decoded"] },
  { name: "NV12 read in place: one at a time", without: ["frame", "nv12"], withIt: ["frame", "nv12-in-place"] },
  { name: "RGB read in place: one at a time", without: ["frame", "rgb"], withIt: ["frame", "rgb-in-place"] },
  { name: "polling alone against by duration", without: ["frame", "rgb"], withIt: ["frame", "rgb-poll"] },
  { name: "a process on 4 cores", without: ["frame", "rgb"], withIt: ["frame", "rgb-4-cores"] },
  {
    name: "page-locked tensors, all else on the host",
    without: ["host", "host"],
    withIt: ["host", "pinned"],
  },
  { name: "pre-processing on the GPU", without: ["host", "graph"], withIt: ["host", "gpu-preprocess"] },
  { name: "decoding and NMS on the GPU", without: ["host", "gpu-preprocess"], withIt: ["host", "gpu"] },
  {
    name: "overlapped: frames in flight against one at a time",
    without: ["streams", "rate-*-page-locked-graph-1"],
    withIt: ["streams", "rate-*-page-locked-graph-*"],
  },
  {
    name: "page-locked frames: in flight",
    without: ["streams", "rate-*-ordinary-graph-4"],
    withIt: ["streams", "rate-*-page-locked-graph-4"],
  },
  {
    name: "CUDA graph: frames in flight",
    without: ["streams", "rate-*-page-locked-plain-4"],
    withIt: ["streams", "rate-*-page-locked-graph-4"],
  },
  {
    name: "copy streams apart against one stream",
    without: ["streams", "rate-one-page-locked-graph-4"],
    withIt: ["streams", "rate-split-page-locked-graph-4"],
  },
  {
    name: "parallel streams against one stream",
    without: ["streams", "rate-one-page-locked-graph-4"],
    withIt: ["streams", "rate-parallel-page-locked-graph-4"],
  },
  {
    name: "parallel contexts: four against one, engine alone",
    without: ["shapes", "contexts-1"],
    withIt: ["shapes", "contexts-4"],
  },
  {
    name: "the frame's own ratio against a square, 640, FP16",
    without: ["shapes", "gpu-fp16-square-640"],
    withIt: ["shapes", "gpu-fp16-rect-640"],
  },
  {
    name: "the frame's own ratio against a square, 640, CPU",
    without: ["shapes", "square-640"],
    withIt: ["shapes", "rect-640"],
  },
  {
    name: "the frame's own ratio against a square, 320, CPU",
    without: ["shapes", "square-320"],
    withIt: ["shapes", "rect-320"],
  },
  {
    name: "FP16 against FP32, 640, one image",
    without: ["shapes", "gpu-fp32-square-640"],
    withIt: ["shapes", "gpu-fp16-square-640"],
  },
  {
    name: "batch of 8 against 1, 640, FP16, images per second",
    without: ["shapes", "rate-fp16-640-b1"],
    withIt: ["shapes", "rate-fp16-640-b8"],
  },
  { name: "nvJPEG against the CPU: JPEG bytes", without: ["jpeg", "rate-cpu-*"], withIt: ["jpeg", "rate-gpu-*"] },
  { name: "scaled while decoding: JPEG bytes, CPU", without: ["jpeg", "rate-cpu"], withIt: ["jpeg", "rate-scaled"] },
  { name: "two in flight against one, CPU", without: ["streams", "rate-cpu-1"], withIt: ["streams", "rate-cpu-2"] },
  { name: "engine cache: until the plan is there", without: ["builds", "build-cold"], withIt: ["builds", "build-hit"] },
  { name: "timing cache: building again", without: ["builds", "build-cold"], withIt: ["builds", "build-warm"] },
  {
    name: "TensorRT against PyTorch, FP16, engine alone",
    without: ["peers", "pytorch"],
    withIt: ["latency", "raw-graph"],
  },
];

function fits(pattern: string, id: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[^\w-]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(id);
}

/** The best measurement a pattern fits. */
export function findMeasurement(
  studies: readonly StudyResult[],
  [study, pattern]: readonly [string, string],
): Measurement | undefined {
  const found = studies.find(({ name }) => name === study)?.measurements.filter(({ id }) => fits(pattern, id)) ?? [];
  const sign = found[0]?.better === "higher" ? -1 : 1;
  return found.toSorted((a, b) => sign * (medianOf(a.samples) - medianOf(b.samples)))[0];
}

/** All levers in one table. */
export const levers: Study = {
  name: "levers",
  title: "Levers: what each one brought",
  question: "Of the known ways to make detection faster, which one brought how much in this run?",
  needs: [],
  isMeasuring: false,
  async run({ earlier }, output) {
    const rows: (string | number)[][] = [];
    for (const lever of LEVERS) {
      const [without, withIt] = [findMeasurement(earlier, lever.without), findMeasurement(earlier, lever.withIt)];
      if (without === undefined || withIt === undefined) continue;
      const [a, b] = [medianOf(without.samples), medianOf(withIt.samples)];
      const gain = without.better === "lower" ? a / b : b / a;
      const noise = (2 * Math.hypot(driftOf(without.samples), driftOf(withIt.samples))) / a;
      const verdict =
        Math.max(gain, 1 / gain) <= 1 + Math.max(0.01, noise) ? "within the noise" : gain > 1 ? "pays" : "costs";
      rows.push([
        lever.name,
        formatWithUnit(a, without.unit),
        formatWithUnit(b, withIt.unit),
        `${gain.toFixed(2)}×`,
        verdict,
      ]);
    }
    if (rows.length === 0) {
      output.leftOut.push("every lever: the studies they come from did not run");
      return;
    }
    output.blocks.push({
      kind: "table",
      title: "With and without",
      note: "Medians of the studies above; × is how many times faster. Within the noise: less than twice the scatter within the run.",
      columns: ["lever", "without", "with", "gain", ""],
      rows,
    });
  },
};
