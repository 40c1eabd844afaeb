/** @module CudaObjects: what a task of objects adds to detection around an engine. */

import type { LoadedModel } from "../../accelerators/tensorrt/gpu-model.ts";
import type { DeviceOutputs, LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import type { DeviceMemory } from "../../cuda/device-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock, RowExtra } from "../../model/rows.ts";
import type { DecodeBatch } from "../detect/decode-batch.ts";

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
