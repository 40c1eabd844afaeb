/** @module CudaObjects: what a task of objects adds to detection around an engine. */

import type { LoadedModel } from "../../accelerators/tensorrt/gpu-model.ts";
import type { DeviceOutputs, LaunchSpec } from "../../accelerators/tensorrt/kernels.ts";
import type { DeviceMemory } from "../../cuda/device-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { DecodeBatch } from "../detect/decode-launches.ts";
import type { NmsOptions } from "../detect/nms.ts";

/** What a task does of objects beside their boxes: what its part on the host overrides of a detector's. */
export interface CudaObjects {
  /** The launch that chooses from the candidates, in place of NMS of upright boxes. */
  choose?(outputs: DeviceOutputs, candidates: CandidateLists, batch: number): LaunchSpec;
  /** Make what is behind selection and gathering in the graph of a shape. */
  createStage?(gathered: GatheredRows): ObjectStage;
  /** On the host, for each image: map what was gathered for the kept rows to source pixels. Their boxes are there already. */
  mapRows?(block: DetectionBlock, region: Region): void;
}

/**
 * The candidates of a batch in device memory, by the parameters of kernels: keys and classes as kernels/decode.cuh has them, most
 * of one image, and where the keys of those that stay go, u64 [N, capacity], and how many they are, i32 [N].
 */
export type CandidateLists = Readonly<
  Record<"keys" | "classes" | "counters" | "selection" | "capacity" | "chosen" | "chosen_counts", number>
>;

/** The kept rows of a batch on the device, and what was gathered for them. */
export interface GatheredRows {
  readonly model: LoadedModel;
  /** Where memory is prepared: synchronised before the first frame. */
  readonly setup: OnStream;
  readonly outputs: DeviceOutputs;
  readonly batch: DecodeBatch;
  /** Rows of each block. */
  readonly rows: number;
  /** The blocks, as kernels/select.cu writes them. */
  readonly detections: DeviceMemory;
  /** Addresses of f32 [batch, rows, length], one for each extra. */
  readonly extras: readonly number[];
  /** The selection, and behind `SELECTION_BYTES` the regions. */
  readonly table: DeviceMemory;
}

/** What a task has behind the gathering: launches in the frame's graph, and their memory. */
export interface ObjectStage extends Disposable {
  /** Make room. @returns true if addresses have changed: the graph is captured anew then */
  reserve(selection: NmsOptions): boolean;
  enqueue(on: OnStream): void;
  /** Enqueue the copy to the host. */
  enqueueCopy(on: OnStream): void;
  /** Take what was copied of one image. @param block its kept rows @param region where they were found */
  read(index: number, block: DetectionBlock, region: Region): void;
}
