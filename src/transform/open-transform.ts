/** @module OpenTransform: which machine an image model runs on. */

import { openOnMachine } from "../pipeline/open-backend.ts";
import { CpuTransformBackend } from "./cpu/cpu-transform-backend.ts";
import { GpuTransformBackend } from "./gpu/gpu-transform-backend.ts";
import type { ImageModelConfig } from "./image-model-config.ts";
import type { TransformBackend } from "./transform-backend.ts";

/**
 * Load an image model on the machine that was asked for, or the best there is.
 *
 * @param source path of a model, or its bytes; a plan runs on the GPU alone
 * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
 * @throws {ModelError} If it is no model, or makes no pictures
 */
export function openTransform(source: string | Uint8Array, config: ImageModelConfig): Promise<TransformBackend> {
  return openOnMachine<TransformBackend>(source, config.backend, {
    action: "load an image model",
    onGpu: () => GpuTransformBackend.load(source, config),
    onCpu: () => CpuTransformBackend.load(source, config),
  });
}
