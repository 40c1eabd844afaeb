/** @module Engine: a model compiled for one GPU; the contexts that run it, what its layers are, and how long each of them takes. */

import { ArgumentError, message, ShapeError } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import type { DeviceMemory } from "../cuda/buffers.ts";
import type { Device } from "../cuda/device.ts";
import type { Stream } from "../cuda/stream.ts";
import { OutCells, readCString } from "../ffi/memory.ts";
import { SHIM_STATUS, type Shim, shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import { HARDWARE_COMPATIBILITIES, type HardwareCompatibility } from "./build-options.ts";
import { createOffThread, HostMemory, NativeObject } from "./native-object.ts";
import { Ring } from "./observers.ts";
import { ContextTensor, type EngineTensor, readEngineTensor } from "./tensor-info.ts";

/** What an engine was made by: a runtime, of a device. */
export interface EngineOwner extends NativeObject {
  readonly device: Device | undefined;
}

/** An engine. Contexts are made from it, one for each inference that runs at the same time; they share its weights. */
export class Engine extends NativeObject {
  readonly runtime: EngineOwner;
  /** Path of the plan, or what the caller called it. */
  readonly source: string;
  /** What the model says of itself, where the plan carries it: `names`, `task`, `stride`, … */
  readonly metadata: Readonly<Record<string, string>>;
  /** Inputs and outputs, in the engine's order, which means nothing: match by name. */
  readonly tensors: readonly EngineTensor[];
  /** Number of optimisation profiles, at least 1. */
  readonly profileCount: number;

  /** @internal */
  constructor(runtime: EngineOwner, handle: number, metadata: Readonly<Record<string, string>>, source: string) {
    super(`Engine ${JSON.stringify(source)}`, runtime.library, handle, runtime);
    this.runtime = runtime;
    this.source = source;
    this.metadata = metadata;
    try {
      this.profileCount = this.call("CudaEngine.getNbOptimizationProfiles");
      this.tensors = Array.from({ length: this.call("CudaEngine.getNbIOTensors") }, (_, index) => {
        const name = this.text("CudaEngine.getIOTensorName", index);
        return readEngineTensor(this.library, this.handle, name, this.profileCount, source);
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  protected override get home(): Device | undefined {
    return this.runtime.device;
  }

  /** What the engine takes. */
  get inputs(): readonly EngineTensor[] {
    return this.tensors.filter((tensor) => tensor.mode === "input");
  }

  /** What the engine gives. */
  get outputs(): readonly EngineTensor[] {
    return this.tensors.filter((tensor) => tensor.mode === "output");
  }

  /** One input or output. @throws {ArgumentError} If the engine has none of that name */
  tensor(name: string): EngineTensor {
    const found = this.tensors.find((tensor) => tensor.name === name);
    if (found !== undefined) return found;
    const names = this.tensors.map((tensor) => JSON.stringify(tensor.name)).join(", ");
    const action = `use tensor ${JSON.stringify(name)} of ${this.source}`;
    throw new ArgumentError(message(action, `its tensors are ${names}`));
  }

  /** Name of the network, as the builder was told. */
  get name(): string {
    return this.text("CudaEngine.getName");
  }

  /** Number of layers after optimisation; fewer than the model has. */
  get layerCount(): number {
    return this.call("CudaEngine.getNbLayers");
  }

  /** Number of streams that an inference uses beside the one it is enqueued on. */
  get auxStreamCount(): number {
    return this.call("CudaEngine.getNbAuxStreams");
  }

  /** Which other GPUs the engine runs on. */
  get hardwareCompatibility(): HardwareCompatibility {
    return HARDWARE_COMPATIBILITIES[this.call("CudaEngine.getHardwareCompatibilityLevel")] ?? "none";
  }

  /** True if its weights can be replaced. */
  get isRefittable(): boolean {
    return this.call("CudaEngine.isRefittable") === 1;
  }

  /**
   * Bytes of device memory that a context needs for activations; contexts that do not run at the same time may share it.
   *
   * @param profile of one optimisation profile; default the largest of all
   */
  deviceMemoryBytes(profile?: number): number {
    if (!this.library.has("CudaEngine.getDeviceMemorySizeV2")) return this.call("CudaEngine.getDeviceMemorySize");
    if (profile === undefined) return this.call("CudaEngine.getDeviceMemorySizeV2");
    return this.call("CudaEngine.getDeviceMemorySizeForProfileV2", profile);
  }

  /**
   * Make a context, off the JS thread.
   *
   * @param options.memory where activations live; default "static": allocated with the context, for its largest profile
   */
  async createContext(options: { readonly memory?: MemoryStrategy | undefined } = {}): Promise<ExecutionContext> {
    return await ExecutionContext.create(this, options.memory ?? "static");
  }

  /** Look into the layers. Detailed only if the engine was built with `profilingVerbosity: "detailed"`. */
  createInspector(): EngineInspector {
    return new EngineInspector(this, this.pointer("create an engine inspector", "CudaEngine.createEngineInspector"));
  }

  /** The plan again, as TensorRT writes it. Blocks. */
  serialize(): HostMemory {
    const handle = this.pointer(`serialise ${this.source}`, "CudaEngine.serialize");
    return new HostMemory(`Plan of ${this.source}`, handle, this);
  }
}

/** In the order of nvinfer1::ExecutionContextAllocationStrategy. */
const STRATEGIES = ["static", "on-profile-change", "user-managed"] as const;

/**
 * Where activations live: allocated with the context for the largest profile, allocated for the profile in use, or given
 * by {@linkcode ExecutionContext.setDeviceMemory}, so that contexts can share memory.
 */
export type MemoryStrategy = (typeof STRATEGIES)[number];

/** How many names of inputs without a shape are told. */
const TOLD_NAMES = 8;

/** A context. Its memory, streams and events belong to the caller and outlive it. */
export class ExecutionContext extends NativeObject {
  readonly engine: Engine;
  readonly memory: MemoryStrategy;
  /** Inputs and outputs in the engine's order, each with its name encoded once. */
  readonly tensors: readonly ContextTensor[];
  readonly #native: Shim = shim();
  readonly #streams = new Set<Stream>();
  /** What frees the observers that were attached once. */
  readonly #retired: (() => void)[] = [];

  private constructor(engine: Engine, handle: number, memory: MemoryStrategy) {
    super(`ExecutionContext of ${engine.source}`, engine.library, handle, engine);
    this.engine = engine;
    this.memory = memory;
    this.tensors = engine.tensors.map((info) => new ContextTensor(this, info));
  }

  /** @internal */
  static async create(engine: Engine, memory: MemoryStrategy): Promise<ExecutionContext> {
    const strategy = STRATEGIES.indexOf(memory);
    const handle = await createOffThread(engine.library, {
      name: "bt_engine_create_context",
      args: [engine.library.handle, engine.handle, strategy, engine.runtime.device?.index ?? -1],
      on: [engine],
      action: `create a context of ${engine.source}`,
      call: "CudaEngine.createExecutionContext",
    });
    return new ExecutionContext(engine, handle, memory);
  }

  protected override get home(): Device | undefined {
    return this.engine.runtime.device;
  }

  /** One input or output, to be looked up once and kept. @throws {ArgumentError} If the engine has none of that name */
  tensor(name: string): ContextTensor {
    const info = this.engine.tensor(name);
    return this.tensors[this.engine.tensors.indexOf(info)]!;
  }

  /**
   * Enqueue the inference. All addresses are bound and all input shapes known. Per frame: allocates nothing.
   *
   * The memory is in use until the stream has passed this point.
   *
   * @throws {TensorRtError} If TensorRT refuses; faults of the kernels surface when the stream is synchronised
   */
  enqueue(stream: Stream): void {
    const status = this.#native.bt_context_enqueue(this.library.handle, this.handle, stream.handle);
    if (status !== SHIM_STATUS.ok) {
      throw this.library.failure(`run ${this.engine.source}`, "ExecutionContext.enqueueV3", status);
    }
  }

  /**
   * Choose an optimisation profile; input shapes are to be set again. Enqueued on the stream.
   *
   * @param profile from 0 to `engine.profileCount - 1`
   */
  setProfile(profile: number, stream: Stream): void {
    const status = this.#native.bt_context_set_profile(this.library.handle, this.handle, profile, stream.handle);
    const action = `use profile ${profile} of ${this.engine.source}`;
    this.library.check(status, "ExecutionContext.setOptimizationProfileAsync", action);
  }

  /** The profile in use. */
  get profile(): number {
    return this.call("ExecutionContext.getOptimizationProfile");
  }

  /** Names of inputs whose shape is still unknown; then output shapes are unknown as well. */
  missingShapes(): string[] {
    const names = new OutCells(TOLD_NAMES);
    const status = this.#native.bt_context_infer_shapes(this.library.handle, this.handle, TOLD_NAMES, names.cells);
    const action = `infer the shapes of ${this.engine.source}`;
    const count = this.library.check(status, "ExecutionContext.inferShapes", action);
    return Array.from({ length: Math.min(count, TOLD_NAMES) }, (_, cell) => readCString(names.pointer(cell)));
  }

  /**
   * Give a "user-managed" context the memory for its activations. It stays the caller's, who keeps it until the last
   * inference has finished; contexts that never run at the same time may be given the same memory.
   *
   * @throws {ShapeError} If it is smaller than the profile in use needs
   */
  setDeviceMemory(memory: DeviceMemory): void {
    const needed = this.engine.deviceMemoryBytes(this.profile);
    if (memory.byteLength < needed) {
      const [expected, actual] = [`${needed} bytes`, `${memory.byteLength} bytes`];
      const text = message(`give ${this.label} its memory`, `it must have ${expected}, got ${actual}`);
      throw new ShapeError(text, { tensor: "device memory", expected, actual });
    }
    if (!this.library.has("ExecutionContext.setDeviceMemoryV2")) {
      this.call("ExecutionContext.setDeviceMemory", memory.pointer);
      return;
    }
    const { pointer, byteLength } = memory;
    const status = this.#native.bt_context_set_device_memory(this.library.handle, this.handle, pointer, byteLength);
    this.library.check(status, "ExecutionContext.setDeviceMemoryV2");
  }

  /** Bytes of device memory that the shapes set now need; may be less than the profile's. "user-managed" alone. */
  neededMemoryBytes(): number {
    return this.call("ExecutionContext.updateDeviceMemorySizeForShapes");
  }

  /** Let the engine's parallel branches run on streams of the caller: `engine.auxStreamCount` of them are used. */
  setAuxStreams(streams: readonly Stream[]): void {
    const handles = new OutCells(streams.length);
    for (const [at, stream] of streams.entries()) handles.setPointer(at, stream.handle);
    const { library, handle } = this;
    const status = this.#native.bt_context_set_aux_streams(library.handle, handle, handles.cells, streams.length);
    library.check(status, "ExecutionContext.setAuxStreams");
    this.#streams.clear();
    for (const stream of streams) this.#streams.add(stream);
  }

  /** Report layer times at every enqueue (the default once a profiler is set), or only when {@linkcode reportToProfiler} is called. */
  setEmitsProfile(atEveryEnqueue: boolean): void {
    this.call("ExecutionContext.setEnqueueEmitsProfile", Number(atEveryEnqueue));
  }

  /** Report the layer times of the inference that has run. Blocks until it has finished. */
  reportToProfiler(): boolean {
    return this.call("ExecutionContext.reportToProfiler") === 1;
  }

  /** Attach or detach (0) an IProfiler. Called by `LayerProfiler`. */
  setProfiler(profiler: number): void {
    this.call("ExecutionContext.setProfiler", profiler);
  }

  /** Let at most so much of the L2 cache be kept for this context's activations. @param bytes 0 for none */
  setPersistentCacheLimit(bytes: number): void {
    this.call("ExecutionContext.setPersistentCacheLimit", bytes);
  }

  /**
   * Free an observer with the context: TensorRT 10.6 goes on calling a profiler after it was told to let go of it.
   * Called by `LayerProfiler` and `OutputAllocator`.
   */
  retire(free: () => void): void {
    this.#retired.push(free);
  }

  protected override release(): void {
    super.release();
    for (const free of this.#retired) free();
  }
}

/** nvinfer1::LayerInformationFormat::kJSON. */
const JSON_FORMAT = 1;

/** What an engine tells of itself, in TensorRT's own form. */
export interface EngineInformation {
  /** Names, or objects where the engine was built with `profilingVerbosity: "detailed"`. */
  readonly Layers: readonly (string | Readonly<Record<string, unknown>>)[];
  readonly [key: string]: unknown;
}

/** An inspector of one engine. */
export class EngineInspector extends NativeObject {
  /** TensorRT has its address alone. */
  #context: NativeObject | undefined;

  /** @internal */
  constructor(engine: Engine, handle: number) {
    super(`EngineInspector of ${engine.source}`, engine.library, handle, engine);
  }

  /** Describe shapes as a context has them, instead of as ranges; the context must stay open while it is used. */
  setContext(context: NativeObject): void {
    this.callOrFail("inspect with a context", "EngineInspector.setExecutionContext", context.handle);
    this.#context = context;
  }

  /** All layers, parsed from TensorRT's JSON. @throws {ClosedError} If the context that was set is closed */
  information(): EngineInformation {
    this.#context?.assertOpen("inspect with a context");
    return JSON.parse(this.text("EngineInspector.getEngineInformation", JSON_FORMAT));
  }

  /** One layer, as JSON text. @param layer from 0 to `engine.layerCount - 1` */
  layer(layer: number): string {
    this.#context?.assertOpen("inspect with a context");
    return readCString(shim().bt_inspector_layer(this.library.handle, this.handle, layer, JSON_FORMAT));
  }
}

/** Times of one layer over the inferences that were profiled. */
export interface LayerTime {
  readonly name: string;
  readonly count: number;
  readonly totalMs: number;
  readonly meanMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}

const CAPACITY_BYTES = 1024 * 1024;

/** A profiler of one context. While it is attached, TensorRT runs the layers one after the other: the sum is too long. */
export class LayerProfiler extends Resource {
  readonly #context: ExecutionContext;
  readonly #ring = new Ring(CAPACITY_BYTES);
  readonly #handle: number;
  readonly #times = new Map<string, { count: number; totalMs: number; minMs: number; maxMs: number }>();

  private constructor(context: ExecutionContext) {
    super(`LayerProfiler of ${context.engine.source}`, context);
    this.#context = context;
    // IProfiler has another object layout since TensorRT 11.
    this.#handle = shim().bt_profiler_create(context.library.isStronglyTyped ? 11 : 10, this.#ring.handle)!;
    context.setProfiler(this.#handle);
  }

  /** Attach a profiler; every enqueue from now on is measured, until it is closed. */
  static create(context: ExecutionContext): LayerProfiler {
    return new LayerProfiler(context);
  }

  /** Take over what was measured. Call it at least every hundred inferences: the queue is bounded. */
  collect(): void {
    this.assertOpen("collect layer times");
    this.#ring.drain((record) => {
      if (record.kind !== SHIM_CONSTANTS.BT_RECORD_LAYER) return;
      const time = this.#times.get(record.text) ?? { count: 0, totalMs: 0, minMs: Number.POSITIVE_INFINITY, maxMs: 0 };
      time.count += 1;
      time.totalMs += record.value;
      time.minMs = Math.min(time.minMs, record.value);
      time.maxMs = Math.max(time.maxMs, record.value);
      this.#times.set(record.text, time);
    });
  }

  /** All layers in the order they ran, with what has been collected. */
  layers(): LayerTime[] {
    this.collect();
    return [...this.#times].map(([name, time]) => ({ name, ...time, meanMs: time.totalMs / time.count }));
  }

  /** Forget what was collected, after a warm-up. */
  reset(): void {
    this.collect();
    this.#times.clear();
  }

  protected override release(): void {
    this.#context.setProfiler(0);
    this.#context.retire(() => {
      shim().bt_observer_destroy(this.#handle);
      this.#ring.destroy();
    });
  }
}
