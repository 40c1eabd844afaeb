/**
 * @module LoadedModel: a model of any task on its backends: what the façades of all tasks have in common. Models that are
 * dropped without `close` are reported, and freed once the collector has found them.
 */

import { type OpenOptions, openBackends } from "../accelerators/accelerator.ts";
import { ClosedError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { allEnded } from "../core/resource.ts";
import type { Tensor } from "../core/tensor.ts";
import { decodeGate } from "../image/decode-limits.ts";
import { imageOf } from "../image/image.ts";
import { encodeImage } from "../image/image-file.ts";
import type { ImageSource } from "../image/source.ts";
import type { ModelInfo } from "../model/model-info.ts";
import { type Backend, type BackendInfo, hostImages, type Size } from "../runtime/backend.ts";
import { MicroBatcher, type QueuedFrame, type ReadResult } from "../runtime/batcher.ts";
import { Pipeline, warmUp } from "../runtime/pipeline.ts";
import type { Task } from "../runtime/task.ts";
import {
  type CallOptions,
  type CallParser,
  parseWarmUpOptions,
  type StreamRules,
  type WarmUpOptions,
} from "./call-options.ts";
import type { LoadConfig } from "./machine-options.ts";
import { type ModelSource, modelSource } from "./model-source.ts";
import { inOrder, isDeviceFrameSource, ofVideo, type StreamSummary } from "./stream.ts";

/** What becomes of a model: the pipeline that owns it, and the line of images in front of that. */
interface Remains {
  readonly label: string;
  /** Where the caller loaded it. */
  readonly loadedAt: string | undefined;
  readonly pipeline: { close(): Promise<void> };
  readonly batcher: { flush(): void };
}

/**
 * Of the process rather than of this file, which `bun --hot` evaluates anew: what was registered before must not be forgotten.
 *
 * It holds the pipelines with all they own, so that no native part is collected while another works. They end as by `close`, in
 * a turn of the event loop, once their frames have ended.
 */
const DROPPED = Symbol.for("bun-tensorrt.dropped");
const registries = globalThis as { [DROPPED]?: FinalizationRegistry<() => void> };
/** A change under `bun --hot` has dropped the models of the former evaluation. */
const isEvaluatedAgain = registries[DROPPED] !== undefined;
registries[DROPPED] ??= new FinalizationRegistry((end) => end());
const dropped = registries[DROPPED];

/** Free a model when its façade is collected. @param remains must not hold the façade */
function watchDropped(facade: object, { label, loadedAt, pipeline, batcher }: Remains): void {
  const end = (): void => {
    const place = loadedAt === undefined ? "" : `: it was loaded at ${loadedAt}`;
    logger.warn(`Closing ${label}, dropped without close()${place}\nHint: bind it by \`await using\`, or close it`);
    batcher.flush();
    pipeline.close().catch((error: Error) => logger.error(`Cannot close ${label}: ${error.message}`));
  };
  dropped.register(facade, end, facade);
}

/** Before a model is loaded: the collector sees no native memory, and would let those of many reloads lie. */
function collectReloaded(): void {
  if (isEvaluatedAgain) Bun.gc(true);
}

/** The line of whoever called a façade's `load`, of the stack in that call; `undefined` where the stack does not tell. */
function callerOfLoad(stack: string = ""): string | undefined {
  const lines = stack.split("\n");
  const at = lines.findIndex((line) => /^\s*at (?:async )?(?:\w+\.)?load\b/.test(line));
  return at < 0 ? undefined : lines[at + 1]?.trim().replace(/^at (?:async )?/, "");
}

/** A model that was loaded for a task, before it has its façade. */
export interface Opened<Spec, Params, Output, Config> {
  /** At least one; several have the same model. */
  readonly backends: readonly Backend<Spec, Params, Output>[];
  readonly config: Config;
  /** For messages. */
  readonly name: string;
  /** Where the caller loaded it: a line of a stack. */
  readonly loadedAt?: string | undefined;
}

/**
 * Load a model for a task on each device that was asked for.
 *
 * @param taskOf what it is loaded for, made of what the caller's word stands for
 * @throws as `load` of a façade
 */
export async function openModel<
  Spec,
  Params,
  Output,
  Config extends OpenOptions & ({ readonly device: number } | { readonly devices: readonly number[] }),
>(
  model: ModelSource,
  config: Config,
  taskOf: (source: string | Uint8Array) => Task<Spec, Params, Output> | Promise<Task<Spec, Params, Output>>,
): Promise<Opened<Spec, Params, Output, Config>> {
  const loadedAt = callerOfLoad(new Error().stack);
  collectReloaded();
  const { source, name } = await modelSource(model, { signal: config.build.signal });
  const devices = "devices" in config ? config.devices : [config.device];
  return { backends: await openBackends(source, await taskOf(source), config, devices), config, name, loadedAt };
}

/** How a model's calls are run. */
export interface LoadedModelOptions<Params, Output, Result> {
  /** `Detector`, for messages. */
  readonly facade: string;
  /** Of a call without options. */
  readonly params: Params;
  /** Checks what calls are told. */
  readonly calls: CallParser;
  /** What a call is run with. @param given its options, checked */
  readonly paramsOf: (given: never) => Params;
  /** Copies a result out of its slot. */
  readonly read: ReadResult<Output, Result>;
}

/** How a model's images are run. `inFlight`: on each device; `undefined` for as many as it works best with. */
type RunConfig = Pick<LoadConfig, "inFlight" | "batch" | "batchWaitMs" | "maxPixels">;

/** The façade of a model that was loaded; its backends are closed if it cannot be made. */
export function owned<Facade, Loaded extends { readonly backends: readonly { close(): void }[] }>(
  Facade: new (opened: Loaded) => Facade,
  opened: Loaded,
): Facade {
  using owner = new DisposableStack();
  for (const backend of opened.backends) owner.defer(() => backend.close());
  const facade = new Facade(opened);
  owner.move();
  return facade;
}

/** Log what is ignored of the batching that was asked for, or reduced for this model. */
function tellBatchMisfits(
  { batch, batchWaitMs }: RunConfig,
  backends: readonly Pick<BackendInfo, "maxBatch">[],
  name: string,
): void {
  if (batchWaitMs > 0 && batch === 1) logger.warn("Ignoring `batchWaitMs`: it needs a `batch` above 1");
  const most = Math.min(...backends.map(({ maxBatch }) => maxBatch));
  if (batch > most) logger.warn(`Reduced \`batch\` from ${batch} to ${most}, the most the model ${name} accepts`);
}

/** Log a size that is ignored for this model. @param option its name */
export function tellFixedSize(
  wanted: Size | undefined,
  fixed: Size | undefined,
  name: string,
  option: string = "size",
): void {
  if (wanted === undefined || fixed === undefined || wanted.join() === fixed.join()) return;
  logger.warn(`Ignoring \`${option}\`: the input of the model ${name} is fixed at ${fixed.join("x")}`);
}

/** A model that is loaded. It owns the backends; calls, streams, warm-up and the end are the same for every task. */
export abstract class LoadedModel<ModelSpec, Params, Output, Result extends object> implements AsyncDisposable {
  readonly #pipeline: Pipeline<ModelSpec, Params, Output>;
  readonly #batcher: MicroBatcher<Params, Output, Result>;
  readonly #options: LoadedModelOptions<Params, Output, Result>;
  /** Calls that prepare their images. */
  readonly #preparing = new Set<Promise<unknown>>();
  readonly #label: string;
  readonly #maxPixels: number;
  #closing = false;

  /** Owns the backends once this has gone well. */
  protected constructor(
    { backends, config, name, loadedAt }: Opened<ModelSpec, Params, Output, RunConfig>,
    options: LoadedModelOptions<Params, Output, Result>,
  ) {
    const { inFlight, batchWaitMs, maxPixels } = config;
    tellBatchMisfits(config, backends, name);
    // They are handed out: a caller that sorts them would rename what every later image shows.
    for (const { task } of backends) Object.freeze((task.spec as { readonly labels?: readonly string[] }).labels);
    const batch = Math.min(config.batch, backends[0]!.task.mostImages, ...backends.map(({ maxBatch }) => maxBatch));
    this.#pipeline = new Pipeline(backends, { inFlight, batch });
    this.#batcher = new MicroBatcher(this.#pipeline, { wait: batchWaitMs, read: options.read });
    this.#options = options;
    this.#label = `${options.facade} ${name}`;
    this.#maxPixels = maxPixels;
    watchDropped(this, { label: this.#label, loadedAt, pipeline: this.#pipeline, batcher: this.#batcher });
  }

  /** @internal */
  protected get pipeline(): Pipeline<ModelSpec, Params, Output> {
    return this.#pipeline;
  }

  /** What the model was recognised as, why, and what follows from it: its head or its images, its input. */
  get recognition(): ModelSpec {
    return this.#pipeline.backend.task.spec;
  }

  /** Inputs, outputs and metadata of the model. */
  get model(): ModelInfo {
    return this.#pipeline.backend.model;
  }

  /** The machine that runs it; the first device of several. */
  get backend(): BackendInfo {
    return this.#pipeline.backend;
  }

  /** Every device that runs it: one, unless several were asked for. */
  get backends(): readonly BackendInfo[] {
    return this.#pipeline.backends;
  }

  /**
   * For how long every slot has been taken without a run ending, or every thread that decodes by an image that takes longer
   * than allowed; in milliseconds, 0 while there is a free one. A model that is busy comes to some run's length; one whose
   * runs hang goes on counting.
   */
  get stalledMs(): number {
    return Math.max(this.#pipeline.stalledMs, decodeGate.stalledMs);
  }

  /** Images of a stream that are on their way at once: as many as the slots take, and with a `batch` above 1 one batch more. */
  get streamAhead(): number {
    const { inFlight, batch } = this.#pipeline;
    return (inFlight + (batch > 1 ? 1 : 0)) * batch;
  }

  /** @internal @throws {ClosedError} If it has been closed */
  protected assertOpen(action: string = this.#options.calls.action): void {
    if (this.#closing) throw new ClosedError(action, this.#label);
  }

  /** @internal What a call is run with. @throws {OptionError} If an option is unknown or out of range */
  protected paramsOf(options: object | undefined): Params {
    this.assertOpen();
    const { params, calls, paramsOf } = this.#options;
    return options === undefined ? params : paramsOf(calls.call(options) as never);
  }

  /**
   * @internal Put an image in line.
   *
   * @throws {ClosedError} If the model has been closed
   * @throws the signal's reason, if it has been aborted already
   */
  protected submit(source: ImageSource, params: Params, signal: AbortSignal | undefined): QueuedFrame<Result> {
    this.assertOpen();
    return this.#batcher.submit(source, params, signal);
  }

  /** @internal Run one image. */
  protected one(source: ImageSource, options: CallOptions | undefined): Promise<Result> {
    return this.submit(source, this.paramsOf(options), options?.signal).promise;
  }

  /**
   * @internal Run one image by itself, stage by stage.
   *
   * @returns what came of it, and copies of the model's outputs, by name
   * @throws {ImageError} If it cannot be read
   */
  async examine(
    source: ImageSource,
    options?: object,
  ): Promise<{ readonly result: Result; readonly outputs: ReadonlyMap<string, Tensor> }> {
    const params = this.paramsOf(options);
    const startedAt = performance.now();
    return this.#pipeline.withSlot(async (slot) => {
      const images = await hostImages(slot, [source]);
      await slot.preprocess(images, this.#pipeline.task.sizeFor(images, params));
      await slot.infer();
      const read = await slot.readOutputs();
      const outputs = new Map([...read].map(([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }]));
      const [output] = await slot.postprocess(params);
      const { width, height } = images[0]!;
      const frame = { output: output!, width, height, timings: { ...slot.timings }, damage: undefined };
      return { result: this.#options.read(frame, startedAt, source), outputs: outputs as Map<string, Tensor> };
    });
  }

  /** @internal Run several. @returns one result an image; rejects with the first error once all have ended */
  protected many(sources: readonly ImageSource[], options: CallOptions | undefined): Promise<Result[]> {
    const params = this.paramsOf(options);
    return allEnded(sources.map((source) => this.submit(source, params, options?.signal).promise));
  }

  /**
   * @internal A call that prepares its images before it puts them in line: `close` waits for it as for one that runs.
   *
   * @throws {ClosedError} If the model has been closed
   */
  protected async admit<T>(
    call: (submitAll: (sources: readonly ImageSource[]) => Promise<Result[]>) => Promise<T>,
    options: CallOptions | undefined,
  ): Promise<T> {
    const params = this.paramsOf(options);
    const running = call((sources) =>
      allEnded(sources.map((source) => this.#batcher.submit(source, params, options?.signal).promise)),
    );
    this.#preparing.add(running);
    try {
      return await running;
    } finally {
      this.#preparing.delete(running);
    }
  }

  /** @internal Run a sequence, results in order. With batches above 1, one is read ahead where nothing is dropped. */
  protected sequence(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: StreamRules,
  ): AsyncGenerator<Result & { readonly index: number }, StreamSummary, undefined> {
    return this.fromVideo(sources, (images) => this.#sequence(images, options));
  }

  /** @internal Have the frames of a video decoded where the model runs. @param open runs them, or other images */
  protected fromVideo<T extends { readonly index: number }>(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    open: (sources: Iterable<ImageSource> | AsyncIterable<ImageSource>) => AsyncGenerator<T, StreamSummary, undefined>,
  ): AsyncGenerator<T, StreamSummary, undefined> {
    if (!isDeviceFrameSource(sources)) return open(sources);
    sources.offerDevices(this.backends.map(({ device }) => device));
    return ofVideo(sources, open);
  }

  #sequence(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: StreamRules,
  ): AsyncGenerator<Result & { readonly index: number }, StreamSummary, undefined> {
    this.assertOpen();
    const { calls, paramsOf } = this.#options;
    const { call, ...rules } = calls.stream(options);
    const params = paramsOf(call as never);
    const { inFlight, batch } = this.#pipeline;
    const limit = rules.policy === "all" ? this.streamAhead : inFlight * batch;
    return inOrder(sources, { ...rules, limit, submit: (source) => this.submit(source, params, undefined) });
  }

  /**
   * Run black images through the model in all ways that frames will go, so that the first real ones take no longer than
   * the others: memory is taken, CUDA graphs are captured, JPEG decoders are set up. The commands `serve` and
   * `worker`, and `Worker.create`, do it before they are ready.
   *
   * @param options the size of the images to come
   * @throws {OptionError} If an option is unknown or out of range, or the size over `maxPixels`
   * @throws {ClosedError} If the model has been closed
   * @throws {NativeError} If the model itself, or its device, fails
   */
  async warmUp(options: WarmUpOptions = {}): Promise<void> {
    const size = parseWarmUpOptions(options, this.#maxPixels);
    this.assertOpen("warm up");
    const started = performance.now();
    const isOfFour = this.#pipeline.task.input.channels === 4;
    const [format, bytes] = isOfFour ? (["RGBA", 4] as const) : (["RGB", 3] as const);
    const black = imageOf(new Uint8Array(size.width * size.height * bytes), { ...size, format });
    // JPEG has no fourth channel.
    const file = await encodeImage(black, isOfFour ? { format: "png", alpha: "keep" } : {});
    await warmUp(this.#pipeline, [black, file], this.#options.params);
    const ms = Math.round(performance.now() - started);
    logger.debug(`Warmed up ${this.#label}, ${this.#pipeline.inFlight} in flight, in ${ms} ms`);
  }

  /**
   * Refuse new calls, wait for those that are running, then free everything. Calling it again waits as well. A model that is
   * dropped without it is freed when the garbage collector finds it, which may be late, as it does not see native memory; the
   * log says where it was loaded.
   *
   * With `force`, those that are running or wait fail, and the CPU ends their runs, also of a model that never ends; a GPU
   * finishes what it has begun.
   */
  async close({ force = false }: { readonly force?: boolean | undefined } = {}): Promise<void> {
    this.#closing = true;
    dropped.unregister(this);
    this.#batcher.flush();
    if (!force && this.#preparing.size > 0) await Promise.allSettled(this.#preparing);
    await this.#pipeline.close(force);
  }

  /** Closes it at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
