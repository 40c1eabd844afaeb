/** @module Public surface of `bun-tensorrt/tensorrt`: building, loading and running engines. Importing it opens no library. */

export { ModelError, OptionError, PlanMismatchError, ShapeError, TensorRtError } from "../core/errors.ts";
export type { Filled } from "../core/options.ts";
export type { LibrarySpec, NpmFolder, Toolkit } from "../ffi/discovery.ts";
export type { Beside, DetrFamily, ModelFolder, OpenMmlabFamily, WeightsFamily } from "../onnx/beside.ts";
export type {
  BuildConfig,
  BuildOptions,
  BuildSize,
  CountRange,
  DlaOptions,
  HardwareCompatibility,
  InputShapes,
  IoFormat,
  MemoryPool,
  Precision,
  ProfilingVerbosity,
  SizeRange,
} from "./build-options.ts";
export { type BuildEnvironment, type BuiltPlan, buildPlan } from "./build-plan.ts";
export type { BuildWait } from "./build-turn.ts";
export {
  Builder,
  BuilderConfig,
  type BuilderOptions,
} from "./builder.ts";
export {
  Engine,
  type EngineInformation,
  EngineInspector,
  type EngineOwner,
  ExecutionContext,
  LayerProfiler,
  type LayerTime,
  type MemoryStrategy,
} from "./engine.ts";
export { type Builds, type CachedPlan, EngineCache, type ObtainEnvironment, type PlanForm } from "./engine-cache.ts";
export { type OpenTensorRtOptions, openTensorRt, type TensorRtLibrary, tensorRtSpec } from "./library.ts";
export { HostMemory, type NativeObject } from "./native-object.ts";
export {
  type LayerTensor,
  Network,
  type NetworkLayer,
  type NetworkTensor,
  OnnxParser,
  type ParseOptions,
} from "./network.ts";
export { type BuildEvent, type BuildPhase, type LogRing, ProgressMonitor } from "./observers.ts";
export { OptimizationProfile, type ShapeRange, TimingCache } from "./optimization-profile.ts";
export {
  type ComputeCapability,
  type PlanFile,
  type PlanHeader,
  type PlanIo,
  type PlanOrigin,
  readPlan,
  writePlan,
} from "./plan-file.ts";
export { type DeserializeOptions, Runtime, type RuntimeOptions } from "./runtime.ts";
export {
  type AllocatingContext,
  ContextTensor,
  type EngineTensor,
  OutputAllocator,
  type ProfileShape,
  type TensorFormat,
} from "./tensor-info.ts";
export type { TensorRtFamily, TensorRtVersion } from "./version.ts";
