/** @module GpuBackend: a model on a GPU through TensorRT, several frames in flight on streams in a layout that suits it. */

import { basename, join } from "node:path";
import { message, UnavailableError } from "../../core/errors.ts";
import { Resource } from "../../core/resource.ts";
import { copyToDevice } from "../../cuda/copy.ts";
import { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { EventWaits } from "../../cuda/event-waits.ts";
import { Stream } from "../../cuda/stream.ts";
import type { Recognition } from "../../model/layout.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import { PlausibilityGuard } from "../../model/plausibility.ts";
import { recogniseModel } from "../../model/registry.ts";
import type { JpegCounts } from "../../nvjpeg/jpeg-counts.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import { type CachedPlan, EngineCache } from "../../tensorrt/engine-cache.ts";
import { Runtime } from "../../tensorrt/runtime.ts";
import type { Backend, BackendOptions } from "../backend.ts";
import { decodeOptionsFor } from "../decode-options.ts";
import { assertRecognised } from "./assert-recognised.ts";
import { describedEngine } from "./described-engine.ts";
import { engineOptions } from "./engine-options.ts";
import { GpuJpeg } from "./gpu-jpeg.ts";
import type { GpuModel, LoadedModel } from "./gpu-model.ts";
import { GpuSlot } from "./gpu-slot.ts";
import { GpuStreams, type StreamLayoutName } from "./gpu-streams.ts";
import { GpuTrace } from "./gpu-trace.ts";
import { KernelLibrary } from "./kernel-library.ts";
import { type ModelFile, readModelFile } from "./model-file.ts";
import { obtainPlan } from "./obtain-plan.ts";
import { assertPlainTensors } from "./plain-tensors.ts";
import { chooseStreams } from "./stream-choice.ts";
import { valueTable } from "./value-table.ts";

/** Digits of a plan's hash in file names: 128 bits. */
const KEY_DIGITS = 32;

/** A model loaded on a GPU. */
export class GpuBackend extends Resource implements Backend {
  readonly kind = "gpu";
  readonly description: string;
  readonly model: ModelInfo;
  readonly maxBatch: number;
  readonly inFlight: number;
  /** How the frames in flight share the GPU. */
  readonly streams: StreamLayoutName;
  readonly #gpu: GpuModel;
  readonly #owned: DisposableStack;

  private constructor(gpu: GpuModel, maxBatch: number, inFlight: number, owned: DisposableStack) {
    super(`GpuBackend of ${gpu.engine.label}`);
    this.#gpu = gpu;
    this.#owned = owned;
    this.maxBatch = maxBatch;
    this.inFlight = inFlight;
    this.streams = gpu.streams.layout;
    this.model = modelInfo(gpu.engine);
    this.description = `${gpu.engine.library.version.text}, ${gpu.device.name}`;
  }

  /**
   * Load a plan, or build one from an ONNX model; a plan that was built before for this GPU comes out of the cache.
   *
   * @param source path of a plan or an ONNX file, its bytes, or what was read of it before
   * @throws {ModelError} If it is no model, or of no known layout
   * @throws {PlanMismatchError} If the plan is of another version or GPU
   * @throws {LibraryLoadError} If CUDA or TensorRT is nowhere
   * @throws {TensorRtError} If TensorRT cannot build or load it
   */
  static async load(source: string | Uint8Array | ModelFile, options: BackendOptions): Promise<GpuBackend> {
    using owned = new DisposableStack();
    const isRead = typeof source === "object" && "isPlan" in source;
    const file = isRead ? source : await readModelFile(source);
    const device = owned.use(Device.open(options.device));
    const plan = await obtainPlan(file, device, engineOptions(file, options), options.build, () =>
      assertRecognised(file, options),
    );
    const runtime = owned.use(await Runtime.create({ device }));
    const engine = owned.use(await runtime.deserialize(plan.bytes, { source: file.source }));
    assertPlainTensors(engine);
    const recognition = recogniseModel(await describedEngine(engine), { ...options, source: file.source });
    const kernels = owned.use(KernelLibrary.create(device));
    const table = valueTable(recognition.preprocessing);
    const values = owned.use(DeviceBuffer.create("f32", [table.length], { device }));
    {
      using stream = Stream.create(device);
      copyToDevice(values, table, { stream });
      stream.synchronize();
    }
    const waits = new EventWaits(options.wait, device);
    const jpeg = GpuJpeg.open(device, { mode: options.jpeg, check: options.jpegCheck !== false, waits });
    if (jpeg !== undefined) owned.use(jpeg);
    const input = engine.tensor(recognition.imageInput);
    const rows = input.shape[0]!;
    const loaded: LoadedModel = {
      device,
      kernels,
      engine,
      recognition,
      guard: new PlausibilityGuard(file.source),
      values,
      fixedBatch: rows > 0 ? rows : undefined,
      zeroCopy: readsInPlace(device, options.zeroCopy),
      decodeOptions: decodeOptionsFor(recognition, options),
      jpeg,
      hasGraph: options.graph !== false,
      waits,
    };
    const maxBatch = rows > 0 ? rows : (input.profiles[0]?.max[0] ?? 1);
    const request = { options, maxBatch, path: () => choicePath(file, plan) };
    const { streams: layout, inFlight } = await chooseStreams(loaded, request);
    const gpu: GpuModel = {
      ...loaded,
      streams: owned.use(new GpuStreams(engine, device, layout, inFlight)),
      trace: options.trace === undefined ? undefined : owned.use(new GpuTrace(device, options.trace)),
    };
    return new GpuBackend(gpu, maxBatch, inFlight, owned.move());
  }

  get recognition(): Recognition {
    return this.#gpu.recognition;
  }

  /** How JPEG files were decoded so far; `undefined` where the CPU decodes them, and before the first. */
  get jpeg(): JpegCounts | undefined {
    return this.#gpu.jpeg?.counts;
  }

  createSlot(): GpuSlot {
    return new GpuSlot(this.#gpu, this);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}

function modelInfo({ inputs, outputs, metadata }: Engine): ModelInfo {
  return { inputs, outputs, metadata };
}

/** @throws {UnavailableError} If it was asked for and the device cannot */
function readsInPlace(device: Device, zeroCopy: BackendOptions["zeroCopy"]): boolean {
  if (zeroCopy === false) return false;
  const canMap = device.attribute("canMapHostMemory") === 1;
  if (zeroCopy === "auto") return canMap && device.attribute("isIntegrated") === 1;
  if (canMap) return true;
  const found = `as ${device.name} cannot map host memory`;
  throw new UnavailableError(message("read frames in place", found, 'leave "zeroCopy" out'), "zeroCopy");
}

/** Where the choice of a stream layout is kept: beside a cached plan, and for other plans in the cache by their hash. */
function choicePath(file: ModelFile, plan: ModelFile | CachedPlan): string {
  if ("isHit" in plan) return plan.path.replace(/\.plan$/, ".streams.json");
  const hash = new Bun.CryptoHasher("sha256").update(plan.bytes).digest("hex").slice(0, KEY_DIGITS);
  const stem = basename(file.path ?? "plan")
    .replace(/\.(plan|engine|trt)$/i, "")
    .replace(/[^\w.-]/g, "_");
  return join(new EngineCache().folder, `${stem}-${hash}.streams.json`);
}
