/** @module Engines: the plan behind what is measured, for studies that go below the library's pipeline. */

import type { Device } from "../../src/cuda/device.ts";
import { DEFAULT_BACKEND_OPTIONS } from "../../src/pipeline/backend.ts";
import { engineOptions } from "../../src/pipeline/gpu/engine-options.ts";
import { readModelFile } from "../../src/pipeline/gpu/model-file.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import type { StudyContext } from "../study.ts";

/** The bytes of the plan: the file that was given, or what `Detector.load` has built and kept. */
export async function planOf({ source, progress }: StudyContext, device: Device): Promise<Uint8Array> {
  const file = await readModelFile(source!);
  if (file.isPlan) return file.bytes;
  const { bytes } = await new EngineCache().obtain(file.bytes, engineOptions(file, DEFAULT_BACKEND_OPTIONS), {
    device,
    source: file.source,
    ...(file.path === undefined ? {} : { path: file.path }),
    onProgress: ({ fraction, phase }) =>
      progress(0, `building the engine, ${(fraction * 100).toFixed(0)} %: ${phase.name}`),
  });
  return bytes;
}
