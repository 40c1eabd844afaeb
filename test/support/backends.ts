/** @module Backends with a detector on them. */

import { registerAccelerator } from "../../src/accelerators/accelerator.ts";
import type { OnnxRuntimeOptions, TensorRtOptions } from "../../src/accelerators/accelerator-options.ts";
import { CpuBackend } from "../../src/accelerators/cpu/cpu-backend.ts";
import { GpuBackend } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import type { ModelSpec } from "../../src/heads/head.ts";
import type { DetectionBlock } from "../../src/model/rows.ts";
import {
  type Accelerator,
  type Backend,
  DEFAULT_MACHINE_OPTIONS,
  type MachineOptions,
  type Slot,
} from "../../src/runtime/backend.ts";
import type { Pipeline } from "../../src/runtime/pipeline.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask, type DetectTaskOptions } from "../../src/tasks/detect/detect-task.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";

export type BackendOptions = MachineOptions & TensorRtOptions & OnnxRuntimeOptions & DetectTaskOptions;
export type DetectSlot = Slot<NmsOptions, DetectionBlock>;
export type DetectBackend = Backend<ModelSpec, NmsOptions, DetectionBlock>;
export type DetectPipeline = Pipeline<ModelSpec, NmsOptions, DetectionBlock>;
export type DetectGpuBackend = GpuBackend<ModelSpec, NmsOptions, DetectionBlock>;
export type DetectCpuBackend = CpuBackend<ModelSpec, NmsOptions, DetectionBlock>;

/** Full engines, as what is compared must not change meanwhile. */
export const DEFAULT_BACKEND_OPTIONS: BackendOptions = {
  ...DEFAULT_MACHINE_OPTIONS,
  ...DEFAULT_DETECT_TASK_OPTIONS,
  firstEngine: "full",
};

export function loadCpu(model: string | Uint8Array, options: BackendOptions): Promise<DetectCpuBackend> {
  return CpuBackend.load(model, new DetectTask(options), options);
}

export function loadGpu(model: string | Uint8Array, options: BackendOptions): Promise<DetectGpuBackend> {
  return GpuBackend.load(model, new DetectTask(options), options);
}

/** Have a GPU by the name "fast", which is chosen before all others. Disposing of it takes it away. */
export function registerFast(open: Accelerator["open"]): Disposable {
  const load = async (): Promise<Accelerator> => ({ unavailable: () => undefined, open });
  return registerAccelerator({ names: ["fast"], machine: "GPU", preference: 99, load });
}
