/** @module GpuTransformBackend: an image model on a GPU through TensorRT, the whole picture on one stream. */

import { allocate } from "../../core/dtype.ts";
import { Resource } from "../../core/resource.ts";
import { copyToDevice } from "../../cuda/copy.ts";
import { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { Stream } from "../../cuda/stream.ts";
import { levelTable } from "../../image/preprocess-values.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import type { Size } from "../../pipeline/backend.ts";
import { KernelLibrary } from "../../pipeline/gpu/kernel-library.ts";
import { readModelFile } from "../../pipeline/gpu/model-file.ts";
import { obtainPlan } from "../../pipeline/gpu/obtain-plan.ts";
import { assertPlainTensors } from "../../pipeline/gpu/plain-tensors.ts";
import type { BuildOptions } from "../../tensorrt/build-options.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import { Runtime } from "../../tensorrt/runtime.ts";
import { cubicPhases } from "../cubic-phases.ts";
import type { ImageModelConfig } from "../image-model-config.ts";
import { type ImageInput, type ImageRecognition, recogniseInput, recogniseOutput } from "../image-recognition.ts";
import type { TileRules } from "../tile-grid.ts";
import { probeSize, type TransformBackend, tileRules } from "../transform-backend.ts";
import type { GpuImageModel } from "./gpu-image-model.ts";
import { GpuTransformSlot } from "./gpu-transform-slot.ts";
import { probeOutputs } from "./tile-inference.ts";

/** Tiles of a run where neither the caller nor the model says: enough to fill a large GPU with tiles of 224. */
const BATCH = 4;

/** An image model loaded on a GPU. */
export class GpuTransformBackend extends Resource implements TransformBackend {
  readonly kind = "gpu";
  readonly description: string;
  readonly model: ModelInfo;
  readonly rules: TileRules;
  readonly #gpu: GpuImageModel;
  readonly #owned: DisposableStack;

  private constructor(gpu: GpuImageModel, rules: TileRules, owned: DisposableStack) {
    super(`GpuTransformBackend of ${gpu.engine.label}`);
    this.#gpu = gpu;
    this.#owned = owned;
    this.rules = rules;
    this.model = modelInfo(gpu.engine);
    this.description = `${gpu.engine.library.version.text}, ${gpu.device.name}`;
  }

  /**
   * Load a plan, or build one from an ONNX model; a plan that was built before for this GPU comes out of the cache.
   *
   * @param source path of a plan or an ONNX file, or its bytes
   * @throws {ModelError} If it is no model, or makes no pictures
   * @throws {PlanMismatchError} If the plan is of another version or GPU
   * @throws {LibraryLoadError} If CUDA or TensorRT is nowhere
   * @throws {TensorRtError} If TensorRT cannot build or load it
   */
  static async load(source: string | Uint8Array, config: ImageModelConfig): Promise<GpuTransformBackend> {
    using owned = new DisposableStack();
    const file = await readModelFile(source);
    const device = owned.use(Device.open(config.device));
    const { bytes } = await obtainPlan(file, device, imageEngineOptions(config), config.build);
    const runtime = owned.use(await Runtime.create({ device }));
    const engine = owned.use(await runtime.deserialize(bytes, { source: file.source }));
    assertPlainTensors(engine);
    const info = modelInfo(engine);
    const input = recogniseInput(info, file.source, config.hints);
    const rules = tileRules(input, config, engineLimits(engine, input));
    const size = probeSize(rules);
    const outputs = await probeOutputs(engine, input, size);
    const recognition = recogniseOutput(info, file.source, input, size, outputs, config.hints);
    const kernels = owned.use(KernelLibrary.create(device));
    const gpu: GpuImageModel = {
      device,
      kernels,
      engine,
      recognition,
      padding: config.padding,
      batch: recognition.fixedBatch ?? mostTiles(engine, input, config),
      ...uploadTables(device, recognition, owned),
    };
    return new GpuTransformBackend(gpu, rules, owned.move());
  }

  get recognition(): ImageRecognition {
    return this.#gpu.recognition;
  }

  createSlot(): GpuTransformSlot {
    return new GpuTransformSlot(this.#gpu, this);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}

function modelInfo({ inputs, outputs, metadata }: Engine): ModelInfo {
  return { inputs, outputs, metadata };
}

/**
 * Ranges for what an image model leaves open; they count for nothing where it does not.
 *
 * @param config largest tile and number of tiles a run
 */
export function imageEngineOptions(
  config: Pick<ImageModelConfig, "tile" | "multiple" | "batch" | "build">,
): BuildOptions {
  const open = { fixedWidth: undefined, fixedHeight: undefined, fixedBatch: undefined };
  const { smallest, largest } = tileRules(open, { ...config, overlap: undefined });
  const { batch = BATCH, build } = config;
  return {
    batch: { min: 1, opt: batch, max: batch },
    size: { min: smallest, opt: largest, max: largest },
    ...(build.precision === undefined ? {} : { precision: build.precision }),
  };
}

/** The sizes an engine takes, by its first profile. */
function engineLimits(
  engine: Engine,
  { form }: ImageInput,
): { readonly smallest: Size; readonly largest: Size } | undefined {
  const profile = engine.tensor(form.name).profiles[0];
  if (profile === undefined) return undefined;
  const sizeOf = (shape: readonly number[]): Size =>
    form.layout === "NCHW" ? [shape[3]!, shape[2]!] : [shape[2]!, shape[1]!];
  return { smallest: sizeOf(profile.min), largest: sizeOf(profile.max) };
}

function mostTiles(engine: Engine, { form }: ImageInput, { batch = BATCH }: ImageModelConfig): number {
  const most = engine.tensor(form.name).profiles[0]?.max[0] ?? 1;
  return Math.min(batch, most);
}

/** Copy what the kernels read of the model to the device. */
function uploadTables(
  device: Device,
  { input, scale }: ImageRecognition,
  owned: DisposableStack,
): Pick<GpuImageModel, "levels" | "phases"> {
  const table = allocate("f32", 3 * 256);
  if (input.channels !== "luma") table.set(levelTable(input, [0, 1, 2]));
  const offsets = cubicPhases(scale);
  const levels = owned.use(DeviceBuffer.create("f32", [table.length], { device }));
  const phases = owned.use(DeviceBuffer.create("i32", [offsets.length], { device }));
  using stream = Stream.create(device);
  copyToDevice(levels, table, { stream });
  copyToDevice(phases, offsets, { stream });
  stream.synchronize();
  return { levels, phases };
}
