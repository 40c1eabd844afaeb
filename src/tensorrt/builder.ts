/** @module Builder: makes plans out of networks. */

import { message, OptionError } from "../core/errors.ts";
import type { Resource } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import { OutCells } from "../ffi/memory.ts";
import { callMethod, SHIM_STATUS, shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import {
  HARDWARE_COMPATIBILITIES,
  type HardwareCompatibility,
  MEMORY_POOLS,
  type MemoryPool,
  PROFILING_VERBOSITIES,
  type ProfilingVerbosity,
} from "./build-options.ts";
import { openTensorRt, type TensorRtLibrary } from "./library.ts";
import { createOffThread, HostMemory, NativeObject, withLog } from "./native-object.ts";
import { Network } from "./network.ts";
import type { ProgressMonitor } from "./observers.ts";
import { OptimizationProfile, type TimingCache } from "./optimization-profile.ts";
import { type BuilderFlag, builderFlag, STRONGLY_TYPED_10 } from "./version.ts";

/** What {@linkcode Builder.create} takes. */
export interface BuilderOptions {
  /** Default: {@linkcode openTensorRt}. */
  readonly library?: TensorRtLibrary | undefined;
  /** The GPU that is built for and measured on. Default: CUDA's device 0; TensorRT-RTX needs none. */
  readonly device?: Device | undefined;
}

/** TensorRT's builder. It holds much memory: close it when the plan is made. */
export class Builder extends NativeObject {
  readonly device: Device | undefined;

  private constructor(library: TensorRtLibrary, handle: number, device: Device | undefined) {
    super(`Builder (${library.version.text})`, library, handle, device);
    this.device = device;
  }

  /**
   * Start a builder, off the JS thread: TensorRT loads its kernels, which takes seconds.
   *
   * @throws {LibraryLoadError} If TensorRT is nowhere
   * @throws {TensorRtError} If there is no usable GPU; TensorRT-RTX alone does without
   */
  static async create(options: BuilderOptions = {}): Promise<Builder> {
    const library = options.library ?? openTensorRt();
    const { device } = options;
    const action = `start the builder of ${library.version.text}`;
    // The shim refuses as well; asked here first, as this finds a driver where the dynamic linker alone would not.
    if (library.version.family === "TensorRT" && !library.hasDevice()) {
      throw library.failure(action, "createInferBuilder", SHIM_STATUS.noDevice);
    }
    const [major, minor] = device?.computeCapability ?? [];
    library.preloadBuilderParts(major === undefined ? undefined : major * 10 + minor!);
    const handle = await createOffThread(library, {
      name: "bt_builder_create",
      args: [library.handle, library.logger, device?.index ?? -1],
      on: [device],
      action,
      call: "createInferBuilder",
    });
    const builder = new Builder(library, handle, device);
    try {
      builder.call("Builder.setErrorRecorder", library.recorder);
      return builder;
    } catch (error) {
      builder.close();
      throw error;
    }
  }

  protected override get home(): Device | undefined {
    return this.device;
  }

  /**
   * Make an empty network.
   *
   * @param options.stronglyTyped tensors keep the element types of the model; always so from TensorRT 11 on
   */
  createNetwork(options: { readonly stronglyTyped?: boolean | undefined } = {}): Network {
    const flags = options.stronglyTyped === true && !this.library.isStronglyTyped ? STRONGLY_TYPED_10 : 0;
    return new Network(this, this.pointer("create a network", "Builder.createNetworkV2", flags));
  }

  /** Options of a build, all at TensorRT's defaults. */
  createConfig(): BuilderConfig {
    return new BuilderConfig(this, this.pointer("create a builder configuration", "Builder.createBuilderConfig"));
  }

  /** Make a profile, which the builder owns. */
  createProfile(): OptimizationProfile {
    const handle = this.pointer("create an optimisation profile", "Builder.createOptimizationProfile");
    return new OptimizationProfile(this, handle);
  }

  /** Number of threads the builder may use; at least 1. @throws {TensorRtError} If TensorRT refuses the number */
  setMaxThreads(count: number): void {
    if (!(count >= 1)) this.library.assertSafe(`use ${count} threads`, "Builder.setMaxThreads");
    this.callOrFail(`use ${count} threads`, "Builder.setMaxThreads", count);
  }

  /** Number of deep-learning accelerators that can be built for; 0 except on Jetson. */
  get dlaCoreCount(): number {
    return this.call("Builder.getNbDLACores");
  }

  /** True if the GPU runs FP16 faster than FP32; `undefined` from TensorRT 11 on, which does not say. */
  get hasFastFp16(): boolean | undefined {
    return this.library.has("Builder.platformHasFastFp16") ? this.call("Builder.platformHasFastFp16") === 1 : undefined;
  }

  /**
   * Build a plan, off the JS thread, for seconds or minutes.
   *
   * @param options.nice by how much its threads give way to others, 0 to 19; default 0. Above that the build does not keep the process
   *   alive
   * @returns the plan, a child of this builder
   * @throws {TensorRtError} If the network cannot be built, or its progress monitor cancelled it
   * @throws {ClosedError} If the configuration's progress monitor or timing cache is closed
   */
  async build(
    network: Network,
    config: BuilderConfig,
    options: { readonly nice?: number | undefined } = {},
  ): Promise<HostMemory> {
    const device = this.device?.index ?? -1;
    const on = [network, config, ...config.used];
    const args = [this.library.handle, this.handle, network.handle, config.handle, device] as const;
    const action = "build an engine";
    const call = "Builder.buildSerializedNetwork";
    const { nice = 0 } = options;
    const handle =
      nice === 0
        ? await createOffThread(this.library, { name: "bt_builder_build", args, on, action, call })
        : await withLog(this.library, { on, action }, () => this.#buildQuietly(args, nice, config.monitor));
    return new HostMemory("Plan", handle, this);
  }

  /** Build on a thread of its own, which does not keep the process alive. @returns the plan's address */
  async #buildQuietly(
    args: readonly [library: number, builder: number, network: number, config: number, device: number],
    nice: number,
    monitor: ProgressMonitor | undefined,
  ): Promise<number> {
    const build = shim().bt_build_start(...args, nice);
    const plan = new OutCells(1);
    let status = build === null ? SHIM_STATUS.failed : SHIM_CONSTANTS.BT_RUNNING;
    const endFirst = (): void => {
      monitor?.cancel();
      const patience = performance.now() + LAST_STEP_MS;
      while (status === SHIM_CONSTANTS.BT_RUNNING && performance.now() < patience) {
        Bun.sleepSync(LAST_POLL_MS);
        status = shim().bt_build_end(build, plan.cells);
      }
    };
    if (STOPS_THREADS) process.once("exit", endFirst);
    try {
      while (status === SHIM_CONSTANTS.BT_RUNNING) {
        await new Promise<void>((resolve) => void setTimeout(resolve, QUIET_POLL_MS).unref());
        status = shim().bt_build_end(build, plan.cells);
      }
    } finally {
      if (STOPS_THREADS) process.off("exit", endFirst);
    }
    if (status === SHIM_STATUS.ok) return plan.pointer();
    throw this.library.failure("build an engine", "Builder.buildSerializedNetwork", status);
  }
}

/** How often a build on a thread of its own is asked whether it has ended. */
const QUIET_POLL_MS = 50;

/**
 * Where a process that ends stops its other threads wherever they are, and closes its libraries then: one that a builder's thread
 * holds a lock of is waited for without end. There such a build is cancelled first.
 */
const STOPS_THREADS = process.platform === "win32";
/** Longest time that the step of a cancelled build is waited for as the process ends. */
const LAST_STEP_MS = 5000;
/** How often that build is asked whether it has ended. */
const LAST_POLL_MS = 5;

/** nvinfer1::DeviceType::kDLA. */
const DLA = 1;

/** Compute capabilities that TensorRT-RTX builds for. Where a refusal ends the process, others are not asked for. */
const RTX_CAPABILITIES: readonly number[] = [75, 80, 86, 89, 120, 121];

/** Settings of one or more builds of a builder. */
export class BuilderConfig extends NativeObject {
  /** What TensorRT uses beside it, by an address alone. */
  #monitor: ProgressMonitor | undefined;
  #timingCache: TimingCache | undefined;

  /** @internal */
  constructor(builder: NativeObject, handle: number) {
    super("BuilderConfig", builder.library, handle, builder);
  }

  /** Set or clear a flag. @returns false where this version of TensorRT has no such flag: nothing is set then */
  setFlag(flag: BuilderFlag, on: boolean): boolean {
    const number = builderFlag(flag, this.library.isStronglyTyped);
    if (number === undefined) return false;
    this.call(on ? "BuilderConfig.setFlag" : "BuilderConfig.clearFlag", number);
    return true;
  }

  /** True if a flag is set. */
  flag(flag: BuilderFlag): boolean {
    const number = builderFlag(flag, this.library.isStronglyTyped);
    return number !== undefined && this.call("BuilderConfig.getFlag", number) === 1;
  }

  /** Limit a memory pool. @param bytes TensorRT refuses some values with an error in its log, and keeps the former */
  setMemoryPoolLimit(pool: MemoryPool, bytes: number): void {
    const number = MEMORY_POOLS.indexOf(pool);
    // Only boards have these.
    if (pool.startsWith("dla"))
      this.library.assertSafe(`limit the memory pool ${pool}`, "BuilderConfig.setMemoryPoolLimit");
    this.library.log.takeErrors();
    const status = shim().bt_config_set_memory_pool_limit(this.library.handle, this.handle, number, bytes);
    this.library.check(status, "BuilderConfig.setMemoryPoolLimit");
    const { lines } = this.library.log.takeErrors();
    if (lines.length === 0) return;
    const text = message(`limit the memory pool ${pool} to ${bytes} bytes`, lines.join("; "));
    throw new OptionError(text, `memoryPools.${pool}`);
  }

  /** Limit of a memory pool in bytes. */
  memoryPoolLimit(pool: MemoryPool): number {
    return this.call("BuilderConfig.getMemoryPoolLimit", MEMORY_POOLS.indexOf(pool));
  }

  /** How long the builder searches: 0 fastest build to 5 fastest engine; 3 unless set. */
  get optimizationLevel(): number {
    return this.call("BuilderConfig.getBuilderOptimizationLevel");
  }
  /** 0 builds fastest, 5 runs fastest. */
  set optimizationLevel(level: number) {
    this.call("BuilderConfig.setBuilderOptimizationLevel", level);
  }

  /** How many runs of a kernel are averaged where the builder compares kernels; 1 unless set. */
  get timingIterations(): number {
    return this.call("BuilderConfig.getAvgTimingIterations");
  }
  /** At least 1. What a timing cache has is not measured again. */
  set timingIterations(count: number) {
    this.call("BuilderConfig.setAvgTimingIterations", count);
  }

  /** What the engine can tell of its layers. */
  get profilingVerbosity(): ProfilingVerbosity {
    return PROFILING_VERBOSITIES[this.call("BuilderConfig.getProfilingVerbosity")] ?? "layer-names";
  }
  /** What the engine can tell of its layers. */
  set profilingVerbosity(verbosity: ProfilingVerbosity) {
    this.call("BuilderConfig.setProfilingVerbosity", PROFILING_VERBOSITIES.indexOf(verbosity));
  }

  /** Which other GPUs the engine runs on. */
  get hardwareCompatibility(): HardwareCompatibility {
    return HARDWARE_COMPATIBILITIES[this.call("BuilderConfig.getHardwareCompatibilityLevel")] ?? "none";
  }
  /** Which other GPUs the plan runs on. */
  set hardwareCompatibility(level: HardwareCompatibility) {
    this.call("BuilderConfig.setHardwareCompatibilityLevel", HARDWARE_COMPATIBILITIES.indexOf(level));
  }

  /** Most streams beside the main one that the engine may use; TensorRT chooses unless set. */
  setMaxAuxStreams(count: number): void {
    this.call("BuilderConfig.setMaxAuxStreams", count);
  }

  /** Run on a deep-learning accelerator (Jetson). @param options.gpuFallback layers it cannot run go to the GPU */
  useDla(core: number, options: { readonly gpuFallback: boolean }): void {
    this.call("BuilderConfig.setDefaultDeviceType", DLA);
    this.call("BuilderConfig.setDLACore", core);
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
    if (!capabilities.every((capability) => RTX_CAPABILITIES.includes(capability))) {
      this.library.assertSafe(action, "BuilderConfig.setComputeCapability");
    }
    this.callOrFail(action, "BuilderConfig.setNbComputeCapabilities", capabilities.length);
    for (const [index, capability] of capabilities.entries()) {
      const status = shim().bt_config_set_compute_capability(this.library.handle, this.handle, capability, index);
      this.library.check(status, "BuilderConfig.setComputeCapability", action);
    }
  }

  /** Add a profile of the same builder. @returns its index in the engine @throws {OptionError} If it does not hold together */
  addProfile(profile: OptimizationProfile): number {
    const [unordered] = profile.unordered;
    if (unordered !== undefined) {
      const found = `its shapes of the input ${JSON.stringify(unordered)} are out of order`;
      const hint = "every shape needs the input's rank, and min ≤ opt ≤ max on every axis";
      throw new OptionError(message("add an optimisation profile", found, hint), "profiles");
    }
    this.library.log.takeErrors();
    const index = this.call("BuilderConfig.addOptimizationProfile", profile.handle);
    if (index >= 0) return index;
    const { lines } = this.library.log.takeErrors();
    throw new OptionError(message("add an optimisation profile", lines.join("; ")), "profiles");
  }

  /** Number of optimisation profiles that were added. */
  get profileCount(): number {
    return this.call("BuilderConfig.getNbOptimizationProfiles");
  }

  /** Report a build to a monitor. It is closed after the last build. */
  setProgressMonitor(monitor: ProgressMonitor): void {
    this.call("BuilderConfig.setProgressMonitor", monitor.handle);
    this.#monitor = monitor;
  }

  /** @internal What a build tells of its progress, and is cancelled by. */
  get monitor(): ProgressMonitor | undefined {
    return this.#monitor;
  }

  /** @internal What a build uses beside the configuration, and holds open. */
  get used(): readonly (Resource | undefined)[] {
    return [this.#monitor, this.#timingCache];
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
    const { library, handle } = this;
    const cache = callMethod(library.handle, handle, "BuilderConfig.getTimingCache", []);
    const bytes = cache === null ? null : callMethod(library.handle, cache, "TimingCache.serialize", []);
    if (bytes === null) return new Uint8Array();
    using memory = new HostMemory("TimingCache bytes", bytes, this);
    return memory.copy();
  }
}
