/** @module GpuBackend: a model on a GPU through TensorRT, several frames in flight on streams in a layout that suits it. */

import { basename, join } from "node:path";
import { inShort, LibraryLoadError, ModelError, message, UnavailableError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Owner } from "../../core/resource.ts";
import { allocate, isDynamic, packVectors, type Shape, type Tensor, type TensorInfo } from "../../core/tensor.ts";
import { discard } from "../../core/whole-file.ts";
import type { DeviceBuffer } from "../../cuda/buffers.ts";
import { copyToDevice } from "../../cuda/copy.ts";
import { cudaUnavailable, type Device } from "../../cuda/device.ts";
import { Stream } from "../../cuda/stream.ts";
import { isHostPlan } from "../../heads/host-plan.ts";
import type { MapPlan } from "../../heads/plans.ts";
import { declaredModel } from "../../heads/shaping-config.ts";
import { readTraits } from "../../heads/traits.ts";
import type { JpegCounts } from "../../image/image-decoder.ts";
import { type ModelInfo, needsShapes } from "../../model/model-info.ts";
import { readOnnxModel } from "../../onnx/model.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { Accelerator, Backend, EngineBuild, MachineOptions } from "../../runtime/backend.ts";
import { noDevicePart, type OpenedModel, type Task, type TaskModel } from "../../runtime/task.ts";
import type { BuildOptions } from "../../tensorrt/build-options.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import { type CachedPlan, EngineCache } from "../../tensorrt/engine-cache.ts";
import { openTensorRt } from "../../tensorrt/library.ts";
import { Runtime } from "../../tensorrt/runtime.ts";
import { type EngineTensor, vectorOf } from "../../tensorrt/tensor-info.ts";
import type { FirstEngine, TensorRtOptions, ZeroCopy } from "../accelerator-options.ts";
import { canProve, declaredOnly, openedSession, shapedBytes, variantOf, withFoundShapes } from "../opened-model.ts";
import { firstPlan, fullPlan, planRequest } from "./first-plan.ts";
import { engineBuffer, outputError, readTensor } from "./gpu-binding.ts";
import { assertRoom, type CudaTask, GpuGround, type GpuModel, type LoadedModel } from "./gpu-model.ts";
import { GpuSlot } from "./gpu-slot.ts";
import { GpuStreams, GpuTrace, type StreamLayoutName } from "./gpu-streams.ts";
import { type ModelFile, readModelFile } from "./model-file.ts";
import { chooseStreams } from "./stream-choice.ts";

/** Digits of a plan's hash in file names: 128 bits. */
const KEY_DIGITS = 32;

/** Rows of a run where neither the task nor the engine says: enough to fill a large GPU with small regions. */
const USUAL_ROWS = 4;

/** A plan to run. */
interface OpenedPlan {
  readonly file: ModelFile;
  readonly plan: ModelFile | CachedPlan;
  readonly engine: FirstEngine | undefined;
  /** What it is to take the place of. */
  readonly former?: Pick<GpuBackend<unknown, unknown, unknown>, "streams" | "inFlight" | "reruns" | "task"> | undefined;
}

/** A model loaded on a GPU. */
export class GpuBackend<ModelSpec, Params, Output> extends Owner implements Backend<ModelSpec, Params, Output> {
  readonly kind = "gpu";
  readonly description: string;
  readonly device: number;
  readonly model: ModelInfo;
  readonly task: TaskModel<ModelSpec, Params, Output>;
  readonly maxBatch: number;
  readonly inFlight: number;
  readonly streams: StreamLayoutName;
  readonly engine: FirstEngine | undefined;
  readonly #gpu: GpuModel<Params, Output>;
  /** Whose place it has taken: what was counted there goes on here. */
  readonly #former: OpenedPlan["former"];
  #better: ((signal: AbortSignal) => Promise<GpuBackend<ModelSpec, Params, Output>>) | undefined;

  private constructor(
    gpu: GpuModel<Params, Output>,
    task: TaskModel<ModelSpec, Params, Output>,
    limits: { readonly maxBatch: number; readonly inFlight: number } & Pick<OpenedPlan, "engine" | "former">,
    owned: DisposableStack,
  ) {
    super(`GpuBackend of ${gpu.engine.label}`, undefined, owned);
    this.#gpu = gpu;
    this.task = task;
    this.maxBatch = limits.maxBatch;
    this.inFlight = limits.inFlight;
    this.streams = gpu.streams.layout;
    this.engine = limits.engine;
    this.#former = limits.former;
    this.model = modelInfo(gpu.engine);
    this.device = gpu.device.index;
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
  static async load<ModelSpec, Params, Output>(
    source: string | Uint8Array | ModelFile,
    task: Task<ModelSpec, Params, Output>,
    options: Omit<MachineOptions, "accelerators"> & TensorRtOptions,
  ): Promise<GpuBackend<ModelSpec, Params, Output>> {
    using owned = new DisposableStack();
    const file = typeof source === "object" && "isPlan" in source ? source : await readModelFile(source);
    const ground = GpuGround.open(options);
    owned.use(ground.hold("a model"));
    if (file.isPlan)
      return await GpuBackend.#open({ file, plan: file, engine: undefined }, ground, task, options, owned);
    const { build } = options;
    let built: Promise<Uint8Array | undefined> | undefined;
    const request = planRequest(file, build, {
      options: engineOptions(file, task, build),
      variant: build.shape === false ? undefined : await variantOf(file, task),
      canVary: canProve,
      // The quick engine and the full one are built of the same model, which is proved once, for the first of them.
      beforeBuild: (signal) => (built ??= modelToBuild(file, task, { ...build, signal })),
    });
    const { plan, engine } = await firstPlan(request, ground.device, options.firstEngine);
    const quick = await GpuBackend.#open({ file, plan, engine }, ground, task, options, owned);
    if (engine === "full") return quick;
    quick.#better = async (signal) => {
      using own = new DisposableStack();
      own.use(ground.hold("a full engine in the background"));
      const full = { file, plan: await fullPlan(request, ground.device, signal), engine: "full" } as const;
      // Nobody begins with it any more.
      for (const path of [plan.path, choicePath(file, plan)]) discard(path);
      // As many slots on the same streams: nothing is measured beside frames.
      const same = { ...options, streams: quick.streams, inFlight: quick.inFlight };
      return await GpuBackend.#open({ ...full, former: quick }, ground, task, same, own);
    };
    return quick;
  }

  static async #open<ModelSpec, Params, Output>(
    { file, plan, engine: kind, former }: OpenedPlan,
    { device, kernels, waits, jpeg }: GpuGround,
    task: Task<ModelSpec, Params, Output>,
    options: Omit<MachineOptions, "accelerators"> & TensorRtOptions,
    owned: DisposableStack,
  ): Promise<GpuBackend<ModelSpec, Params, Output>> {
    const runtime = owned.use(await Runtime.create({ device }));
    const engine = owned.use(await runtime.deserialize(plan.bytes, { source: file.source }));
    assertReadableTensors(engine);
    if (former !== undefined) assertRoom(engine, device, former.streams === "parallel" ? former.inFlight : 1);
    const recognised = await task.recognise({ ...openedEngine(engine, file.source), former: former?.task });
    const part = await cudaPart<Params, Output>(recognised, task.action);
    const input = engine.tensor(recognised.input.name);
    const fixedBatch = input.shape[0]! > 0 ? input.shape[0]! : undefined;
    const maxBatch = fixedBatch ?? input.profiles[0]?.max[0] ?? 1;
    const loaded: LoadedModel = {
      device,
      kernels,
      engine,
      task: recognised,
      fixedBatch,
      rows: fixedBatch ?? Math.min(recognised.rows ?? USUAL_ROWS, maxBatch),
      zeroCopy: readsInPlace(device, options.zeroCopy ?? "auto"),
      jpeg,
      hasGraph: options.graph !== false,
      waits,
      reruns: { count: 0 },
    };
    const cuda = part.load(loaded, owned);
    const request = { options: { ...options, streams: options.streams ?? "auto" }, path: () => choicePath(file, plan) };
    const { streams: layout, inFlight } = await chooseStreams(loaded, cuda, request);
    const gpu: GpuModel<Params, Output> = {
      ...loaded,
      cuda,
      streams: owned.use(new GpuStreams(engine, device, layout, inFlight)),
      trace: options.trace === undefined ? undefined : owned.use(new GpuTrace(device, options.trace)),
    };
    return new GpuBackend(gpu, recognised, { maxBatch, inFlight, engine: kind, former }, owned.move());
  }

  /** How JPEG files were decoded so far; `undefined` where the CPU decodes them, and before the first. */
  get jpeg(): JpegCounts | undefined {
    return this.#gpu.jpeg?.counts;
  }

  /** Batches that were run again after the model, as there was too little room for what came of them. */
  get reruns(): number {
    return this.#gpu.reruns.count + (this.#former?.reruns ?? 0);
  }

  async improve(signal: AbortSignal): Promise<GpuBackend<ModelSpec, Params, Output> | undefined> {
    const better = this.#better;
    // It holds the model.
    this.#better = undefined;
    return better?.(signal);
  }

  createSlot(): GpuSlot<Params, Output> {
    return new GpuSlot(this.#gpu, this);
  }
}

/** A task's part for a GPU. @throws {UnavailableError} If it has none */
export async function cudaPart<Params, Output>(
  { task, device }: Pick<TaskModel<unknown, unknown, unknown>, "task" | "device">,
  action: string,
): Promise<CudaTask<Params, Output>> {
  if (device.cuda === undefined) throw noDevicePart(`the task "${task}"`, action);
  // Every task that has a part for this memory gives one of this type: see gpu-model.ts.
  return (await device.cuda()) as CudaTask<Params, Output>;
}

/** How an engine is built for a task. */
export function engineOptions(
  { bytes, source }: Pick<ModelFile, "bytes" | "source">,
  task: Pick<Task<unknown, unknown, unknown>, "engineShapes">,
  { precision, ioFormat }: Pick<EngineBuild, "precision" | "ioFormat">,
): BuildOptions {
  const shapes = task.engineShapes({ model: readOnnxModel(bytes), source });
  return { ...shapes, precision, ioFormat };
}

function modelInfo({ inputs, outputs, metadata }: Engine): ModelInfo {
  return { inputs, outputs, metadata };
}

/** An engine as tasks look at it. @param source for messages */
export function openedEngine(engine: Engine, source: string): OpenedModel {
  return {
    model: declaredModel(modelInfo(engine), source),
    source,
    described: () => describedEngine(engine),
    rangeOf: (input) => engine.tensor(input).profiles[0],
    outputsFor: (input, _, shape) => outputsFor(engine, input, shape),
    sample: (input, tensor) => sampleOf(engine, input, tensor),
  };
}

/** What an engine makes of an input of a shape: its outputs with the shapes they then have. Runs nothing. */
async function outputsFor(engine: Engine, input: string, inputShape: Shape): Promise<TensorInfo[]> {
  using context = await engine.createContext({ memory: "user-managed" });
  engine.runtime.device?.makeCurrent();
  context.tensor(input).setShape(inputShape);
  return engine.outputs.map(({ name, dtype }) => {
    const { shape } = context.tensor(name);
    if (isDynamic(shape)) throw outputError(name, shape);
    return { name, dtype, shape };
  });
}

/** What an engine says of an input, its only one: a run beside all others. @throws {ShapeError} If no profile allows its shape */
async function sampleOf(engine: Engine, input: string, tensor: Tensor): Promise<Map<string, Tensor>> {
  using owned = new DisposableStack();
  const context = owned.use(await engine.createContext());
  const device = engine.runtime.device!;
  device.makeCurrent();
  const stream = owned.use(Stream.create(device));
  const bind = (name: string, shape: Shape): DeviceBuffer => {
    const buffer = owned.use(engineBuffer(engine.tensor(name), shape, device));
    context.tensor(name).setAddress(buffer.pointer);
    return buffer;
  };
  context.tensor(input).setShape(tensor.shape);
  const bound = bind(input, tensor.shape);
  const packed = allocate(tensor.dtype, bound.length);
  packVectors(packed, tensor, bound.vector);
  copyToDevice(bound, packed, { stream });
  const outputs = engine.outputs.map(({ name }) => {
    const { shape } = context.tensor(name);
    if (isDynamic(shape)) throw outputError(name, shape);
    return [name, bind(name, shape)] as const;
  });
  context.enqueue(stream);
  return new Map(outputs.map(([name, buffer]) => [name, readTensor(buffer, stream)]));
}

/** @throws {UnavailableError} If it was asked for and the device cannot */
function readsInPlace(device: Device, zeroCopy: ZeroCopy): ZeroCopy {
  if (zeroCopy === false) return false;
  const canMap = device.attribute("canMapHostMemory") === 1;
  if (zeroCopy === "auto") return canMap && (device.attribute("isIntegrated") === 1 || "auto");
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

/** Why models cannot run on a GPU of this machine, in one line; `undefined` where they can. Opens the libraries. */
export function gpuUnavailable(): string | undefined {
  const cuda = cudaUnavailable();
  if (cuda !== undefined) return cuda;
  try {
    openTensorRt();
    return undefined;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return inShort(error);
  }
}

/** Models on TensorRT. */
export const gpuAccelerator: Accelerator = {
  unavailable: gpuUnavailable,
  open: (source, task, options) =>
    GpuBackend.load(source as string | Uint8Array | ModelFile, task, { ...options, ...options.accelerators.tensorrt }),
  read: readModelFile,
};

/**
 * Refuse an engine with a tensor that is no array in device memory, or one whose channels lie in a way that `vector` of
 * {@linkcode EngineTensor} does not tell. Engines built by this package have neither; plans from elsewhere may.
 *
 * @throws {ModelError} If it has such a tensor
 */
export function assertReadableTensors({ source, tensors }: Pick<Engine, "source" | "tensors">): void {
  const odd = tensors.filter(
    ({ format, shape, location }) => vectorOf(format, shape) === undefined || location !== "device",
  );
  if (odd.length === 0) return;
  const found = `its tensors must be arrays of a format known here in device memory, but ${odd.map(describe).join("; ")}`;
  const hint = "build the plan anew from the ONNX model, with linear inputs and outputs";
  throw new ModelError(message(`load ${JSON.stringify(source)}`, found, hint), source);
}

function describe({ name, location, formatText }: EngineTensor): string {
  const what = location === "device" ? `has the format ${JSON.stringify(formatText)}` : "lies on the host";
  return `${JSON.stringify(name)} ${what}`;
}

/** ONNX Runtime's view of a model; `undefined` where it has none, as of TensorRT's own operators. */
async function openSession({ bytes, path, source }: ModelFile): Promise<Session | undefined> {
  const options = { optimization: "disable" } as const;
  try {
    return path === undefined ? await Session.fromBytes(bytes, source, options) : await Session.load(path, options);
  } catch (error) {
    if (!(error instanceof LibraryLoadError || error instanceof ModelError)) throw error;
    logger.debug(`What ${source} is is looked at after the build: ${inShort(error)}`);
    return undefined;
  }
}

/**
 * The model that an engine is built of: cut at the maps of its head, where its task knows it; `undefined` for the one that was given.
 * A task that checks models looks at it first, so that minutes are not spent on one that is not its own.
 */
export async function modelToBuild(
  file: ModelFile,
  task: Pick<Task<unknown, unknown, unknown>, "check" | "forShaping">,
  { shape, signal }: Pick<EngineBuild, "shape" | "signal">,
): Promise<Uint8Array | undefined> {
  if (task.check === undefined && (task.forShaping === undefined || shape === false)) return undefined;
  await using session = await openSession(file);
  const opened = session && openedSession(session, file.source, signal);
  if (opened !== undefined) await task.check?.(opened);
  if (shape === false) return undefined;
  const whyNot = (plan: MapPlan): string | undefined =>
    isHostPlan(plan) ? "the GPU does not read its maps" : undefined;
  return shapedBytes(file, opened ?? declaredOnly(file), task, { whyNot, joinsSiblings: true, signal });
}

/**
 * Inputs, outputs and metadata of an engine. Where an output's axes are open, a context works its shape out for the
 * typical shapes of the first profile, without running. What depends on the data stays open.
 */
async function describedEngine(engine: Engine): Promise<ModelInfo> {
  const { inputs, outputs, source } = engine;
  const model = declaredModel(modelInfo(engine), source);
  const image = needsShapes(model) ? readTraits(model)?.image : undefined;
  if (image === undefined) return model;
  const opt = engine.tensor(image.name).profiles[0]?.opt ?? [];
  const [, second = 0, third = 0, fourth = 0] = opt;
  const size = image.layout === "NCHW" ? ([fourth, third] as const) : ([third, second] as const);
  return withFoundShapes(model, source, size, `at ${size.join("x")}`, async () => {
    using context = await engine.createContext({ memory: "user-managed" });
    engine.runtime.device?.makeCurrent();
    for (const { name, shape, profiles } of inputs) {
      if (isDynamic(shape)) context.tensor(name).setShape(profiles[0]?.opt ?? shape);
    }
    return new Map(outputs.map(({ name }) => [name, context.tensor(name).shape]));
  });
}
