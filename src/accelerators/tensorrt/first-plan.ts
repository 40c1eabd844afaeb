/** @module FirstPlan: the plan that an ONNX model runs with first: the full one if it is there, else one that is built quickly. */

import { logger } from "../../core/log.ts";
import { pause } from "../../core/resource.ts";
import type { Device } from "../../cuda/device.ts";
import type { BuildProgress, EngineBuild } from "../../runtime/backend.ts";
import type { BuildOptions } from "../../tensorrt/build-options.ts";
import { type BuildWait, formatHolder } from "../../tensorrt/build-turn.ts";
import { type CachedPlan, EngineCache, type ObtainEnvironment } from "../../tensorrt/engine-cache.ts";
import { openTensorRt } from "../../tensorrt/library.ts";
import type { FirstEngine } from "../accelerator-options.ts";
import type { ModelFile } from "./model-file.ts";

/**
 * What a quick engine is built with. On an H200 with TensorRT 10.6, yolov8n in FP16 as it was exported is built in 45 s at level 0, 143 s
 * at 1 and 301 s at the usual 3, and runs in 0.669, 0.434 and 0.416 ms; rewritten for fewer kernels, as it is now, it runs in 0.380 ms at
 * 3, the other levels have not been measured again. Those above 0 keep users waiting for longer than they look on.
 */
const QUICK: Pick<BuildOptions, "optimizationLevel" | "timingIterations"> = {
  optimizationLevel: 0,
  timingIterations: 1,
};

/** How long a quick engine runs before the full one is begun: a run over a few images is not disturbed by it. */
const BEGIN_AFTER_MS = 1000;

/** What is shown while another build runs on the GPU: its progress. */
export function waitProgress(wait: BuildWait): BuildProgress {
  return { fraction: 0, phase: "starting", ...wait.progress, waitsFor: formatHolder(wait) };
}

/** How a model is shaped before it is built. */
type Shaped = Pick<ObtainEnvironment, "variant" | "canVary" | "beforeBuild">;

/** A model whose plan is wanted. */
interface PlanRequest {
  readonly file: ModelFile;
  readonly options: BuildOptions;
  readonly build: Pick<EngineBuild, "signal">;
  /** Beside what is the same for all plans. */
  readonly environment: Shaped & Pick<ObtainEnvironment, "onProgress" | "onWait">;
}

/** How the plan of a model is asked for. @param own what its task makes of it */
export function planRequest(
  file: ModelFile,
  build: EngineBuild,
  { options, ...own }: Pick<PlanRequest, "options"> & Shaped,
): PlanRequest {
  const environment: PlanRequest["environment"] = {
    ...own,
    onProgress: ({ fraction, phase }) => build.onProgress?.({ fraction, phase: phase.name }),
    onWait: (wait) => build.onProgress?.(waitProgress(wait)),
  };
  return { file, options, build, environment };
}

/** A plan, and which of the two it is. */
interface FirstPlan {
  readonly plan: CachedPlan;
  readonly engine: FirstEngine;
}

/** The plan to begin with, out of the cache or built. @param wanted default `quick` */
export async function firstPlan(asked: PlanRequest, device: Device, wanted: FirstEngine = "quick"): Promise<FirstPlan> {
  const { file, options, build, environment } = asked;
  const cache = new EngineCache();
  const { source, path } = file;
  const request = { ...environment, device, source, path, signal: build.signal };
  if (wanted !== "quick" || openTensorRt().version.family !== "TensorRT")
    return { plan: await cache.obtain(file.bytes, options, request), engine: "full" };
  const findFull = () => cache.find(file.bytes, options, request);
  let full = await findFull();
  if (full !== undefined) return { plan: full, engine: "full" };
  // The build that was waited for may have been that of the full one.
  const instead = async () => (full = await findFull());
  const plan = await cache.obtain(file.bytes, { ...options, ...QUICK }, { ...request, isInterim: true, instead });
  return { plan, engine: plan === full ? "full" : "quick" };
}

/**
 * The full plan, built in the background.
 *
 * @param signal ends it at the build's next step; nobody waits for it then
 * @throws the signal's reason
 */
export async function fullPlan(
  { file, options, environment }: PlanRequest,
  device: Device,
  signal: AbortSignal,
): Promise<CachedPlan> {
  const { source, path } = file;
  const { variant, canVary, beforeBuild } = environment;
  await pause(BEGIN_AFTER_MS, signal);
  signal.throwIfAborted();
  logger.info(`Building the full engine of ${source} in the background; the quick one runs meanwhile`);
  return new EngineCache().obtain(file.bytes, options, {
    ...{ device, source, path, variant, canVary, beforeBuild },
    signal,
    isBackground: true,
  });
}
