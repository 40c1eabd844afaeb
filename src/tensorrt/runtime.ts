/** @module Runtime: turns plans into engines. */

import { ModelError, message, OptionError } from "../core/errors.ts";
import { kindOf, statsOf } from "../core/paths.ts";
import type { Device } from "../cuda/device.ts";
import { addressOf } from "../ffi/memory.ts";
import { Engine } from "./engine.ts";
import { openTensorRt, type TensorRtLibrary } from "./library.ts";
import { createOffThread, NativeObject, stableBytes } from "./native-object.ts";
import { checkPlan, readPlan } from "./plan-file.ts";

/** What {@linkcode Runtime.create} takes. */
export interface RuntimeOptions {
  /** Default: {@linkcode openTensorRt}. */
  readonly library?: TensorRtLibrary | undefined;
  /** The GPU that engines run on; the runtime holds it open. Default: CUDA's device 0. */
  readonly device?: Device | undefined;
  /** Accept version-compatible plans, which bring a runtime of their own as machine code: only from a source you trust. */
  readonly hostCodeAllowed?: boolean | undefined;
  /** Deep-learning accelerator (Jetson) that engines built for one run on. */
  readonly dlaCore?: number | undefined;
}

/** What {@linkcode Runtime.deserialize} takes. */
export interface DeserializeOptions {
  /** What to call the plan in messages; default "the plan". */
  readonly source?: string | undefined;
  /** The plan was built hardware-compatible: do not compare its GPU with this one. */
  readonly hardwareCompatible?: boolean | undefined;
}

/**
 * The part of TensorRT that runs engines. One is enough for a process and a device.
 *
 * @example
 * ```ts
 * import { Device } from "bun-tensorrt/cuda";
 * import { Runtime } from "bun-tensorrt/tensorrt";
 *
 * using device = Device.open();
 * using runtime = await Runtime.create({ device });
 * using engine = await runtime.load("yolo11n.plan");
 * for (const { name, dtype, shape } of [...engine.inputs, ...engine.outputs]) console.log(name, dtype, shape);
 * ```
 */
export class Runtime extends NativeObject {
  /** `undefined` for CUDA's device 0. */
  readonly device: Device | undefined;
  readonly #hostCodeAllowed: boolean;

  private constructor(library: TensorRtLibrary, handle: number, options: RuntimeOptions) {
    super(`Runtime (${library.version.text})`, library, handle, options.device);
    this.device = options.device;
    this.#hostCodeAllowed = options.hostCodeAllowed ?? false;
  }

  /**
   * Start TensorRT's runtime, off the JS thread: the first start on a device takes a while.
   *
   * @throws {LibraryLoadError} If TensorRT is nowhere
   * @throws {TensorRtError} If there is no usable GPU
   */
  static async create(options: RuntimeOptions = {}): Promise<Runtime> {
    const library = options.library ?? openTensorRt({ plansOnly: true });
    const action = `start the runtime of ${library.version.text}`;
    library.assertSafe(action, "createInferRuntime");
    const handle = await createOffThread(library, {
      name: "bt_runtime_create",
      args: [library.handle, library.logger, options.device?.index ?? -1],
      on: [options.device],
      action,
      call: "createInferRuntime",
    });
    const runtime = new Runtime(library, handle, options);
    try {
      runtime.call("Runtime.setErrorRecorder", library.recorder);
      if (options.hostCodeAllowed === true) runtime.call("Runtime.setEngineHostCodeAllowed", 1);
      if (options.dlaCore !== undefined) runtime.call("Runtime.setDLACore", options.dlaCore);
      return runtime;
    } catch (error) {
      runtime.close();
      throw error;
    }
  }

  protected override get home(): Device | undefined {
    return this.device;
  }

  /** Number of threads it may use; at least 1. */
  setMaxThreads(count: number): void {
    if (this.call("Runtime.setMaxThreads", count) === 1) return;
    throw new OptionError(message(`use ${count} threads`, "TensorRT refused the number"), "maxThreads");
  }

  /**
   * Load an engine, off the JS thread.
   *
   * @param plan bytes of a plan, with or without Ultralytics' header; may be freed afterwards
   * @throws {PlanMismatchError} If the plan's own header names another version or GPU
   * @throws {ModelError} If the bytes are no plan, or the model inside has inputs of an unusable type
   * @throws {TensorRtError} If TensorRT refuses the plan for another reason
   */
  async deserialize(plan: Uint8Array, options: DeserializeOptions = {}): Promise<Engine> {
    const source = options.source ?? "the plan";
    const file = readPlan(plan, source);
    const { device } = this;
    const target = {
      computeCapability: device?.computeCapability,
      versionCompatible: this.#hostCodeAllowed,
      hardwareCompatible: options.hardwareCompatible ?? false,
    };
    checkPlan(file, this.library.version, target, source);
    const bytes = stableBytes(file.plan);
    const handle = await createOffThread(this.library, {
      name: "bt_runtime_deserialize",
      args: [this.library.handle, this.handle, addressOf(bytes), bytes.byteLength, device?.index ?? -1],
      on: [this],
      memory: [bytes],
      action: `load the engine of ${source}`,
      call: "Runtime.deserializeCudaEngine",
    });
    return new Engine(this, handle, file.metadata, source);
  }

  /** Load an engine from a file. @see {@linkcode Runtime.deserialize} */
  async load(path: string, options: Omit<DeserializeOptions, "source"> = {}): Promise<Engine> {
    const stats = statsOf(path);
    if (stats !== undefined && !stats.isFile()) {
      throw new ModelError(message(`load ${path}`, `it is ${kindOf(stats)}`, "name the file of the plan"), path);
    }
    return await this.deserialize(await Bun.file(path).bytes(), { ...options, source: path });
  }
}
