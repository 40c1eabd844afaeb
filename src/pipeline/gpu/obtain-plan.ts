/** @module ObtainPlan: the plan of a model for a GPU: the file itself, out of the cache, or built now and kept there. */

import type { Device } from "../../cuda/device.ts";
import type { BuildOptions } from "../../tensorrt/build-options.ts";
import { type CachedPlan, EngineCache } from "../../tensorrt/engine-cache.ts";
import type { EngineBuild } from "../backend.ts";
import type { ModelFile } from "./model-file.ts";

/**
 * A plan: what was given, or what is in the cache.
 *
 * @param options how it is built where there is none yet; of no account for a file that is a plan
 * @param build   who is told of the build, and what ends it
 * @param check   called where a build is due, before it begins
 * @throws {TensorRtError} If TensorRT cannot build it
 * @throws whatever `check` throws
 */
export async function obtainPlan(
  file: ModelFile,
  device: Device,
  options: BuildOptions,
  build: EngineBuild,
  check?: () => Promise<void>,
): Promise<ModelFile | CachedPlan> {
  if (file.isPlan) return file;
  return new EngineCache().obtain(file.bytes, options, {
    device,
    source: file.source,
    ...(check === undefined ? {} : { beforeBuild: check }),
    ...(file.path === undefined ? {} : { path: file.path }),
    ...(build.signal === undefined ? {} : { signal: build.signal }),
    onProgress: ({ fraction, phase }) => build.onProgress?.({ fraction, phase: phase.name }),
  });
}
