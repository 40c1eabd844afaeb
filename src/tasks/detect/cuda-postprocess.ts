/**
 * @module CudaPostprocess: decoding and selection of a batch on the device, with their memory, down to the kept rows on the
 * host; of oriented boxes it is decided by how rotated ones overlap.
 */

import type { DeviceTensors, LoadedModel } from "../../accelerators/tensorrt/gpu-model.ts";
import type { SlotStreams } from "../../accelerators/tensorrt/gpu-streams.ts";
import { type DeviceOutputs, KernelLaunch, type LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import { Owner } from "../../core/resource.ts";
import { type DType, volume } from "../../core/tensor.ts";
import { DeviceBuffer, type DeviceMemory, PinnedBuffer, type TypedDeviceMemory } from "../../cuda/buffers.ts";
import { copyToHost, fill } from "../../cuda/copy.ts";
import { deviceTable } from "../../cuda/kept-memory.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { ModelSpec } from "../../heads/head.ts";
import type { ObjectSpec } from "../../heads/object-reading.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock, RowExtra } from "../../model/rows.ts";
import { orientedToSource } from "../obb/rotated.ts";
import { decodeLaunches } from "./decode-launches.ts";
import {
  type CudaObjects,
  type DecodeBatch,
  DetectionReader,
  detectionWords,
  extraStart,
  extraValues,
  type GpuTables,
  type ObjectStage,
  SELECTION_BYTES,
} from "./device-batch.ts";
import { extraTable, mapGathering } from "./map-launches.ts";
import { MAX_CANDIDATES, mostRows } from "./nms.ts";

/** From the outputs of a batch to its detections. */
export class GpuPostprocess extends Owner {
  /** Most rows it keeps of an image. */
  readonly rows: number;
  readonly #spec: ModelSpec;
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
    this.#spec = recognition;
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
        ...(sizes.oriented > 0 && { oriented: allocate("f32", sizes.oriented) }),
        ...(sizes.tables > 0 && {
          tables: this.owned.use(deviceTable("u8", mapTables(recognition, tensors.outputs, batch), device)),
        }),
      };
      if (memory.chosen !== undefined) fill(memory.chosen, 0, setup);
      fill(memory.counters, 0, setup);
      fill(detections, 0, setup);
      this.#reader = new DetectionReader(host.buffer, rows, batch.batch, recognition.extras);
      const { outputs } = tensors;
      const launches = postprocessLaunches(recognition, outputs, batch, memory, rows, objects.choose);
      this.#launches = launches.map((spec) => new KernelLaunch(model.kernels, spec));
      const gathered = { model, setup, outputs, shape: batch, rows, detections, kept: memory.kept };
      this.#stage = objects.createStage?.(gathered);
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
    this.#reader.read(index, block, this.#spec);
    this.#objects.mapRows?.(block, region);
    this.#stage?.read(index, block);
  }
}

/** Bytes of `struct Counters` in kernels/decode.cuh. */
const COUNTER_BYTES = 32;

/** Bytes of the device memory that post-processing needs beside the outputs. */
interface PostprocessSizes {
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
  /** Of what comes with each source of oriented boxes, where the decoder works it out; else 0. */
  readonly oriented: number;
  /** Of what {@linkcode mapTables} gives. */
  readonly tables: number;
  /** The blocks, for what comes after them on the device. */
  readonly detections: number;
  /** What the host reads: the blocks, and what was gathered behind them. */
  readonly host: number;
}

/** That memory. The table is what {@linkcode NmsOptionsTable} packed. */
type PostprocessMemory = Readonly<
  Record<"keys" | "boxes" | "classes" | "counters" | "kept" | "detections" | "host" | "table", DeviceMemory> & {
    chosen?: DeviceMemory;
    oriented?: DeviceMemory;
    /** A copy of what {@linkcode mapTables} gives. */
    tables?: DeviceMemory;
  }
>;

/** Centre, size and angle of a box. */
const ORIENTED_NUMBERS = 5;
/** Each table begins at a multiple of it. */
const TABLE_BYTES = 16;

/** The tables of the decoder and of each extra, empty where there is none; they lie one after the other. */
function tablesOf(
  { plan, extras = [] }: Pick<ModelSpec, "plan" | "extras">,
  outputs: DeviceOutputs,
  input: DecodeBatch,
): readonly Uint8Array[] {
  const none = new Uint8Array(0);
  const ofExtras = extras.map((extra) => extra.maps && extraTable(extra, extra.maps, outputs, input));
  return [decodeLaunches(plan, outputs, input).table, ...ofExtras].map((table = none) => {
    const padded = new Uint8Array(Math.ceil(table.length / TABLE_BYTES) * TABLE_BYTES);
    padded.set(table);
    return padded;
  });
}

/** What kernels know of the maps that they read, to be copied to the device; empty where they read none. @throws {ShapeError} As {@linkcode decodeLaunches} */
export function mapTables(
  recognition: Pick<ModelSpec, "plan" | "extras">,
  outputs: DeviceOutputs,
  input: DecodeBatch,
): Uint8Array<ArrayBuffer> {
  const all = tablesOf(recognition, outputs, input);
  const bytes = new Uint8Array(new ArrayBuffer(all.reduce((sum, { length }) => sum + length, 0)));
  for (let at = 0, start = 0; at < all.length; start += all[at]!.length, at++) bytes.set(all[at]!, start);
  return bytes;
}

/** How much memory a batch needs. @param rows most that are kept of an image @throws {ShapeError} As {@linkcode decodeLaunches} */
export function postprocessSizes(
  recognition: Pick<ModelSpec, "plan" | "extras">,
  outputs: DeviceOutputs,
  input: DecodeBatch,
  rows: number,
): PostprocessSizes {
  const { capacity, boxes, isOriented = false } = decodeLaunches(recognition.plan, outputs, input);
  const { batch } = input;
  const { extras = [] } = recognition;
  return {
    capacity,
    keys: batch * capacity * 8,
    boxes: batch * boxes * 16,
    classes: batch * boxes * 4,
    counters: batch * COUNTER_BYTES,
    kept: batch * rows * 16,
    chosen: batch * (capacity * 8 + 4),
    oriented: isOriented ? batch * boxes * ORIENTED_NUMBERS * 4 : 0,
    tables: mapTables(recognition, outputs, input).length,
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
  const { plan, extras = [] } = recognition;
  const decoder = decodeLaunches(plan, outputs, input);
  const { launches, capacity, boxes, candidatesPerBox, isOriented = false } = decoder;
  const { batch } = input;
  const keys = memory.keys.pointer;
  const classes = memory.classes.pointer;
  const counters = memory.counters.pointer;
  const selection = memory.table.pointer;
  const candidates = { keys, boxes: memory.boxes.pointer, counters, selection, capacity };
  const tables = memory.tables?.pointer ?? 0;
  const oriented = memory.oriented?.pointer ?? 0;
  const decoding = launches.map((launch) => ({
    ...launch,
    values: {
      ...launch.values,
      ...candidates,
      classes_out: classes,
      ...(decoder.table && { levels: tables }),
      ...(plan.kind === "distance-maps" && { oriented }),
    },
  }));
  // What the decoder pushes with each source is read as an output without a name.
  const shape = [batch, boxes, ORIENTED_NUMBERS];
  const pushed = { dtype: "f32", shape, length: volume(shape), byteLength: volume(shape) * 4, pointer: oriented };
  const readable = isOriented ? new Map([...outputs, ["", pushed as TypedDeviceMemory]]) : outputs;
  const perSource = candidatesPerSource(plan, candidatesPerBox);
  const chosen = memory.chosen?.pointer ?? 0;
  const chosenCounts = chosen && chosen + batch * capacity * 8;
  const lists = { keys, classes, counters, selection, capacity, chosen, chosen_counts: chosenCounts };
  const choosing =
    choose === undefined ? [] : [choose(readable, { ...lists, candidates_per_source: perSource }, batch)];
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
      box_capacity: boxes,
      most_rows: Math.min(rows, mostRows(plan)),
      candidates_per_box: candidatesPerBox,
      candidates_per_source: perSource,
      unlike: decoder.unlike,
    },
  };
  let levels = tables;
  const lengths = tablesOf(recognition, outputs, input).map(({ length }) => length);
  const gathering = extras.map((extra, at) => {
    levels += lengths[at]!;
    const detections = memory.detections.pointer;
    const to = { detections, gathered: memory.host.pointer + extraStart(rows, batch, extras, at) * 4, rows };
    if (extra.maps === undefined) return gatherLaunch(extra, readable, { batch, ...to });
    return mapGathering(extra, extra.maps, batch, { ...to, levels });
  });
  return [...decoding, ...choosing, selecting, ...gathering];
}

/** Object queries with a sigmoid have a candidate for each of their classes, and a box each; else those of a source share it. */
function candidatesPerSource(plan: ModelSpec["plan"], perBox: number): number {
  return plan.kind === "queries" && plan.activation === "sigmoid" ? plan.classes : perBox;
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

/** Candidates of a block, a warp each. */
const WARPS = 8;
/** Most blocks of an image: each takes further candidates where there are more. */
const GROUPS = 256;

/** What a model of oriented boxes has beside a detector's. */
export function cudaObb({ extras, needsNms }: Pick<ObjectSpec, "extras" | "needsNms">): CudaObjects {
  // Both are channels of one output.
  const [sides, angles] = extras;
  return {
    mapRows: orientedToSource,
    choose: (outputs, lists, batch) => ({
      module: "rotated",
      kernel: "choose_rotated",
      config: { grid: [Math.min(Math.ceil(lists.capacity / WARPS), GROUPS), batch, 1], block: [32, WARPS, 1] },
      values: {
        ...extraValues(sides!, outputs, batch),
        ...lists,
        sides: sides!.first,
        angle: angles!.first,
        needs_nms: needsNms ? 1 : 0,
        max_candidates: MAX_CANDIDATES,
      },
    }),
  };
}
