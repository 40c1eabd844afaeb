/** @module CpuBackend: a model on ONNX Runtime, and its slots. The reference for every other machine. */

import { Resource } from "../../core/resource.ts";
import { createTensor, type Tensor } from "../../core/tensor.ts";
import { openOnnxRuntime } from "../../ffi/onnxruntime.ts";
import { isSingleImage } from "../../heads/image-input.ts";
import type { Region } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import { type DecodedImage, ImageDecoder } from "../../image/image-decoder.ts";
import type { InputTensor, Preprocessor } from "../../image/preprocessor.ts";
import type { SourceBytes } from "../../image/source.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import { externalDataFiles } from "../../onnx/model.ts";
import type { Inference } from "../../onnxruntime/inference.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { SessionOptions } from "../../onnxruntime/session-options.ts";
import {
  type Accelerator,
  type Backend,
  createStageTimings,
  type DecodeOutcome,
  type MachineOptions,
  type Size,
  type Slot,
  type StageTimings,
} from "../../runtime/backend.ts";
import { BindingCache, decodeAll, sizeTensor } from "../../runtime/slots.ts";
import {
  type HostTask,
  type HostTensors,
  type HostWork,
  inputShape,
  type Task,
  type TaskModel,
} from "../../runtime/task.ts";
import type { OnnxRuntimeOptions } from "../accelerator-options.ts";
import { openedSession, shapedBytes } from "../opened-model.ts";

/** A model loaded by ONNX Runtime on the CPU. */
export class CpuBackend<ModelSpec, Params, Output> extends Resource implements Backend<ModelSpec, Params, Output> {
  readonly kind = "cpu";
  readonly description: string;
  readonly maxBatch: number;
  readonly inFlight: number;
  readonly #model: CpuModel<ModelSpec, Params, Output>;

  private constructor(model: CpuModel<ModelSpec, Params, Output>, inFlight: number) {
    super(`CpuBackend of ${model.session.label}`);
    const { intraOpThreads: threads, providers } = model.session.config;
    const machine = [...providers.map(({ name }) => name), "CPU"].join(", ");
    this.#model = model;
    this.inFlight = inFlight;
    this.maxBatch = model.fixedBatch ?? Number.POSITIVE_INFINITY;
    this.description = `ONNX Runtime ${openOnnxRuntime().version}, ${machine}, ${threads} thread${threads === 1 ? "" : "s"}`;
  }

  /**
   * Load a model, and let a task recognise it.
   *
   * @throws {ModelError} If it is no model, or none of the task's
   * @throws {LibraryLoadError} If ONNX Runtime is nowhere
   */
  static async load<ModelSpec, Params, Output>(
    source: string | Uint8Array,
    task: Task<ModelSpec, Params, Output>,
    options: Pick<MachineOptions, "inFlight" | "build"> & OnnxRuntimeOptions,
  ): Promise<CpuBackend<ModelSpec, Params, Output>> {
    const { threads, providers } = options;
    const chosen = {
      intraOpThreads: threads,
      providers,
    };
    const exported =
      typeof source === "string"
        ? await Session.load(source, chosen)
        : await Session.fromBytes(source, "model from bytes", chosen);
    const { build } = options;
    const session =
      build.shape === true
        ? await shapedSession(exported, source, task, { ...chosen, signal: build.signal })
        : exported;
    try {
      const recognised = await task.recognise(openedSession(session, nameOf(source), options.build.signal));
      const { shape = [] } = session.inputs.find((info) => info.name === recognised.input.name) ?? {};
      const rows = isSingleImage(shape) ? 1 : (shape[0] ?? -1);
      const fixedBatch = rows > 0 ? rows : undefined;
      const model: CpuModel<ModelSpec, Params, Output> = {
        session,
        task: recognised,
        host: await recognised.host(),
        fixedBatch,
        rows: fixedBatch ?? recognised.rows ?? 1,
      };
      return new CpuBackend(model, options.inFlight ?? 1);
    } catch (error) {
      session.close();
      throw error;
    }
  }

  get model(): ModelInfo {
    return this.#model.session.model;
  }

  get task(): TaskModel<ModelSpec, Params, Output> {
    return this.#model.task;
  }

  createSlot(): CpuSlot<ModelSpec, Params, Output> {
    return new CpuSlot(this.#model, this);
  }

  protected release(): void {
    this.#model.session.close();
  }
}

/** ONNX Runtime copies the parts of what was joined, which costs more than it saves: of YOLOX a twelfth of a run. */
const RUNNER = { whyNot: () => undefined, joinsSiblings: false };

/**
 * A session of the model cut at the maps of its head, in the place of the one that is given; or that one. A cut takes some tenths of
 * a second and saves a sixteenth of each run: who runs a model for long asks for it.
 */
async function shapedSession(
  exported: Session,
  source: string | Uint8Array,
  task: Pick<Task<unknown, unknown, unknown>, "forShaping">,
  { signal, ...options }: SessionOptions & { readonly signal: AbortSignal | undefined },
): Promise<Session> {
  using owned = new DisposableStack();
  owned.use(exported);
  const bytes = typeof source === "string" ? await Bun.file(source).bytes() : source;
  const name = nameOf(source);
  // Weights in other files are found beside a path only.
  const model =
    externalDataFiles(bytes).length > 0
      ? undefined
      : await shapedBytes({ bytes, source: name }, openedSession(exported, name, signal), task, { ...RUNNER, signal });
  if (model !== undefined) return Session.fromBytes(model, name, options);
  owned.move();
  return exported;
}

function nameOf(source: string | Uint8Array): string {
  return typeof source === "string" ? JSON.stringify(source) : "the model from bytes";
}

/** Models on ONNX Runtime. */
export const cpuAccelerator: Accelerator = {
  unavailable: () => undefined,
  open: (source, task, options) =>
    CpuBackend.load(source as string | Uint8Array, task, { ...options, ...options.accelerators.onnxruntime }),
};

/** What all slots of a backend share. */
interface CpuModel<ModelSpec, Params, Output> {
  readonly session: Session;
  readonly task: TaskModel<ModelSpec, Params, Output>;
  readonly host: HostTask<Params, Output>;
  /** Rows of every run where the model fixes them. */
  readonly fixedBatch: number | undefined;
  /** Most rows of a run. */
  readonly rows: number;
}

/** Buffers of one batch in flight on the CPU: decoded pixels, input tensors, and what the task keeps. */
class CpuSlot<ModelSpec, Params, Output> extends Resource implements Slot<Params, Output> {
  readonly timings: StageTimings = createStageTimings();
  readonly #model: CpuModel<ModelSpec, Params, Output>;
  readonly #work: HostWork<Params, Output>;
  readonly #decoders: ImageDecoder[] = [];
  readonly #bindings = new BindingCache<InputBinding>();
  /** Where the model ran last, or runs. */
  #running: InputBinding | undefined;
  /** Rows of the staged batch. */
  #staged = 0;

  constructor(model: CpuModel<ModelSpec, Params, Output>, backend: Resource) {
    super("CpuSlot", backend);
    this.#model = model;
    this.#work = model.host.createWork();
  }

  get placements(): readonly Region[] {
    return this.#work.placements;
  }

  decode(files: readonly SourceBytes[]): Promise<DecodeOutcome<DecodedImage>[]> {
    return this.decodeToHost(files);
  }

  decodeToHost(files: readonly SourceBytes[]): Promise<DecodeOutcome<DecodedImage>[]> {
    const { decodeOptions } = this.#model.task;
    // Each image has a decoder of its own, and one takes one core.
    const decode = ({ bytes, name }: SourceBytes, index: number): Promise<DecodedImage> =>
      this.#decoderFor(index).decode(bytes, name, decodeOptions);
    return decodeAll(files, decode, this.timings);
  }

  /** What it needs `run` makes at once. */
  prepare(): undefined {
    return undefined;
  }

  async run(images: readonly Image[], size: Size, params: Params): Promise<readonly Output[]> {
    const { timings } = this;
    timings.preprocess = 0;
    timings.infer = 0;
    timings.postprocess = 0;
    let started = performance.now();
    const regions = this.#work.begin(images, size, params);
    const rows = Math.min(this.#model.rows, this.#work.rows ?? regions);
    for (let first = 0; first < regions; first += rows) {
      const binding = this.#fill(first, Math.min(rows, regions - first), size);
      const filled = performance.now();
      timings.preprocess += filled - started;
      this.#running = binding;
      await binding.run();
      const inferred = performance.now();
      timings.infer += inferred - filled;
      this.#finish(binding, first, Math.min(rows, regions - first), params);
      started = performance.now();
      timings.postprocess += started - inferred;
    }
    return this.#work.end();
  }

  preprocess(images: readonly Image[], size: Size): Promise<void> {
    const started = performance.now();
    this.#staged = this.#work.begin(images, size);
    this.#fill(0, Math.min(this.#staged, this.#model.rows), size);
    this.timings.preprocess = performance.now() - started;
    return Promise.resolve();
  }

  async infer(): Promise<void> {
    const started = performance.now();
    const binding = this.#bindings.current("infer");
    this.#running = binding;
    await binding.run();
    this.timings.infer = performance.now() - started;
  }

  postprocess(params: Params): Promise<readonly Output[]> {
    const started = performance.now();
    const binding = this.#bindings.current("post-process");
    this.#finish(binding, 0, Math.min(this.#staged, this.#model.rows), params);
    this.timings.postprocess = performance.now() - started;
    return Promise.resolve(this.#work.end());
  }

  interrupt(): void {
    if (this.#running?.closed === false) this.#running.interrupt();
  }

  readInput(): Promise<Tensor> {
    return Promise.resolve(this.#bindings.current("read the input").lend());
  }

  readOutputs(): Promise<ReadonlyMap<string, Tensor>> {
    return Promise.resolve(this.#bindings.current("read the outputs").outputs);
  }

  /** Rows that a fixed batch has beyond the regions keep what they held: nothing is read of them. */
  #fill(first: number, count: number, size: Size): InputBinding {
    const { session, task, fixedBatch } = this.#model;
    const batch = fixedBatch ?? count;
    const binding =
      this.#bindings.find(batch, size) ?? this.#bindings.add(new InputBinding(session, task, batch, size));
    for (let row = 0; row < count; row++) this.#work.fill(binding, first + row, row);
    return binding;
  }

  #finish(binding: InputBinding, first: number, count: number, params: Params): void {
    for (let row = 0; row < count; row++) this.#work.finish(binding, first + row, row, params);
  }

  #decoderFor(index: number): ImageDecoder {
    const known = this.#decoders[index];
    if (known !== undefined) return known;
    const decoder = ImageDecoder.create();
    this.#decoders[index] = decoder;
    return decoder;
  }

  protected release(): void {
    for (const decoder of this.#decoders) decoder?.close();
    this.#bindings.close();
  }
}

/** The tensors of one input shape, filled anew for each batch. Owned by a slot. */
class InputBinding extends Resource implements HostTensors {
  readonly batch: number;
  readonly size: Size;
  /** Images: [batch, channels, height, width] or [batch, height, width, channels]. */
  readonly #images: InputTensor;
  readonly #inference: Inference;
  /** Where the last image of each row lies; holes where there is none, or others may have written. */
  readonly #padded: (Region | undefined)[];
  /** True once somebody else has had the images. */
  #isLent = false;
  #outputs: ReadonlyMap<string, Tensor> = new Map();

  /**
   * @throws {ShapeError} If the model declares another shape
   * @throws {ArgumentError} If the tensors are too large for the memory
   */
  constructor(
    session: Session,
    { input, sizeInputs, outputs }: Pick<TaskModel<unknown, unknown, unknown>, "input" | "sizeInputs" | "outputs">,
    batch: number,
    size: Size,
  ) {
    const [width, height] = size;
    // What memory does not suffice for throws here, where there is nothing to close yet.
    const images = createTensor(input.dtype, inputShape(input, batch, size));
    const { shape = [] } = session.inputs.find((info) => info.name === input.name) ?? {};
    // The same elements, of a model that takes one image without a batch.
    const given = isSingleImage(shape) ? { ...images, shape: images.shape.slice(1) } : images;
    const inputs: Record<string, Tensor> = { [input.name]: given };
    for (const sizeInput of sizeInputs) {
      const declared = session.inputs.find((info) => info.name === sizeInput.name)?.shape ?? [];
      inputs[sizeInput.name] = sizeTensor(sizeInput, declared, batch, size);
    }
    super(`InputBinding ${batch}x${width}x${height}`, session);
    this.batch = batch;
    this.size = size;
    this.#images = images;
    this.#padded = new Array(batch).fill(undefined);
    try {
      this.#inference = session.prepare(inputs, { outputs });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  fill(preprocessor: Preprocessor, image: Image, index: number, placement: Region): void {
    const padded = this.#isLent ? undefined : this.#padded[index];
    this.#padded[index] = undefined;
    preprocessor.run(image, this.#images, index, placement, padded);
    this.#padded[index] = placement;
  }

  lend(): InputTensor {
    this.#isLent = true;
    return this.#images;
  }

  get outputs(): ReadonlyMap<string, Tensor> {
    return this.#outputs;
  }

  /** Run the model on a worker thread. */
  async run(): Promise<void> {
    this.#outputs = await this.#inference.run();
  }

  /** End the run in flight, if there is one. */
  interrupt(): void {
    this.#inference.interrupt();
  }

  protected release(): void {
    this.#inference?.close();
  }
}
