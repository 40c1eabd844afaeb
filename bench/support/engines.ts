/** @module Engines: the plan behind what is measured, for studies that go below the library's pipeline. */

import { engineOptions } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { readModelFile } from "../../src/accelerators/tensorrt/model-file.ts";
import type { Device } from "../../src/cuda/device.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../src/tasks/detect/detect-task.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import type { StudyContext } from "../study.ts";

/** The bytes of the plan: the file that was given, or what `Detector.load` has built and kept. */
export async function planOf(
  { source, progress }: Pick<StudyContext, "source" | "progress">,
  device: Device,
): Promise<Uint8Array> {
  const file = await readModelFile(source!);
  if (file.isPlan) return file.bytes;
  const options = engineOptions(file, new DetectTask(DEFAULT_DETECT_TASK_OPTIONS), { precision: undefined });
  const { bytes } = await new EngineCache().obtain(file.bytes, options, {
    device,
    source: file.source,
    ...(file.path === undefined ? {} : { path: file.path }),
    onProgress: ({ fraction, phase }) =>
      progress(0, `building the engine, ${(fraction * 100).toFixed(0)} %: ${phase.name}`),
  });
  return bytes;
}
