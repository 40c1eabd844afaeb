/** @module Builder: makes plans out of networks. */

import type { Device } from "../cuda/device.ts";
import { SHIM_STATUS } from "../ffi/shim.ts";
import { STRONGLY_TYPED_10 } from "./abi/builder-flags.ts";
import { BuilderConfig } from "./builder-config.ts";
import { HostMemory } from "./host-memory.ts";
import { openTensorRt, type TensorRtLibrary } from "./library.ts";
import { NativeObject } from "./native-object.ts";
import { Network } from "./network.ts";
import { createOffThread, Operation } from "./operation.ts";
import { OptimizationProfile } from "./optimization-profile.ts";

/** What {@linkcode Builder.create} takes. */
export interface BuilderOptions {
  /** Default: {@linkcode openTensorRt}. */
  readonly library?: TensorRtLibrary;
  /** The GPU that is built for and measured on. Default: CUDA's device 0; TensorRT-RTX needs none. */
  readonly device?: Device;
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
