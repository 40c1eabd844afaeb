/** @module LoadedModel: a model of any task on its backends: what the façades of all tasks have in common. */

import { ClosedError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { allEnded } from "../core/settle.ts";
import { decodeGate } from "../image/decode-gate.ts";
import { encodeImage } from "../image/encode.ts";
import { imageOf } from "../image/image.ts";
import type { ImageSource } from "../image/source.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { Backend } from "../runtime/backend.ts";
import { MicroBatcher, type QueuedFrame, type ReadResult } from "../runtime/batcher.ts";
import { Pipeline, warmUp } from "../runtime/pipeline.ts";
import { type InOrderOptions, inOrder, type StreamSummary } from "./stream.ts";
import { parseWarmUpOptions, type WarmUpOptions } from "./warm-up-options.ts";

/** The machine a model runs on. */
export type BackendInfo = Pick<
  Backend<unknown, never, unknown>,
  "kind" | "description" | "maxBatch" | "inFlight" | "jpeg" | "reruns"
>;

/** How a model's calls are run. */
export interface LoadedModelOptions<Params, Output, Result> {
  /** `Detector "yolo11n"`, for messages. */
  readonly label: string;
  /** Batches in flight on each device; `undefined` for as many as it works best with. */
  readonly inFlight: number | undefined;
  /** Most images of a run; at most what each backend takes. */
  readonly batch: number;
  /** Most milliseconds an image waits for others. */
  readonly batchWaitMs: number;
  /** Of an image. */
  readonly maxPixels: number;
  /** Of a call without options. */
  readonly params: Params;
  /** Copies a result out of its slot. */
  readonly read: ReadResult<Output, Result>;
}

/** Make what owns some backends; they are closed if it cannot be made. */
export function owning<Owner>(backends: readonly { close(): void }[], make: () => Owner): Owner {
  using opened = new DisposableStack();
  for (const backend of backends) opened.defer(() => backend.close());
  const owner = make();
  opened.move();
  return owner;
}

/** Log what is ignored of the batching that was asked for, or reduced for this model. */
export function tellBatchMisfits(
  { batch, batchWaitMs }: Pick<LoadedModelOptions<unknown, unknown, unknown>, "batch" | "batchWaitMs">,
  backends: readonly Pick<BackendInfo, "maxBatch">[],
  name: string,
): void {
  if (batchWaitMs > 0 && batch === 1) logger.warn("Ignoring `batchWaitMs`: it needs a `batch` above 1");
  const most = Math.min(...backends.map(({ maxBatch }) => maxBatch));
  if (batch > most) logger.warn(`Reduced \`batch\` from ${batch} to ${most}, the most the model ${name} accepts`);
}

/** A model that is loaded. It owns the backends; calls, streams, warm-up and the end are the same for every task. */
export abstract class LoadedModel<ModelSpec, Params, Output, Result extends object> implements AsyncDisposable {
  readonly #pipeline: Pipeline<ModelSpec, Params, Output>;
  readonly #batcher: MicroBatcher<Params, Output, Result>;
  readonly #options: LoadedModelOptions<Params, Output, Result>;
  /** Calls that prepare their images. */
  readonly #preparing = new Set<Promise<unknown>>();
  #closing = false;

  /** Owns the backends once this has gone well. @param backends at least one; several must have the same model */
  protected constructor(
    backends: readonly Backend<ModelSpec, Params, Output>[],
    options: LoadedModelOptions<Params, Output, Result>,
  ) {
    const { inFlight, batchWaitMs, read } = options;
    const batch = Math.min(options.batch, backends[0]!.task.mostImages, ...backends.map(({ maxBatch }) => maxBatch));
    this.#pipeline = new Pipeline(backends, { inFlight, batch });
    this.#batcher = new MicroBatcher(this.#pipeline, { wait: batchWaitMs, read });
    this.#options = options;
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

  /** @internal @throws {ClosedError} If it has been closed @param action for the message */
  protected assertOpen(action: string): void {
    if (this.#closing) throw new ClosedError(action, this.#options.label);
  }

  /**
   * @internal Put an image in line.
   *
   * @param action for the message of one that comes too late
   * @throws {ClosedError} If the model has been closed
   * @throws the signal's reason, if it has been aborted already
   */
  protected submit(source: ImageSource, params: Params, action: string, signal?: AbortSignal): QueuedFrame<Result> {
    this.assertOpen(action);
    return this.#batcher.submit(source, params, signal);
  }

  /** @internal Put several in line. @returns one result an image; rejects with the first error once all have ended */
  protected submitAll(
    sources: readonly ImageSource[],
    params: Params,
    action: string,
    signal?: AbortSignal,
  ): Promise<Result[]> {
    return allEnded(sources.map((source) => this.submit(source, params, action, signal).promise));
  }

  /**
   * @internal A call that prepares its images before it puts them in line: `close` waits for it as for one that runs.
   *
   * @throws {ClosedError} If the model has been closed
   */
  protected async admit<T>(
    action: string,
    call: (submitAll: (sources: readonly ImageSource[]) => Promise<Result[]>) => Promise<T>,
    params: Params,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    this.assertOpen(action);
    const running = call((sources) =>
      allEnded(sources.map((source) => this.#batcher.submit(source, params, signal).promise)),
    );
    this.#preparing.add(running);
    try {
      return await running;
    } finally {
      this.#preparing.delete(running);
    }
  }

  /** @internal Run a sequence, results in order. With batches above 1, one is read ahead where nothing is dropped. */
  protected inOrder(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: Omit<InOrderOptions<Result>, "limit">,
  ): AsyncGenerator<Result & { readonly index: number }, StreamSummary, undefined> {
    const { inFlight, batch } = this.#pipeline;
    const isReadAhead = batch > 1 && options.policy === "all";
    return inOrder(sources, { ...options, limit: (inFlight + (isReadAhead ? 1 : 0)) * batch });
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
    const { label, maxPixels, params } = this.#options;
    const size = parseWarmUpOptions(options, maxPixels);
    this.assertOpen("warm up");
    const started = performance.now();
    const black = imageOf(new Uint8Array(size.width * size.height * 3), size);
    await warmUp(this.#pipeline, [black, await encodeImage(black)], params);
    const ms = Math.round(performance.now() - started);
    logger.debug(`Warmed up ${label}, ${this.#pipeline.inFlight} in flight, in ${ms} ms`);
  }

  /**
   * Refuse new calls, wait for those that are running, then free everything. Calling it again waits as well.
   *
   * @param options.force fail those that are running or wait, and end their runs, also of a model that never ends; on the
   * CPU: a GPU finishes what it has begun
   */
  async close({ force = false }: { readonly force?: boolean } = {}): Promise<void> {
    this.#closing = true;
    this.#batcher.flush();
    if (!force && this.#preparing.size > 0) await Promise.allSettled(this.#preparing);
    await this.#pipeline.close(force);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
