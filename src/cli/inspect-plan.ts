/** @module InspectPlan: what a plan tells of itself: its header anywhere, the engine inside on a GPU. */

import { LibraryLoadError, ModelError, PlanMismatchError, TensorRtError } from "../core/errors.ts";
import { Device } from "../cuda/device.ts";
import { cudaUnavailable } from "../cuda/probe.ts";
import type { Recognition } from "../model/layout.ts";
import { type RecogniseOptions, recogniseModel } from "../model/registry.ts";
import { describedEngine } from "../pipeline/gpu/described-engine.ts";
import type { ModelFile } from "../pipeline/gpu/model-file.ts";
import type { HardwareCompatibility } from "../tensorrt/build-options.ts";
import type { Engine } from "../tensorrt/engine.ts";
import type { EngineInformation } from "../tensorrt/engine-inspector.ts";
import { openTensorRt, type TensorRtLibrary, tensorRtSpec } from "../tensorrt/library.ts";
import { type PlanFile, readPlan } from "../tensorrt/plan-file.ts";
import { Runtime } from "../tensorrt/runtime.ts";
import type { EngineTensor } from "../tensorrt/tensor-info.ts";
import { whyUnusable } from "./doctor/library-faults.ts";

/** What an engine tells once it is loaded. */
export interface EngineFacts {
  /** The GPU and the version it was loaded with. */
  readonly loadedBy: string;
  readonly inputs: readonly EngineTensor[];
  readonly outputs: readonly EngineTensor[];
  readonly profileCount: number;
  readonly layerCount: number;
  readonly auxStreamCount: number;
  /** What a context needs for activations. */
  readonly deviceMemoryBytes: number;
  readonly hardwareCompatibility: HardwareCompatibility;
  readonly isRefittable: boolean;
  /** The layout, or the reason why there is none. */
  readonly recognition: Recognition | { readonly problem: string };
  /** In TensorRT's own form; `undefined` unless it was asked for. */
  readonly layers: EngineInformation["Layers"] | undefined;
}

/** A plan that was looked at. */
export interface PlanInspection {
  readonly file: string;
  readonly byteLength: number;
  readonly plan: Omit<PlanFile, "plan">;
  /** The engine, or why it could not be loaded: for want of a GPU, or because it does not fit this one. */
  readonly engine: EngineFacts | { readonly problem: string; readonly isMissingGpu: boolean };
}

/** What the caller of `inspect` says of a model: its layout, and what it wants done to a picture. */
export type SaidOfModel = Pick<RecogniseOptions, "layout" | "preprocessing">;

/** How a plan is inspected. */
export interface InspectPlanOptions {
  /** Number of the GPU. */
  readonly device: number;
  /** What the caller knows better than the model. */
  readonly said: SaidOfModel;
  /** Ask for the layers. */
  readonly withLayers: boolean;
  /** Let a version-compatible plan run the code it brings. */
  readonly hostCodeAllowed: boolean;
}

/** The library that can read the plan, or why there is none here, in one line. */
function openFor({ header }: Pick<PlanFile, "header">): TensorRtLibrary | string {
  try {
    return openTensorRt(header === undefined ? {} : { family: header.family });
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return `${header?.family ?? "TensorRT"} ${whyUnusable(error, tensorRtSpec())}`;
  }
}

async function recognise(engine: Engine, said: SaidOfModel): Promise<EngineFacts["recognition"]> {
  try {
    return recogniseModel(await describedEngine(engine), { ...said, source: JSON.stringify(engine.source) });
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { problem: error.message };
  }
}

function layersOf(engine: Engine): EngineInformation["Layers"] {
  using inspector = engine.createInspector();
  return inspector.information().Layers;
}

async function readEngine(
  file: ModelFile,
  library: TensorRtLibrary,
  options: InspectPlanOptions,
): Promise<EngineFacts> {
  using device = Device.open(options.device);
  using runtime = await Runtime.create({ library, device, hostCodeAllowed: options.hostCodeAllowed });
  using engine = await runtime.deserialize(file.bytes, { source: file.source });
  return {
    loadedBy: `${library.version.text}, ${device.name}`,
    inputs: engine.inputs,
    outputs: engine.outputs,
    profileCount: engine.profileCount,
    layerCount: engine.layerCount,
    auxStreamCount: engine.auxStreamCount,
    deviceMemoryBytes: engine.deviceMemoryBytes(),
    hardwareCompatibility: engine.hardwareCompatibility,
    isRefittable: engine.isRefittable,
    recognition: await recognise(engine, options.said),
    layers: options.withLayers ? layersOf(engine) : undefined,
  };
}

/**
 * Look into a plan.
 *
 * @throws {ModelError} If the file is empty or cut short
 * @throws {OptionError} If there is no such layout
 * @throws {ArgumentError} If there is no such GPU
 */
export async function inspectPlan(file: ModelFile, options: InspectPlanOptions): Promise<PlanInspection> {
  const { metadata, header, origin } = readPlan(file.bytes, file.source);
  const plan = { metadata, header, origin };
  const inspection = { file: file.source, byteLength: file.bytes.byteLength, plan };
  const missing = cudaUnavailable();
  const library = missing ?? openFor(plan);
  if (typeof library === "string") {
    return { ...inspection, engine: { problem: library, isMissingGpu: true } };
  }
  try {
    return { ...inspection, engine: await readEngine(file, library, options) };
  } catch (error) {
    const isPlan = error instanceof PlanMismatchError || error instanceof TensorRtError || error instanceof ModelError;
    if (!isPlan) throw error;
    return { ...inspection, engine: { problem: error.message, isMissingGpu: false } };
  }
}
