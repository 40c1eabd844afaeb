/**
 * @module DeviceBatch: what host and kernels exchange of a batch: what decodes it and what a task of objects adds to that,
 * the tables that change from frame to frame, packed on the host, and the rows that the selection has written.
 */

import type { LoadedModel } from "../../accelerators/tensorrt/gpu-model.ts";
import { type DeviceOutputs, deviceOutput, dtypeCode, type LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import { IMAGE_BYTES, ImageTable } from "../../accelerators/tensorrt/preprocess.ts";
import { ModelError, message } from "../../core/errors.ts";
import type { BufferView, DeviceMemory } from "../../cuda/buffers.ts";
import type { Device } from "../../cuda/device.ts";
import { ChangingTable } from "../../cuda/kept-memory.ts";
import type { OnStream } from "../../cuda/stream.ts";
import { refuseAnchors, refuseOffsets } from "../../heads/anchor-decoder.ts";
import { refuseNegative } from "../../heads/dense.ts";
import type { ModelSpec } from "../../heads/head.ts";
import { refuseDistances } from "../../heads/map-decoder.ts";
import { refuseClassId } from "../../heads/outputs.ts";
import type { DecodePlan, OffsetMapsPlan } from "../../heads/plans.ts";
import { ONLY_PROBABILITIES, refuseProbabilities } from "../../heads/rows.ts";
import { FLOATS } from "../../heads/traits.ts";
import { refuseDecoded } from "../../heads/yolox.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock, RowExtra } from "../../model/rows.ts";
import { assertProbability, type NmsOptions } from "./nms.ts";

/**
 * What `scales` of kernels/decode.cuh are where scores are not what the plan says: none where a map of logits has nothing below 0;
 * all above 0, and none beyond 1, where logits of queries are probabilities.
 */
export const UNLIKE = { never: -1, noLogit: 0, onlyProbabilities: 2 } as const;
/** A value of {@linkcode UNLIKE}. */
export type UnlikeScores = (typeof UNLIKE)[keyof typeof UNLIKE];

/** The batch that is decoded. */
export interface DecodeBatch {
  /** Images in the tensors, those that only fill the batch included. */
  readonly batch: number;
  /** Size of the model's input in pixels. */
  readonly inputWidth: number;
  readonly inputHeight: number;
}

/** What decodes a batch. The values lack the candidates, the selection and the capacity, which the launcher adds. */
export interface DecodeLaunches {
  readonly launches: readonly LaunchSpec[];
  /** Most candidates of one image: the candidate indices are below it, unless several share a box. */
  readonly capacity: number;
  /** Boxes of one image. */
  readonly boxes: number;
  /** Candidates that share a box, which then is of the source; the remainder of the index is the class. Mostly 1. */
  readonly candidatesPerBox: number;
  /** What kernels note of scores that are not what the plan says. */
  readonly unlike: UnlikeScores;
  /** True: five numbers come with each source, f32 [batch, boxes, 5]: centre, size and angle. */
  readonly isOriented?: boolean;
  /** The levels that kernels of maps read; other launches need none. */
  readonly table?: Uint8Array<ArrayBuffer>;
}

/** Most candidates of an image, where every class of a cell is one: 8 MiB of keys. */
export const MOST_CANDIDATES: number = 1 << 20;

/** What a task does of objects beside their boxes: what its part on the host overrides of a detector's. */
export interface CudaObjects {
  /** The launch that chooses from the candidates, in place of NMS of upright boxes. */
  choose?(outputs: DeviceOutputs, candidates: CandidateLists, batch: number): LaunchSpec;
  /** What is gathered for the kept rows, where it is not all that the model says of them. */
  readonly extras?: readonly RowExtra[];
  /** Make what is behind selection and gathering in the graph of a shape. */
  createStage?(gathered: GatheredRows): ObjectStage;
  /** On the host, for each image: map what was gathered for the kept rows to source pixels. Their boxes are there already. */
  mapRows?(block: DetectionBlock, region: Region): void;
}

/**
 * The candidates of a batch in device memory, by the parameters of kernels: keys and classes as kernels/decode.cuh has them, most
 * of one image, and where the keys of those that stay go, u64 [N, capacity], and how many they are, i32 [N]. By the number of
 * candidates of a source an index is divided to find it.
 */
type CandidateLists = Readonly<
  Record<
    "keys" | "classes" | "counters" | "selection" | "capacity" | "chosen" | "chosen_counts" | "candidates_per_source",
    number
  >
>;

/** The kept rows of a batch on the device, and what was gathered for them. */
export interface GatheredRows {
  readonly model: LoadedModel;
  /** Where memory is prepared: synchronised before the first frame. */
  readonly setup: OnStream;
  readonly outputs: DeviceOutputs;
  readonly shape: DecodeBatch;
  /** Rows of each block. */
  readonly rows: number;
  /** The blocks, as kernels/select.cu writes them. */
  readonly detections: DeviceMemory;
  /** f32 [batch, rows, 4]: the boxes as they were decoded, in input pixels. */
  readonly kept: DeviceMemory;
}

/** What a task has behind the gathering: launches in the frame's graph, and their memory. */
export interface ObjectStage extends Disposable {
  /** Before a run, and when the stage is made: where each image of the batch lies. What it enqueues is part of no graph. */
  select(regions: readonly Region[], on: OnStream): void;
  enqueue(on: OnStream): void;
  /**
   * Once a run has been waited for: make room where there was too little. No address that a graph holds may change.
   *
   * @returns true if there was too little: what comes after the model is run again before it is read
   */
  grow(): boolean;
  /** Take what is there of one image, in their order. @param block its kept rows */
  read(index: number, block: DetectionBlock): void;
}

/** Tables of a batch: where each image is and goes, and what is kept. */
export class GpuTables extends ChangingTable {
  readonly images: ImageTable;
  readonly selection: NmsOptionsTable;
  /** The same on the device. */
  readonly deviceImages: BufferView<"u8">;
  readonly deviceSelection: BufferView<"u8">;

  /** @param batch images */
  constructor(device: Device, batch: number) {
    const imageBytes = batch * IMAGE_BYTES;
    const selectionBytes = NmsOptionsTable.byteLength(batch);
    super(imageBytes + selectionBytes, device);
    this.images = new ImageTable(this.buffer, 0, batch);
    this.selection = new NmsOptionsTable(this.buffer, imageBytes, batch);
    this.deviceImages = this.device.view([imageBytes]);
    this.deviceSelection = this.device.view([selectionBytes], imageBytes);
  }
}

/** Bytes of `struct Region` in kernels/select.cu. */
export const REGION_BYTES = 80;

/** Bytes of `struct NmsOptions` in kernels/decode.cuh before the words of its class set. */
const HEADER_BYTES = 32;
const CLASS_WORD = HEADER_BYTES / 4;

/** Classes that can be asked for one by one: more than any detector has; 8,192 make the table 1 KiB. */
const MAX_CLASSES = 8192;

/** Bytes of the selection, with room for the class set; the regions follow. */
export const SELECTION_BYTES: number = HEADER_BYTES + MAX_CLASSES / 8;

/** Writes a selection and the regions of a batch into memory that is copied to the device. */
export class NmsOptionsTable {
  readonly #words: Uint32Array;
  readonly #integers: Int32Array;
  readonly #floats: Float32Array;
  readonly #regions: Float64Array;

  /** Bytes of a table for a batch. */
  static byteLength(batch: number): number {
    return SELECTION_BYTES + batch * REGION_BYTES;
  }

  /**
   * @param buffer     memory of the table, page-locked where it is to be copied asynchronously
   * @param byteOffset where the table begins, a multiple of 16
   * @param batch      images it has room for
   */
  constructor(buffer: ArrayBuffer, byteOffset: number, batch: number) {
    this.#words = new Uint32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#integers = new Int32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#floats = new Float32Array(buffer, byteOffset, SELECTION_BYTES / 4);
    this.#regions = new Float64Array(buffer, byteOffset + SELECTION_BYTES, (batch * REGION_BYTES) / 8);
  }

  /** Write what the caller asks for. Class ids from {@linkcode MAX_CLASSES} on cannot be asked for and are left out. */
  setSelection(selection: NmsOptions): void {
    const { classIds } = selection;
    this.#floats[0] = selection.threshold;
    this.#floats[1] = selection.iou;
    this.#integers[2] = selection.maxDetections;
    this.#integers[3] = selection.classAgnostic ? 1 : 0;
    this.#integers[4] = classIds === undefined ? 0 : MAX_CLASSES / 32;
    if (classIds === undefined) return;
    this.#words.fill(0, CLASS_WORD);
    for (const classId of classIds) {
      if (classId >= 0 && classId < MAX_CLASSES) this.#words[CLASS_WORD + (classId >>> 5)]! |= 1 << (classId & 31);
    }
  }

  /** Write where a region lies in the input and in its image. */
  setRegion(index: number, region: Region): void {
    const { x, y } = region;
    const cells = this.#regions;
    const at = index * (REGION_BYTES / 8);
    cells[at] = region.padX;
    cells[at + 1] = region.padY;
    cells[at + 2] = region.scaleX;
    cells[at + 3] = region.scaleY;
    cells[at + 4] = x;
    cells[at + 5] = y;
    cells[at + 6] = Math.max(x, 0);
    cells[at + 7] = Math.max(y, 0);
    cells[at + 8] = Math.min(x + region.width, region.sourceWidth);
    cells[at + 9] = Math.min(y + region.height, region.sourceHeight);
  }
}

/** 32-bit words before the rows: count, dropped, fault, the value of the fault. */
export const DETECTION_HEADER_WORDS = 4;

/** Faults as kernels/decode.cuh has them. */
const FAULT_CLASS = 1;
const FAULT_GRID = 2;
const FAULT_BOX = 3;
const FAULT_RANGE = 4;
const FAULT_FULL = 5;

/**
 * @throws {ModelError} Always: scores show that they are not what the plan says
 * @param value one of them
 * @param below the same word as an integer: of dense rows the classes from the first on that goes below 0
 */
function refuseScores(plan: DecodePlan, value: number, below: number): never {
  if (plan.kind === "dense") return refuseNegative(plan, plan.classes - below);
  if (plan.kind === "queries") return refuseProbabilities(ONLY_PROBABILITIES);
  if (plan.kind === "distance-maps") return refuseDistances(plan, value);
  if (plan.kind === "anchor-maps") return refuseAnchors(plan, value);
  return refuseOffsets(plan as OffsetMapsPlan, value);
}

/** @throws {ModelError} Always: so many candidates reach the threshold that they have no room */
function refuseFull(head: string): never {
  const found = `more than ${MOST_CANDIDATES} candidates reach the threshold`;
  throw new ModelError(
    message(`decode the model's maps as head "${head}"`, found, "raise `threshold` (`--threshold`)"),
    head,
  );
}

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
   * @param spec for messages: which head the model was read as, and by which plan
   * @throws {ModelError} If a class id is no whole number from 0 on, or a score no probability, or a grid is decoded
   */
  read(index: number, block: DetectionBlock, { head, plan }: Pick<ModelSpec, "head" | "plan">): void {
    const integers = this.#integers;
    const floats = this.#floats;
    const start = index * detectionWords(this.#rows);
    const count = integers[start]!;
    block.dropped = integers[start + 1]!;
    const fault = integers[start + 2]!;
    if (fault === FAULT_CLASS) refuseClassId(floats[start + 3]!, `decode the model's output as head "${head}"`, head);
    if (fault === FAULT_GRID) refuseDecoded(floats[start + 3]!, head);
    if (fault === FAULT_RANGE) refuseScores(plan, floats[start + 3]!, integers[start + 3]!);
    if (fault === FAULT_FULL) refuseFull(head);
    block.hasInsideOut = fault === FAULT_BOX;
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
