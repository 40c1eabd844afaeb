/** @module GpuBackend: a model on a GPU through TensorRT, several frames in flight on streams in a layout that suits it. */

import { basename, join } from "node:path";
import type { DType } from "../../core/dtype.ts";
import { message, ShapeError, UnavailableError } from "../../core/errors.ts";
import { Resource } from "../../core/resource.ts";
import { formatShape, isDynamic, type Shape } from "../../core/shape.ts";
import type { TensorInfo } from "../../core/tensor.ts";
import { Device } from "../../cuda/device.ts";
import { EventWaits } from "../../cuda/event-waits.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import type { JpegCounts } from "../../nvjpeg/jpeg-counts.ts";
import type { BuildOptions } from "../../tensorrt/build-options.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import { type CachedPlan, EngineCache } from "../../tensorrt/engine-cache.ts";
import { readOnnxMetadata } from "../../tensorrt/onnx-metadata.ts";
import { Runtime } from "../../tensorrt/runtime.ts";
import type { Backend, EngineBuild, MachineOptions } from "../backend.ts";
import type { OpenedModel, Task, TaskModel } from "../task.ts";
import { assertRecognised } from "./assert-recognised.ts";
import { describedEngine } from "./described-engine.ts";
import { GpuJpeg } from "./gpu-jpeg.ts";
import type { CudaTask, GpuModel, LoadedModel } from "./gpu-model.ts";
import { GpuSlot } from "./gpu-slot.ts";
import { GpuStreams, type StreamLayoutName } from "./gpu-streams.ts";
import { GpuTrace } from "./gpu-trace.ts";
import { KernelLibrary } from "./kernel-library.ts";
import { type ModelFile, readModelFile } from "./model-file.ts";
import { obtainPlan } from "./obtain-plan.ts";
import { assertPlainTensors } from "./plain-tensors.ts";
import { chooseStreams } from "./stream-choice.ts";

/** Digits of a plan's hash in file names: 128 bits. */
const KEY_DIGITS = 32;

/** Rows of a run where neither the task nor the engine says: enough to fill a large GPU with small regions. */
const USUAL_ROWS = 4;

/** A model loaded on a GPU. */
export class GpuBackend<Recognition, Params, Output> extends Resource implements Backend<Recognition, Params, Output> {
  readonly kind = "gpu";
  readonly description: string;
  readonly model: ModelInfo;
  readonly task: TaskModel<Recognition, Params, Output>;
  readonly maxBatch: number;
  readonly inFlight: number;
  /** How the frames in flight share the GPU. */
  readonly streams: StreamLayoutName;
  readonly #gpu: GpuModel<Params, Output>;
  readonly #owned: DisposableStack;

  private constructor(
    gpu: GpuModel<Params, Output>,
    task: TaskModel<Recognition, Params, Output>,
    limits: { readonly maxBatch: number; readonly inFlight: number },
    owned: DisposableStack,
  ) {
    super(`GpuBackend of ${gpu.engine.label}`);
    this.#gpu = gpu;
    this.#owned = owned;
    this.task = task;
    this.maxBatch = limits.maxBatch;
    this.inFlight = limits.inFlight;
    this.streams = gpu.streams.layout;
    this.model = modelInfo(gpu.engine);
    this.description = `${gpu.engine.library.version.text}, ${gpu.device.name}`;
  }

  /**
   * Load a plan, or build one from an ONNX model; a plan that was built before for this GPU comes out of the cache.
   *
   * @param source path of a plan or an ONNX file, its bytes, or what was read of it before
   * @throws {ModelError} If it is no model, or none of the task's
   * @throws {PlanMismatchError} If the plan is of another version or GPU
   * @throws {LibraryLoadError} If CUDA or TensorRT is nowhere
   * @throws {TensorRtError} If TensorRT cannot build or load it
   */
  static async load<Recognition, Params, Output>(
    source: string | Uint8Array | ModelFile,
    task: Task<Recognition, Params, Output>,
    options: Omit<MachineOptions, "threads">,
  ): Promise<GpuBackend<Recognition, Params, Output>> {
    using owned = new DisposableStack();
    const isRead = typeof source === "object" && "isPlan" in source;
    const file = isRead ? source : await readModelFile(source);
    const device = owned.use(Device.open(options.device));
    const { build } = options;
    const plan = await obtainPlan(file, device, engineOptions(file, task, build), build, () =>
      assertRecognised(file, task, build.signal),
    );
    const runtime = owned.use(await Runtime.create({ device }));
    const engine = owned.use(await runtime.deserialize(plan.bytes, { source: file.source }));
    assertPlainTensors(engine);
    const recognised = await task.recognise(opened(engine, file.source));
    const waits = new EventWaits(options.wait, device);
    const jpeg = GpuJpeg.open(device, { mode: options.jpeg, check: options.jpegCheck !== false, waits });
    if (jpeg !== undefined) owned.use(jpeg);
    const input = engine.tensor(recognised.input.name);
    const fixedBatch = input.shape[0]! > 0 ? input.shape[0]! : undefined;
    const maxBatch = fixedBatch ?? input.profiles[0]?.max[0] ?? 1;
    const loaded: LoadedModel = {
      device,
      kernels: owned.use(KernelLibrary.create(device)),
      engine,
      task: recognised,
      fixedBatch,
      rows: fixedBatch ?? Math.min(recognised.rows ?? USUAL_ROWS, maxBatch),
      zeroCopy: readsInPlace(device, options.zeroCopy),
      jpeg,
      hasGraph: options.graph !== false,
      waits,
    };
    // Every task that has a part for this memory gives one of this type: see gpu-model.ts.
    const part = (await recognised.device.cuda!()) as CudaTask<Params, Output>;
    const cuda = part.load(loaded, owned);
    const request = { options, path: () => choicePath(file, plan) };
    const { streams: layout, inFlight } = await chooseStreams(loaded, cuda, request);
    const gpu: GpuModel<Params, Output> = {
      ...loaded,
      cuda,
      streams: owned.use(new GpuStreams(engine, device, layout, inFlight)),
      trace: options.trace === undefined ? undefined : owned.use(new GpuTrace(device, options.trace)),
    };
    return new GpuBackend(gpu, recognised, { maxBatch, inFlight }, owned.move());
  }

  /** How JPEG files were decoded so far; `undefined` where the CPU decodes them, and before the first. */
  get jpeg(): JpegCounts | undefined {
    return this.#gpu.jpeg?.counts;
  }

  createSlot(): GpuSlot<Params, Output> {
    return new GpuSlot(this.#gpu, this);
  }

  protected release(): void {
    this.#owned.dispose();
  }
}

/** How an engine is built for a task. */
export function engineOptions(
  file: Pick<ModelFile, "bytes">,
  task: Pick<Task<unknown, unknown, unknown>, "engineShapes">,
  { precision }: Pick<EngineBuild, "precision">,
): BuildOptions {
  return { ...task.engineShapes(readOnnxMetadata(file.bytes)), ...(precision === undefined ? {} : { precision }) };
}

function modelInfo({ inputs, outputs, metadata }: Engine): ModelInfo {
  return { inputs, outputs, metadata };
}

function opened(engine: Engine, source: string): OpenedModel {
  return {
    model: modelInfo(engine),
    source,
    described: () => describedEngine(engine),
    rangeOf: (input) => engine.tensor(input).profiles[0],
    outputsFor: (input, _, shape) => outputsFor(engine, input, shape),
  };
}

/** What an engine makes of an input of a shape: its outputs with the shapes they then have. Runs nothing. */
async function outputsFor(engine: Engine, input: string, inputShape: Shape): Promise<TensorInfo[]> {
  using context = await engine.createContext({ memory: "user-managed" });
  engine.runtime.device?.makeCurrent();
  context.tensor(input).setShape(inputShape);
  return engine.outputs.map(({ name, dtype }: { name: string; dtype: DType }) => {
    const { shape } = context.tensor(name);
    if (!isDynamic(shape)) return { name, dtype, shape };
    const actual = formatShape(shape);
    const found = `the shape of ${JSON.stringify(name)} depends on the picture: ${actual}`;
    throw new ShapeError(message("run the engine", found, 'use backend "cpu"'), {
      tensor: name,
      expected: "a shape that follows from the input's",
      actual,
    });
  });
}

/** @throws {UnavailableError} If it was asked for and the device cannot */
function readsInPlace(device: Device, zeroCopy: MachineOptions["zeroCopy"]): boolean {
  if (zeroCopy === false) return false;
  const canMap = device.attribute("canMapHostMemory") === 1;
  if (zeroCopy === "auto") return canMap && device.attribute("isIntegrated") === 1;
  if (canMap) return true;
  const found = `${device.name} cannot map host memory`;
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
