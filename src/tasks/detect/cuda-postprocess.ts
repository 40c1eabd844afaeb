/** @module GpuPostprocess: decoding and selection of a batch on the device, with their memory, down to the kept rows on the host. */

import type { DeviceTensors, LoadedModel } from "../../accelerators/tensorrt/gpu-model.ts";
import type { SlotStreams } from "../../accelerators/tensorrt/gpu-streams.ts";
import {
  type DeviceOutputs,
  deviceOutput,
  dtypeCode,
  KernelLaunch,
  type LaunchSpec,
} from "../../accelerators/tensorrt/kernels.ts";
import { Owner } from "../../core/resource.ts";
import type { DType } from "../../core/tensor.ts";
import { copyToHost, fill } from "../../cuda/copy.ts";
import { DeviceBuffer, type DeviceMemory } from "../../cuda/device-buffer.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { ModelSpec } from "../../heads/head.ts";
import { refuseClassId } from "../../heads/outputs.ts";
import { FLOATS } from "../../heads/traits.ts";
import { refuseDecoded } from "../../heads/yolox.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock, RowExtra } from "../../model/rows.ts";
import type { CudaObjects, ObjectStage } from "../objects/cuda-objects.ts";
import { type GpuTables, SELECTION_BYTES } from "./cuda-tables.ts";
import { type DecodeBatch, decodeLaunches } from "./decode-launches.ts";
import { assertProbability, MAX_CANDIDATES } from "./nms.ts";

/** From the outputs of a batch to its detections. */
export class GpuPostprocess extends Owner {
  /** Most rows it keeps of an image. */
  readonly rows: number;
  readonly #head: string;
  readonly #launches: readonly KernelLaunch[];
  /** Where the kernels write the rows, and where they are copied to; `undefined` where that is one memory. */
  readonly #copy: readonly [from: DeviceBuffer<"i32">, to: PinnedBuffer<"i32">] | undefined;
  readonly #reader: DetectionReader;
  readonly #objects: CudaObjects;
  readonly #stage: ObjectStage | undefined;

  /**
   * @param streams.setup where its memory is prepared: to be synchronised before the first frame
   * @param rows  most rows that are kept of an image
   * @throws {ShapeError} If an output has another shape or dtype than the head's plan says
   */
  constructor(
    model: LoadedModel,
    recognition: ModelSpec,
    { setup, takesTurns }: Pick<SlotStreams, "setup" | "takesTurns">,
    tensors: DeviceTensors,
    tables: GpuTables,
    batch: DecodeBatch,
    rows: number,
    objects: CudaObjects,
  ) {
    super(`GpuPostprocess of ${batch.batch}, ${rows} rows`, model.device);
    this.rows = rows;
    this.#head = recognition.head;
    this.#objects = objects;
    try {
      const { device } = model;
      const sizes = postprocessSizes(recognition, tensors.outputs, batch, rows);
      const allocate = <T extends DType>(dtype: T, byteLength: number): DeviceBuffer<T> =>
        this.owned.use(DeviceBuffer.create(dtype, [byteLength / 4], { device }));
      const detections = allocate("i32", sizes.detections);
      const use = takesTurns ? "copy" : "mapped";
      const host = this.owned.use(PinnedBuffer.create("i32", [sizes.host / 4], device, { use }));
      host.data.fill(0);
      this.#copy = takesTurns ? [allocate("i32", sizes.host), host] : undefined;
      if (this.#copy !== undefined) fill(this.#copy[0], 0, setup);
      const memory = {
        keys: allocate("i32", sizes.keys),
        boxes: allocate("i32", sizes.boxes),
        classes: allocate("i32", sizes.classes),
        counters: allocate("i32", sizes.counters),
        kept: allocate("i32", sizes.kept),
        detections,
        host: this.#copy?.[0] ?? host.mapped,
        table: tables.deviceSelection,
        ...(objects.choose && { chosen: allocate("i32", sizes.chosen) }),
      };
      if (memory.chosen !== undefined) fill(memory.chosen, 0, setup);
      fill(memory.counters, 0, setup);
      fill(detections, 0, setup);
      this.#reader = new DetectionReader(host.buffer, rows, batch.batch, recognition.extras);
      const { outputs } = tensors;
      const launches = postprocessLaunches(recognition, outputs, batch, memory, rows, objects.choose);
      this.#launches = launches.map((spec) => new KernelLaunch(model.kernels, spec));
      const { kept } = memory;
      this.#stage = objects.createStage?.({
        model,
        setup,
        outputs,
        shape: batch,
        rows,
        detections,
        kept,
      });
      if (this.#stage !== undefined) this.owned.use(this.#stage);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Tell what is behind the gathering where each image lies, before a run. */
  select(regions: readonly Region[], on: OnStream): void {
    this.#stage?.select(regions, on);
  }

  /** Enqueue decoding and selection. */
  enqueue(options: OnStream): void {
    for (const launch of this.#launches) launch.enqueue(options);
    this.#stage?.enqueue(options);
  }

  /** Enqueue the copy of the kept rows to the host, where the kernels have not written them there. */
  enqueueCopy(on: OnStream): void {
    if (this.#copy !== undefined) copyToHost(this.#copy[1], this.#copy[0], on);
  }

  /** Make room where a run had too little. @returns true if it is to be run again */
  grow(): boolean {
    return this.#stage?.grow() ?? false;
  }

  /** Copy one image's rows out, once the run has been waited for. @throws {ModelError} If they cannot be what the head says */
  read(index: number, block: DetectionBlock, region: Region): void {
    this.#reader.read(index, block, this.#head);
    this.#objects.mapRows?.(block, region);
    this.#stage?.read(index, block);
  }
}

/** Bytes of `struct Counters` in kernels/decode.cuh. */
const COUNTER_BYTES = 16;

/** Bytes of the device memory that post-processing needs beside the outputs. */
export interface PostprocessSizes {
  /** Most candidates of one image. */
  readonly capacity: number;
  readonly keys: number;
  readonly boxes: number;
  readonly classes: number;
  /** To be filled with 0 once; every run leaves it so. */
  readonly counters: number;
  readonly kept: number;
  /** Of those that another choice than NMS leaves; to be filled with 0 once, as the counters. */
  readonly chosen: number;
  /** The blocks, for what comes after them on the device. */
  readonly detections: number;
  /** What the host reads: the blocks, and what was gathered behind them. */
  readonly host: number;
}

/** That memory. The table is what {@linkcode NmsOptionsTable} packed. */
export type PostprocessMemory = Readonly<
  Record<"keys" | "boxes" | "classes" | "counters" | "kept" | "detections" | "host" | "table", DeviceMemory> & {
    chosen?: DeviceMemory;
  }
>;

/** How much memory a batch needs. @param rows most that are kept of an image @throws {ShapeError} As {@linkcode decodeLaunches} */
export function postprocessSizes(
  recognition: Pick<ModelSpec, "plan" | "extras">,
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
    chosen: batch * (capacity * 8 + 4),
    detections: batch * detectionWords(rows) * 4,
    host: extraStart(rows, batch, extras, extras.length) * 4,
  };
}

/**
 * The launches, in order, for memory of {@linkcode postprocessSizes}.
 *
 * @param choose which candidates stay, where that is not what NMS says
 * @throws {ShapeError} As {@linkcode decodeLaunches}
 */
export function postprocessLaunches(
  recognition: Pick<ModelSpec, "plan" | "needsNms" | "extras">,
  outputs: DeviceOutputs,
  input: DecodeBatch,
  memory: PostprocessMemory,
  rows: number,
  choose?: CudaObjects["choose"],
): LaunchSpec[] {
  const { launches, capacity } = decodeLaunches(recognition.plan, outputs, input);
  const { batch } = input;
  const keys = memory.keys.pointer;
  const classes = memory.classes.pointer;
  const counters = memory.counters.pointer;
  const selection = memory.table.pointer;
  const candidates = { keys, boxes: memory.boxes.pointer, counters, selection, capacity };
  const decoding = launches.map((launch) => ({
    ...launch,
    values: { ...launch.values, ...candidates, classes_out: classes },
  }));
  const chosen = memory.chosen?.pointer ?? 0;
  const chosenCounts = chosen && chosen + batch * capacity * 8;
  const lists = { keys, classes, counters, selection, capacity, chosen, chosen_counts: chosenCounts };
  const choosing = choose === undefined ? [] : [choose(outputs, lists, batch)];
  const selecting: LaunchSpec = {
    module: "select",
    kernel: "select_detections",
    config: { grid: [batch, 1, 1], block: [1024, 1, 1] },
    values: {
      ...candidates,
      ...(choose && { keys: chosen }),
      chosen_counts: chosenCounts,
      detections: memory.detections.pointer,
      host: memory.host.pointer,
      kept: memory.kept.pointer,
      classes,
      regions: memory.table.pointer + SELECTION_BYTES,
      rows,
      words: detectionWords(rows),
      needs_nms: recognition.needsNms && !choose ? 1 : 0,
      max_candidates: MAX_CANDIDATES,
      candidates_per_source: candidatesPerSource(recognition.plan),
    },
  };
  const gathering = (recognition.extras ?? []).map((extra, at, all) =>
    gatherLaunch(extra, outputs, {
      batch,
      rows,
      detections: memory.detections.pointer,
      gathered: memory.host.pointer + extraStart(rows, batch, all, at) * 4,
    }),
  );
  return [...decoding, ...choosing, selecting, ...gathering];
}

/** Object queries with a sigmoid have a candidate for each of their classes; everything else has one a source. */
function candidatesPerSource(plan: ModelSpec["plan"]): number {
  return plan.kind === "queries" && plan.activation === "sigmoid" ? plan.classes : 1;
}

/** What kernels read an extra by. @throws {ShapeError} If the output has another shape or dtype */
export function extraValues(
  { output: name, order, channels }: RowExtra,
  outputs: DeviceOutputs,
  batch: number,
): Readonly<Record<"output" | "dtype" | "channel_stride" | "source_stride" | "image_stride", number>> {
  const isPlanar = order === "channel-major";
  const isFlat = order === "flat";
  const shape = isFlat ? [-1, channels] : isPlanar ? [batch, channels, -1] : [batch, -1, channels];
  const output = deviceOutput(outputs, name, FLOATS, shape);
  const sources = output.shape[isFlat ? 0 : isPlanar ? 2 : 1]!;
  return {
    output: output.pointer,
    dtype: dtypeCode(output),
    channel_stride: isPlanar ? sources : 1,
    source_stride: isPlanar ? 1 : channels,
    image_stride: isFlat ? 0 : sources * channels,
  };
}

/** Rows of a block, a warp each. */
const GATHERED_ROWS = 8;

function gatherLaunch(
  extra: RowExtra,
  outputs: DeviceOutputs,
  to: { readonly batch: number; readonly rows: number; readonly detections: number; readonly gathered: number },
): LaunchSpec {
  const { batch, rows } = to;
  return {
    module: "select",
    kernel: "gather_rows",
    config: { grid: [Math.ceil(rows / GATHERED_ROWS), batch, 1], block: [32, GATHERED_ROWS, 1] },
    values: {
      ...extraValues(extra, outputs, batch),
      gathered: to.gathered,
      detections: to.detections,
      rows,
      words: detectionWords(rows),
      first: extra.first,
      length: extra.length,
    },
  };
}

/** 32-bit words before the rows: count, dropped, fault, the value of the fault. */
export const DETECTION_HEADER_WORDS = 4;

/** Faults as kernels/decode.cuh has them. */
const FAULT_CLASS = 1;
const FAULT_GRID = 2;
const FAULT_BOX = 3;

/** 32-bit words of one image's block: a header, [rows, 4] boxes, [rows] scores, class ids and sources, to a multiple of 4. */
export function detectionWords(rows: number): number {
  return Math.ceil((DETECTION_HEADER_WORDS + rows * 7) / 4) * 4;
}

/** Where an extra, f32 [batch, rows, length], begins behind the blocks of a batch, in words; that of their number is the end. */
export function extraStart(
  rows: number,
  batch: number,
  extras: readonly Pick<RowExtra, "length">[],
  index: number,
): number {
  let words = batch * detectionWords(rows);
  for (let at = 0; at < index; at++) words += Math.ceil((batch * rows * extras[at]!.length) / 4) * 4;
  return words;
}

/** Reads what the device has written. The views are made once; a frame copies rows and nothing else. */
export class DetectionReader {
  readonly #integers: Int32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;
  readonly #rows: number;
  /** Where each extra of the first image begins, in words, and its words an image. */
  readonly #extras: readonly { readonly start: number; readonly words: number }[];

  /**
   * @param buffer i32 [batch, words] of the blocks, in page-locked memory
   * @param rows   rows of each block
   * @param batch  images
   * @param extras what was gathered, which follows the blocks
   */
  constructor(buffer: ArrayBuffer, rows: number, batch: number, extras: readonly Pick<RowExtra, "length">[] = []) {
    this.#integers = new Int32Array(buffer);
    this.#floats = new Float32Array(buffer);
    this.#rows = rows;
    this.#extras = extras.map(({ length }, at) => ({
      start: extraStart(rows, batch, extras, at),
      words: rows * length,
    }));
  }

  /**
   * Copy one image's kept rows.
   *
   * @param block  room for as many rows as were asked for
   * @param head for messages: which head the model was read as
   * @throws {ModelError} If a class id is no whole number from 0 on, or a score no probability, or a grid is decoded
   */
  read(index: number, block: DetectionBlock, head: string): void {
    const integers = this.#integers;
    const floats = this.#floats;
    const start = index * detectionWords(this.#rows);
    const count = integers[start]!;
    block.dropped = integers[start + 1]!;
    const fault = integers[start + 2]!;
    if (fault === FAULT_CLASS) refuseClassId(floats[start + 3]!, `decode the model's output as head "${head}"`, head);
    if (fault === FAULT_GRID) refuseDecoded(floats[start + 3]!, head);
    block.hasOnlyInsideOut = fault === FAULT_BOX && count + block.dropped === 0;
    const boxes = start + DETECTION_HEADER_WORDS;
    const scores = boxes + this.#rows * 4;
    const classIds = scores + this.#rows;
    const sources = classIds + this.#rows;
    if (count > 0) assertProbability(floats[scores]!, head);
    for (let at = 0; at < count * 4; at++) block.boxes[at] = floats[boxes + at]!;
    for (let row = 0; row < count; row++) {
      block.scores[row] = floats[scores + row]!;
      block.classIds[row] = integers[classIds + row]!;
      block.sources[row] = integers[sources + row]!;
    }
    for (let extra = 0; extra < this.#extras.length; extra++) {
      const { start: first, words } = this.#extras[extra]!;
      const gathered = block.extras[extra]!;
      const length = (words / this.#rows) * count;
      for (let at = 0; at < length; at++) gathered[at] = floats[first + index * words + at]!;
    }
    block.count = count;
  }
}
