/** @module PostprocessLaunches: decoding and selection of a batch, from the model's outputs to blocks of kept rows. Pure. */

import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { Recognition } from "../../model/layout.ts";
import { MAX_CANDIDATES } from "../../model/selector.ts";
import { type DecodeBatch, decodeLaunches } from "./decode-launches.ts";
import { detectionWords } from "./detections.ts";
import type { DeviceOutputs } from "./device-output.ts";
import type { LaunchSpec } from "./kernel-launch.ts";
import { SELECTION_BYTES } from "./selection-table.ts";

/** Bytes of `struct Counters` in kernels/decode.cuh. */
const COUNTER_BYTES = 16;

/** Bytes of the device memory that post-processing needs beside the outputs. */
export interface PostprocessSizes {
  /** Most candidates of one picture. */
  readonly capacity: number;
  readonly keys: number;
  readonly boxes: number;
  readonly classes: number;
  /** To be filled with 0 once; every run leaves it so. */
  readonly counters: number;
  readonly kept: number;
  /** The blocks: what is copied back to the host. */
  readonly detections: number;
}

/** That memory. The table is what {@linkcode SelectionTable} packed. */
export type PostprocessMemory = Readonly<
  Record<"keys" | "boxes" | "classes" | "counters" | "kept" | "detections" | "table", DeviceMemory>
>;

/**
 * How much memory a batch needs.
 *
 * @param rows most rows that are kept of a picture
 * @throws {ShapeError} If an output has another shape or dtype than the plan says
 */
export function postprocessSizes(
  recognition: Pick<Recognition, "plan">,
  outputs: DeviceOutputs,
  input: DecodeBatch,
  rows: number,
): PostprocessSizes {
  const { capacity } = decodeLaunches(recognition.plan, outputs, input);
  const { batch } = input;
  return {
    capacity,
    keys: batch * capacity * 8,
    boxes: batch * capacity * 16,
    classes: batch * capacity * 4,
    counters: batch * COUNTER_BYTES,
    kept: batch * rows * 16,
    detections: batch * detectionWords(rows) * 4,
  };
}

/**
 * The launches, in order.
 *
 * @param rows as for {@linkcode postprocessSizes}
 * @throws {ShapeError} If an output has another shape or dtype than the plan says
 */
export function postprocessLaunches(
  recognition: Pick<Recognition, "plan" | "needsNms">,
  outputs: DeviceOutputs,
  input: DecodeBatch,
  memory: PostprocessMemory,
  rows: number,
): LaunchSpec[] {
  const { launches, capacity } = decodeLaunches(recognition.plan, outputs, input);
  const candidates = {
    keys: memory.keys.pointer,
    boxes: memory.boxes.pointer,
    counters: memory.counters.pointer,
    selection: memory.table.pointer,
    capacity,
  };
  const decoding = launches.map((launch) => ({
    ...launch,
    values: { ...launch.values, ...candidates, classes_out: memory.classes.pointer },
  }));
  const selecting: LaunchSpec = {
    module: "select",
    kernel: "select_detections",
    config: { grid: [input.batch, 1, 1], block: [1024, 1, 1] },
    values: {
      ...candidates,
      detections: memory.detections.pointer,
      kept: memory.kept.pointer,
      classes: memory.classes.pointer,
      placements: memory.table.pointer + SELECTION_BYTES,
      rows,
      words: detectionWords(rows),
      needs_nms: recognition.needsNms ? 1 : 0,
      max_candidates: MAX_CANDIDATES,
    },
  };
  return [...decoding, selecting];
}
