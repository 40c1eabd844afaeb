/** @module Engine: a model compiled for one GPU. */

import { message } from "../core/errors.ts";
import type { Device } from "../cuda/device.ts";
import { HARDWARE_COMPATIBILITIES, type HardwareCompatibility } from "./builder-config.ts";
import { EngineInspector } from "./engine-inspector.ts";
import { ExecutionContext, type MemoryStrategy } from "./execution-context.ts";
import { HostMemory } from "./host-memory.ts";
import { NativeObject } from "./native-object.ts";
import type { Runtime } from "./runtime.ts";
import { type EngineTensor, readEngineTensor } from "./tensor-info.ts";

/** An engine. Contexts are made from it, one for each inference that runs at the same time; they share its weights. */
export class Engine extends NativeObject {
  readonly runtime: Runtime;
  /** Path of the plan, or what the caller called it. */
  readonly source: string;
  /** What the model says of itself, where the plan carries it: `names`, `task`, `stride`, … */
  readonly metadata: Readonly<Record<string, string>>;
  /** Inputs and outputs, in the engine's order, which means nothing: match by name. */
  readonly tensors: readonly EngineTensor[];
  /** Number of optimisation profiles, at least 1. */
  readonly profileCount: number;

  private constructor(runtime: Runtime, handle: number, metadata: Readonly<Record<string, string>>, source: string) {
    super(`Engine ${JSON.stringify(source)}`, runtime.library, handle, runtime);
    this.runtime = runtime;
    this.source = source;
    this.metadata = metadata;
    try {
      this.profileCount = this.i32("CudaEngine.getNbOptimizationProfiles");
      this.tensors = Array.from({ length: this.i32("CudaEngine.getNbIOTensors") }, (_, index) => {
        const name = this.textAt("CudaEngine.getIOTensorName", index);
        return readEngineTensor(this.library, this.handle, name, this.profileCount, source);
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Called by {@linkcode Runtime.deserialize} alone. */
  static wrap(runtime: Runtime, handle: number, metadata: Readonly<Record<string, string>>, source: string): Engine {
    return new Engine(runtime, handle, metadata, source);
  }

  protected override get home(): Device | undefined {
    return this.runtime.device;
  }

  get inputs(): readonly EngineTensor[] {
    return this.tensors.filter((tensor) => tensor.mode === "input");
  }

  get outputs(): readonly EngineTensor[] {
    return this.tensors.filter((tensor) => tensor.mode === "output");
  }

  /** One input or output. @throws {RangeError} If the engine has none of that name */
  tensor(name: string): EngineTensor {
    const found = this.tensors.find((tensor) => tensor.name === name);
    if (found !== undefined) return found;
    const names = this.tensors.map((tensor) => JSON.stringify(tensor.name)).join(", ");
    throw new RangeError(
      message(`use tensor ${JSON.stringify(name)} of ${this.source}`, `as its tensors are ${names}`),
    );
  }

  /** Name of the network, as the builder was told. */
  get name(): string {
    return this.text("CudaEngine.getName");
  }

  /** Number of layers after optimisation; fewer than the model has. */
  get layerCount(): number {
    return this.i32("CudaEngine.getNbLayers");
  }

  /** Number of streams that an inference uses beside the one it is enqueued on. */
  get auxStreamCount(): number {
    return this.i32("CudaEngine.getNbAuxStreams");
  }

  /** Which other GPUs the engine runs on. */
  get hardwareCompatibility(): HardwareCompatibility {
    return HARDWARE_COMPATIBILITIES[this.i32("CudaEngine.getHardwareCompatibilityLevel")] ?? "none";
  }

  /** True if its weights can be replaced. */
  get isRefittable(): boolean {
    return this.bool("CudaEngine.isRefittable");
  }

  /**
   * Bytes of device memory that a context needs for activations; contexts that do not run at the same time may share it.
   *
   * @param profile of one optimisation profile; default the largest of all
   */
  deviceMemoryBytes(profile?: number): number {
    if (!this.library.has("CudaEngine.getDeviceMemorySizeV2")) return this.i64("CudaEngine.getDeviceMemorySize");
    if (profile === undefined) return this.i64("CudaEngine.getDeviceMemorySizeV2");
    return this.i64At("CudaEngine.getDeviceMemorySizeForProfileV2", profile);
  }

  /**
   * Make a context, off the JS thread.
   *
   * @param options.memory where activations live; default "static": allocated with the context, for its largest profile
   */
  async createContext(options: { readonly memory?: MemoryStrategy } = {}): Promise<ExecutionContext> {
    return await ExecutionContext.create(this, options.memory ?? "static");
  }

  /** Look into the layers. Detailed only if the engine was built with `profilingVerbosity: "detailed"`. */
  createInspector(): EngineInspector {
    return EngineInspector.wrap(this, this.pointer("CudaEngine.createEngineInspector", "create an engine inspector"));
  }

  /** The plan again, as TensorRT writes it. Blocks. */
  serialize(): HostMemory {
    const handle = this.pointer("CudaEngine.serialize", `serialise ${this.source}`);
    return HostMemory.wrap(`Plan of ${this.source}`, this.library, handle, this);
  }
}
