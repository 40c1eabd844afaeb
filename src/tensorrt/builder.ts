/** @module Builder: makes plans out of networks. */

import { message, OptionError } from "../core/errors.ts";
import type { Device } from "../cuda/device.ts";
import { methodId, SHIM_STATUS, shim } from "../ffi/shim.ts";
import { type BuilderFlag, builderFlag, STRONGLY_TYPED_10 } from "./abi/builder-flags.ts";
import {
  HARDWARE_COMPATIBILITIES,
  type HardwareCompatibility,
  MEMORY_POOLS,
  type MemoryPool,
  PROFILING_VERBOSITIES,
  type ProfilingVerbosity,
} from "./build-options.ts";
import { HostMemory } from "./host-memory.ts";
import { openTensorRt, type TensorRtLibrary } from "./library.ts";
import { NativeObject } from "./native-object.ts";
import { Network } from "./network.ts";
import { createOffThread, Operation } from "./operation.ts";
import { OptimizationProfile, type TimingCache } from "./optimization-profile.ts";
import type { ProgressMonitor } from "./progress.ts";

/** What {@linkcode Builder.create} takes. */
export interface BuilderOptions {
  /** Default: {@linkcode openTensorRt}. */
  readonly library?: TensorRtLibrary;
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
    const capability =
      device === undefined ? undefined : device.computeCapability[0] * 10 + device.computeCapability[1];
    library.preloadBuilderParts(capability);
    using hold = device === undefined ? undefined : Operation.on(device, action);
    const handle = await createOffThread(library, {
      name: "bt_builder_create",
      args: [library.handle, library.logger, device?.index ?? -1],
      keep: [],
      action,
      call: "createInferBuilder",
    });
    const builder = new Builder(library, handle, device);
    hold?.close();
    try {
      builder.setPointer("Builder.setErrorRecorder", library.recorder);
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
  createNetwork(options: { readonly stronglyTyped?: boolean } = {}): Network {
    const flags = options.stronglyTyped === true && !this.library.isStronglyTyped ? STRONGLY_TYPED_10 : 0;
    return Network.wrap(this, this.pointerAt("Builder.createNetworkV2", flags, "create a network"));
  }

  createConfig(): BuilderConfig {
    return BuilderConfig.wrap(this, this.pointer("Builder.createBuilderConfig", "create a builder configuration"));
  }

  /** Make a profile, which the builder owns. */
  createProfile(): OptimizationProfile {
    const handle = this.pointer("Builder.createOptimizationProfile", "create an optimisation profile");
    return OptimizationProfile.wrap(this, handle);
  }

  /** Number of threads the builder may use; at least 1. @throws {TensorRtError} If TensorRT refuses the number */
  setMaxThreads(count: number): void {
    this.trySetI32("Builder.setMaxThreads", count, `use ${count} threads`);
  }

  /** Number of deep-learning accelerators that can be built for; 0 except on Jetson. */
  get dlaCoreCount(): number {
    return this.i32("Builder.getNbDLACores");
  }

  /** True if the GPU runs FP16 faster than FP32; `undefined` from TensorRT 11 on, which does not say. */
  get hasFastFp16(): boolean | undefined {
    return this.library.has("Builder.platformHasFastFp16") ? this.bool("Builder.platformHasFastFp16") : undefined;
  }

  /**
   * Build a plan, off the JS thread, for seconds or minutes.
   *
   * @returns the plan, a child of this builder
   * @throws {TensorRtError} If the network cannot be built, or its progress monitor cancelled it
   * @throws {ClosedError} If the configuration's progress monitor or timing cache is closed
   */
  async build(network: Network, config: BuilderConfig): Promise<HostMemory> {
    using ofNetwork = Operation.on(network, "build");
    using ofConfig = Operation.on(config, "build");
    using used = config.holdUsed();
    const handle = await createOffThread(this.library, {
      name: "bt_builder_build",
      args: [this.library.handle, this.handle, network.handle, config.handle, this.device?.index ?? -1],
      keep: [ofNetwork, ofConfig, used],
      action: "build an engine",
      call: "IBuilder::buildSerializedNetwork",
      method: "Builder.buildSerializedNetwork",
    });
    return HostMemory.wrap("Plan", this.library, handle, this);
  }
}

/** nvinfer1::DeviceType::kDLA. */
const DLA = 1;

/** Settings of one or more builds of a builder. */
export class BuilderConfig extends NativeObject {
  /** What TensorRT uses beside it, by an address alone. */
  #monitor: ProgressMonitor | undefined;
  #timingCache: TimingCache | undefined;

  private constructor(builder: NativeObject, handle: number) {
    super("BuilderConfig", builder.library, handle, builder);
  }

  /** Called by {@linkcode Builder.createConfig} alone. */
  static wrap(builder: NativeObject, handle: number): BuilderConfig {
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
    const number = MEMORY_POOLS.indexOf(pool);
    this.library.log.takeErrors();
    const status = shim().bt_config_set_memory_pool_limit(this.library.handle, this.handle, number, bytes);
    this.library.check(status, "BuilderConfig.setMemoryPoolLimit");
    const { lines } = this.library.log.takeErrors();
    if (lines.length === 0) return;
    throw new OptionError(
      message(`limit the memory pool ${pool}`, `TensorRT refused ${bytes} bytes: ${lines.join("; ")}`),
      `memoryPools.${pool}`,
    );
  }

  /** Limit of a memory pool in bytes. */
  memoryPoolLimit(pool: MemoryPool): number {
    return this.i64At("BuilderConfig.getMemoryPoolLimit", MEMORY_POOLS.indexOf(pool));
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
      message("add an optimisation profile", `TensorRT refused it: ${lines.join("; ")}`),
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
