/** @module Backends with a detector on them. */

import type { DetectionBlock } from "../../src/model/detection-block.ts";
import type { Recognition } from "../../src/model/layout.ts";
import type { Selection } from "../../src/model/selection.ts";
import { type Backend, DEFAULT_MACHINE_OPTIONS, type MachineOptions, type Slot } from "../../src/pipeline/backend.ts";
import { CpuBackend } from "../../src/pipeline/cpu/cpu-backend.ts";
import { GpuBackend } from "../../src/pipeline/gpu/gpu-backend.ts";
import type { Pipeline } from "../../src/pipeline/pipeline.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask, type DetectTaskOptions } from "../../src/tasks/detect/detect-task.ts";

export type BackendOptions = MachineOptions & DetectTaskOptions;
export type DetectSlot = Slot<Selection, DetectionBlock>;
export type DetectBackend = Backend<Recognition, Selection, DetectionBlock>;
export type DetectPipeline = Pipeline<Recognition, Selection, DetectionBlock>;
export type DetectGpuBackend = GpuBackend<Recognition, Selection, DetectionBlock>;
export type DetectCpuBackend = CpuBackend<Recognition, Selection, DetectionBlock>;

export const DEFAULT_BACKEND_OPTIONS: BackendOptions = { ...DEFAULT_MACHINE_OPTIONS, ...DEFAULT_DETECT_TASK_OPTIONS };

export function loadCpu(model: string | Uint8Array, options: BackendOptions): Promise<DetectCpuBackend> {
  return CpuBackend.load(model, new DetectTask(options), options);
}

export function loadGpu(model: string | Uint8Array, options: BackendOptions): Promise<DetectGpuBackend> {
  return GpuBackend.load(model, new DetectTask(options), options);
}
