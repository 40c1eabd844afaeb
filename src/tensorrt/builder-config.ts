/** @module BuilderConfig: TensorRT's own settings of a build. `build-options.ts` is what callers write. */

import { message, OptionError } from "../core/errors.ts";
import { methodId, SHIM_STATUS, shim } from "../ffi/shim.ts";
import { type BuilderFlag, builderFlag } from "./abi/builder-flags.ts";
import type { Builder } from "./builder.ts";
import { HostMemory } from "./host-memory.ts";
import { NativeObject } from "./native-object.ts";
import { Operation } from "./operation.ts";
import type { OptimizationProfile } from "./optimization-profile.ts";
import type { ProgressMonitor } from "./progress.ts";
import type { TimingCache } from "./timing-cache.ts";

/** Memory a build or its engine may use, by nvinfer1::MemoryPoolType. */
const POOLS = [
  "workspace",
  "dlaManagedSram",
  "dlaLocalDram",
  "dlaGlobalDram",
  "tacticDram",
  "tacticSharedMemory",
] as const;

/** A memory pool. */
export type MemoryPool = (typeof POOLS)[number];

/** Every pool, for messages and schemas. */
export const MEMORY_POOLS: readonly MemoryPool[] = POOLS;

/** What the engine can tell of its layers, in the order of nvinfer1::ProfilingVerbosity. */
export const PROFILING_VERBOSITIES = ["layer-names", "none", "detailed"] as const;

/** What the engine can tell of its layers. */
export type ProfilingVerbosity = (typeof PROFILING_VERBOSITIES)[number];

/** Which other GPUs the engine runs on, in the order of nvinfer1::HardwareCompatibilityLevel. */
export const HARDWARE_COMPATIBILITIES = ["none", "ampere-plus", "same-compute-capability"] as const;

/** Which other GPUs the engine runs on. */
export type HardwareCompatibility = (typeof HARDWARE_COMPATIBILITIES)[number];

/** nvinfer1::DeviceType::kDLA. */
const DLA = 1;

/** Settings of one or more builds of a builder. */
export class BuilderConfig extends NativeObject {
  /** What TensorRT uses beside it, by an address alone. */
  #monitor: ProgressMonitor | undefined;
  #timingCache: TimingCache | undefined;

  private constructor(builder: Builder, handle: number) {
    super("BuilderConfig", builder.library, handle, builder);
  }

  /** Called by {@linkcode Builder.createConfig} alone. */
  static wrap(builder: Builder, handle: number): BuilderConfig {
    return new BuilderConfig(builder, handle);
  }

  /** Set or clear a flag. @returns false where this version of TensorRT has no such flag: nothing is set then */
  setFlag(flag: BuilderFlag, on: boolean): boolean {
    const number = builderFlag(flag, this.library.isStronglyTyped);
    if (number === undefined) return false;
    this.setI32(on ? "BuilderConfig.setFlag" : "BuilderConfig.clearFlag", number);
    return true;
  }

  /** True if a flag is set. */
  flag(flag: BuilderFlag): boolean {
    const number = builderFlag(flag, this.library.isStronglyTyped);
    if (number === undefined) return false;
    const status = shim().bt_bool_i32(this.library.handle, this.handle, methodId("BuilderConfig.getFlag"), number);
    return this.library.check(status, "BuilderConfig.getFlag") === 1;
  }

  /** Limit a memory pool. @param bytes TensorRT refuses some values with an error in its log, and keeps the former */
  setMemoryPoolLimit(pool: MemoryPool, bytes: number): void {
    const number = POOLS.indexOf(pool);
    this.library.log.takeErrors();
    const status = shim().bt_config_set_memory_pool_limit(this.library.handle, this.handle, number, bytes);
    this.library.check(status, "BuilderConfig.setMemoryPoolLimit");
    const { lines } = this.library.log.takeErrors();
    if (lines.length === 0) return;
    throw new OptionError(
      message(`limit the memory pool ${pool}`, `as TensorRT refused ${bytes} bytes: ${lines.join("; ")}`),
      `memoryPools.${pool}`,
    );
  }

  /** Limit of a memory pool in bytes. */
  memoryPoolLimit(pool: MemoryPool): number {
    return this.i64At("BuilderConfig.getMemoryPoolLimit", POOLS.indexOf(pool));
  }

  /** How long the builder searches: 0 fastest build to 5 fastest engine; 3 unless set. */
  get optimizationLevel(): number {
    return this.i32("BuilderConfig.getBuilderOptimizationLevel");
  }
  set optimizationLevel(level: number) {
    this.setI32("BuilderConfig.setBuilderOptimizationLevel", level);
  }

  /** What the engine can tell of its layers. */
  get profilingVerbosity(): ProfilingVerbosity {
    return PROFILING_VERBOSITIES[this.i32("BuilderConfig.getProfilingVerbosity")] ?? "layer-names";
  }
  set profilingVerbosity(verbosity: ProfilingVerbosity) {
    this.setI32("BuilderConfig.setProfilingVerbosity", PROFILING_VERBOSITIES.indexOf(verbosity));
  }

  /** Which other GPUs the engine runs on. */
  get hardwareCompatibility(): HardwareCompatibility {
    return HARDWARE_COMPATIBILITIES[this.i32("BuilderConfig.getHardwareCompatibilityLevel")] ?? "none";
  }
  set hardwareCompatibility(level: HardwareCompatibility) {
    this.setI32("BuilderConfig.setHardwareCompatibilityLevel", HARDWARE_COMPATIBILITIES.indexOf(level));
  }

  /** Most streams beside the main one that the engine may use; TensorRT chooses unless set. */
  setMaxAuxStreams(count: number): void {
    this.setI32("BuilderConfig.setMaxAuxStreams", count);
  }

  /** Run on a deep-learning accelerator (Jetson). @param options.gpuFallback layers it cannot run go to the GPU */
  useDla(core: number, options: { readonly gpuFallback: boolean }): void {
    this.setI32("BuilderConfig.setDefaultDeviceType", DLA);
    this.setI32("BuilderConfig.setDLACore", core);
    this.setFlag("gpuFallback", options.gpuFallback);
  }

  /**
   * Which GPUs a TensorRT-RTX engine is built for; not needed on the machine with the GPU.
   *
   * @param capabilities 75, 80, 86, 89, 120 …
   * @throws {TensorRtError} If the library is TensorRT, which builds for the GPU at hand, or refuses one
   */
  setComputeCapabilities(capabilities: readonly number[]): void {
    const action = `build for compute capabilities ${capabilities.join(", ")}`;
    this.trySetI32("BuilderConfig.setNbComputeCapabilities", capabilities.length, action);
    for (const [index, capability] of capabilities.entries()) {
      const status = shim().bt_config_set_compute_capability(this.library.handle, this.handle, capability, index);
      this.library.check(status, "BuilderConfig.setComputeCapability", action);
      if (status === SHIM_STATUS.failed)
        throw this.library.failure(action, "IBuilderConfig::setComputeCapability", status);
    }
  }

  /** Add a profile of the same builder. @returns its index in the engine @throws {OptionError} If it does not hold together */
  addProfile(profile: OptimizationProfile): number {
    this.library.log.takeErrors();
    const id = methodId("BuilderConfig.addOptimizationProfile");
    const index = shim().bt_i32_pointer(this.library.handle, this.handle, id, profile.handle);
    if (index >= 0) return index;
    this.library.check(index, "BuilderConfig.addOptimizationProfile");
    const { lines } = this.library.log.takeErrors();
    throw new OptionError(
      message("add an optimisation profile", `as TensorRT refused it: ${lines.join("; ")}`),
      "profiles",
    );
  }

  get profileCount(): number {
    return this.i32("BuilderConfig.getNbOptimizationProfiles");
  }

  /** Report a build to a monitor. It is closed after the last build. */
  setProgressMonitor(monitor: ProgressMonitor): void {
    this.setPointer("BuilderConfig.setProgressMonitor", monitor.handle);
    this.#monitor = monitor;
  }

  /**
   * Hold open what a build uses beside the configuration. Called by `Builder.build`.
   *
   * @throws {ClosedError} If the monitor or the timing cache is closed
   */
  holdUsed(): Disposable {
    using held = new DisposableStack();
    for (const used of [this.#monitor, this.#timingCache]) {
      if (used !== undefined) held.use(Operation.on(used, "build"));
    }
    return held.move();
  }

  /**
   * Use a timing cache; the build adds to it. It is closed after the last build.
   *
   * @returns false if it was made on another GPU or by another version: it is not used then
   */
  setTimingCache(cache: TimingCache): boolean {
    const status = shim().bt_config_set_timing_cache(this.library.handle, this.handle, cache.handle, 0);
    if (status === SHIM_STATUS.noMethod) throw this.library.missing("BuilderConfig.setTimingCache");
    if (status !== SHIM_STATUS.ok) return false;
    this.#timingCache = cache;
    return true;
  }

  /**
   * What the timing cache in use holds, after a build that added to it; empty where none was set.
   *
   * @throws {ClosedError} If it is closed
   */
  timingCacheBytes(): Uint8Array<ArrayBuffer> {
    this.#timingCache?.assertOpen("read the timing cache in use");
    const cache = shim().bt_pointer(this.library.handle, this.handle, methodId("BuilderConfig.getTimingCache"));
    if (cache === null) return new Uint8Array();
    const bytes = shim().bt_pointer(this.library.handle, cache, methodId("TimingCache.serialize"));
    if (bytes === null) return new Uint8Array();
    using memory = HostMemory.wrap("TimingCache bytes", this.library, bytes, this);
    return memory.copy();
  }
}
