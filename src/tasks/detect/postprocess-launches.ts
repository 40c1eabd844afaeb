/** @module PostprocessLaunches: decoding and selection of a batch, from the model's outputs to blocks of kept rows. Pure. */

import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import type { RowExtra } from "../../model/detection-block.ts";
import type { Recognition } from "../../model/layout.ts";
import { MAX_CANDIDATES } from "../../model/selector.ts";
import { type DeviceOutputs, deviceOutput, dtypeCode, FLOATS } from "../../pipeline/gpu/device-output.ts";
import type { LaunchSpec } from "../../pipeline/gpu/kernel-launch.ts";
import { type DecodeBatch, decodeLaunches } from "./decode-launches.ts";
import { detectionWords, extraStart } from "./detections.ts";
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
  /** The blocks, and what was gathered behind them: what is copied back to the host. */
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
  recognition: Pick<Recognition, "plan" | "extras">,
  outputs: DeviceOutputs,
  input: DecodeBatch,
  rows: number,
): PostprocessSizes {
  const { capacity } = decodeLaunches(recognition.plan, outputs, input);
  const { batch } = input;
  const { extras = [] } = recognition;
  return {
    capacity,
    keys: batch * capacity * 8,
    boxes: batch * capacity * 16,
    classes: batch * capacity * 4,
    counters: batch * COUNTER_BYTES,
    kept: batch * rows * 16,
    detections: extraStart(rows, batch, extras, extras.length) * 4,
  };
}

/**
 * The launches, in order.
 *
 * @param rows as for {@linkcode postprocessSizes}
 * @throws {ShapeError} If an output has another shape or dtype than the plan says
 */
export function postprocessLaunches(
  recognition: Pick<Recognition, "plan" | "needsNms" | "extras">,
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
      regions: memory.table.pointer + SELECTION_BYTES,
      rows,
      words: detectionWords(rows),
      needs_nms: recognition.needsNms ? 1 : 0,
      max_candidates: MAX_CANDIDATES,
      candidates_per_source: candidatesPerSource(recognition.plan),
    },
  };
  const gathering = (recognition.extras ?? []).map((extra, at, all) =>
    gatherLaunch(extra, outputs, {
      batch: input.batch,
      rows,
      detections: memory.detections.pointer,
      gathered: memory.detections.pointer + extraStart(rows, input.batch, all, at) * 4,
    }),
  );
  return [...decoding, selecting, ...gathering];
}

/** Object queries with a sigmoid have a candidate for each of their classes; everything else has one a source. */
function candidatesPerSource(plan: Recognition["plan"]): number {
  return plan.kind === "queries" && plan.activation === "sigmoid" ? plan.classes : 1;
}

/** Rows of a block, a warp each. */
const GATHERED_ROWS = 8;

function gatherLaunch(
  { output: name, order, channels, first, length }: RowExtra,
  outputs: DeviceOutputs,
  to: { readonly batch: number; readonly rows: number; readonly detections: number; readonly gathered: number },
): LaunchSpec {
  const { batch, rows } = to;
  const isPlanar = order === "channel-major";
  const isFlat = order === "flat";
  const shape = isFlat ? [-1, channels] : isPlanar ? [batch, channels, -1] : [batch, -1, channels];
  const output = deviceOutput(outputs, name, FLOATS, shape);
  const sources = output.shape[isFlat ? 0 : isPlanar ? 2 : 1]!;
  return {
    module: "select",
    kernel: "gather_rows",
    config: { grid: [Math.ceil(rows / GATHERED_ROWS), batch, 1], block: [32, GATHERED_ROWS, 1] },
    values: {
      gathered: to.gathered,
      detections: to.detections,
      output: output.pointer,
      rows,
      words: detectionWords(rows),
      dtype: dtypeCode(output),
      first,
      length,
      channel_stride: isPlanar ? sources : 1,
      source_stride: isPlanar ? 1 : channels,
      picture_stride: isFlat ? 0 : sources * channels,
    },
  };
}
