/** @module SliceOptions: what callers may say of the slices that an image is detected in, declared once. */

import { z } from "zod";
import { numberWithin, wholeWithin } from "../core/number-options.ts";
import type { OptionsOf } from "../core/options.ts";
import type { SliceEdges, SliceMerge, SliceMetric } from "../tasks/slices/slice-grid.ts";
import { SIZE_OPTION } from "./machine-options.ts";

/** How images are cut into slices, and what is found in them merged: as SAHI does it. */
export interface SliceOptions {
  /** Size of a slice in pixels: a square side, or [width, height]. Default: that of the model's input. */
  readonly size?: number | readonly [width: number, height: number] | undefined;
  /** Share of a slice that neighbours have in common, from 0 to 0.9. Default 0.2. */
  readonly overlap?: number | undefined;
  /** Whether the whole image is seen as well, for objects larger than a slice. Default true. */
  readonly whole?: boolean | undefined;
  /**
   * How detections that overlap become one. `"nms"`: the best is kept. `"greedy-nmm"`: it grows over those that overlap it, mask and
   * oriented box included. `"nmm"`: likewise, and over those that overlap these. Default `"greedy-nmm"`.
   */
  readonly merge?: SliceMerge | undefined;
  /** What overlap is measured by: intersection over the smaller of both, `"ios"`, or over the union, `"iou"`. Default `"ios"`. */
  readonly metric?: SliceMetric | undefined;
  /** Detections that overlap by at least as much become one, 0–1. Default 0.5. */
  readonly threshold?: number | undefined;
  /** `"drop"`: boxes that end at an inner edge of their slice are left out where another view has the object whole. Default `"keep"`. */
  readonly edges?: SliceEdges | undefined;
  /** An image of more slices is refused. Default 4096. */
  readonly maxSlices?: number | undefined;
}

const MERGES = ["nms", "nmm", "greedy-nmm"] as const satisfies readonly SliceMerge[];
const upper = { GREEDYNMM: "greedy-nmm" } as Readonly<Record<string, string>>;

/** Every option of slices. */
export const SLICE_OPTIONS: OptionsOf<SliceOptions> = {
  size: {
    schema: SIZE_OPTION.schema,
    value: "N|WxH",
    fromText: SIZE_OPTION.fromText!,
    textRule: SIZE_OPTION.textRule!,
    flag: "slice",
    help: "detect in slices of this size: finds small objects in large images",
    aliases: ["sliceSize"],
  },
  overlap: {
    schema: numberWithin(0, 0.9).default(0.2),
    help: "share of a slice that neighbours have in common",
    aliases: ["overlapRatio", "sliceOverlap"],
  },
  whole: {
    schema: z.boolean("true or false").default(true),
    flag: "no-whole",
    help: "slices only, without the whole image beside them",
    aliases: ["noStandardPrediction"],
  },
  merge: {
    schema: z.enum(MERGES, `one of ${MERGES.join(", ")}`).default("greedy-nmm"),
    flag: "slice-merge",
    help: "how what slices share becomes one",
    aliases: [["postprocessType", (text: string) => upper[text] ?? text.toLowerCase()]],
  },
  metric: {
    schema: z.enum(["iou", "ios"], "iou or ios").default("ios"),
    flag: "slice-metric",
    help: "what overlap is over: the union, or the smaller",
    aliases: [["postprocessMatchMetric", (text: string) => text.toLowerCase()]],
  },
  threshold: {
    schema: numberWithin(0, 1).default(0.5),
    flag: "slice-threshold",
    help: "overlap from which slices' detections become one",
    aliases: ["postprocessMatchThreshold"],
  },
  edges: {
    schema: z.enum(["keep", "drop"], "keep or drop").default("keep"),
    flag: "slice-edges",
    help: "boxes cut by a slice; drop: if another view has them whole",
  },
  maxSlices: {
    schema: wholeWithin(1, 1_000_000).default(4096),
    help: "refuse images of more slices",
  },
};
