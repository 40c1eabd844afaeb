/** @module Detector: a model on a machine, from a picture to the objects in it. */

import { ClosedError } from "../core/errors.ts";
import type { ImageSource } from "../image/source.ts";
import type { Recognition } from "../model/layout.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { Selection } from "../model/selection.ts";
import type { Backend } from "../pipeline/backend.ts";
import { openBackend } from "../pipeline/open-backend.ts";
import { type FrameResult, type Outcome, Pipeline } from "../pipeline/pipeline.ts";
import { type DetectionResult, detectionsOf } from "./detection.ts";
import {
  type DetectConfig,
  type DetectOptions,
  type DetectorConfig,
  type DetectorOptions,
  parseDetectOptions,
  parseDetectorOptions,
  selectionOf,
} from "./detector-config.ts";
import { modelSource } from "./model-source.ts";
import { StagedBatch } from "./staged-batch.ts";
import { inOrder, type StreamOptions, splitStreamOptions } from "./stream.ts";

/** What a detector tells of the machine it runs on. */
export type BackendInfo = Pick<Backend, "kind" | "description" | "maxBatch">;

/**
 * Finds objects in pictures. Loading is the expensive step: keep the detector, and close it when done.
 *
 * @example Boxes in one picture
 * ```ts
 * await using detector = await Detector.load("yolo11n");
 * const { detections } = await detector.detect("street.jpg");
 * for (const { label, score, box } of detections) console.log(label, score.toFixed(2), box);
 * ```
 */
export class Detector implements AsyncDisposable {
  readonly #pipeline: Pipeline;
  readonly #config: DetectorConfig;
  readonly #name: string;
  /** The selection of a call without options, made once. */
  readonly #selection: Selection;
  #closing = false;

  private constructor(pipeline: Pipeline, config: DetectorConfig, selection: Selection, name: string) {
    this.#pipeline = pipeline;
    this.#config = config;
    this.#selection = selection;
    this.#name = name;
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file, its bytes, or a name of the catalogue, which is fetched once
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or its outputs fit no known layout
   * @throws {LibraryLoadError} If ONNX Runtime is nowhere
   * @throws {CatalogueError} If the name's file cannot be fetched
   */
  static async load(model: string | URL | Uint8Array, options: DetectorOptions = {}): Promise<Detector> {
    const config = parseDetectorOptions(options);
    const { source, name } = await modelSource(model);
    const backend = await openBackend(source, { ...config, device: config.devices[0]! });
    try {
      const { recognition, maxBatch } = backend;
      const selection = selectionOf(config.detect, recognition.labels);
      const pipeline = new Pipeline(backend, {
        inFlight: backend.inFlight,
        size: config.size ?? recognition.preferredSize,
        rectangular: config.rectangular,
        batch: Math.min(config.batch, maxBatch),
      });
      return new Detector(pipeline, config, selection, name);
    } catch (error) {
      backend.close();
      throw error;
    }
  }

  /** Class names by class id; empty where neither the model nor the options tell. */
  get labels(): readonly string[] {
    return this.#pipeline.backend.recognition.labels;
  }

  /** Which output layout the model has, why, and what follows from it. */
  get recognition(): Recognition {
    return this.#pipeline.backend.recognition;
  }

  /** Inputs, outputs and metadata of the model. */
  get model(): ModelInfo {
    return this.#pipeline.backend.model;
  }

  /** The machine that runs it. */
  get backend(): BackendInfo {
    return this.#pipeline.backend;
  }

  /**
   * Find the objects in one picture. Calls may overlap: those for which no slot is free wait in line.
   *
   * @param source path, URL, Blob, bytes, or decoded pixels; pixels must not change until the promise settles
   * @param options override those of `load` for this call
   * @throws {ImageError} If it is missing or no picture
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ClosedError} If the detector has been closed
   */
  async detect(source: ImageSource, options?: DetectOptions): Promise<DetectionResult> {
    const [result] = await this.#settle([source], this.#selectionFor(options));
    return unwrap(result!);
  }

  /**
   * Find the objects in several pictures of any sizes, as few runs of the model as its batch allows.
   *
   * @returns one result a picture, in order
   * @throws {ImageError} The first picture's that is missing or none; `stream` with `onError` keeps the others' results
   */
  async detectBatch(sources: readonly ImageSource[], options?: DetectOptions): Promise<DetectionResult[]> {
    const selection = this.#selectionFor(options);
    const { batch } = this.#pipeline;
    const groups: Promise<Outcome<DetectionResult>[]>[] = [];
    for (let at = 0; at < sources.length; at += batch) {
      groups.push(this.#settle(sources.slice(at, at + batch), selection));
    }
    const settled = await Promise.all(groups);
    return settled.flat().map(unwrap);
  }

  /**
   * Find the objects in a sequence of pictures: several in flight, results in order, and no picture is read before a
   * slot is free for it.
   *
   * @param sources ends the stream when it ends
   * @param options as `detect`, and `onError`: called with what went wrong with one picture, which is then left out;
   * without it the first such error ends the stream
   *
   * @example
   * ```ts
   * for await (const { detections } of detector.stream(["a.jpg", "b.jpg"])) console.log(detections.length);
   * ```
   */
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: StreamOptions = {},
  ): AsyncGenerator<DetectionResult, void, undefined> {
    const { onError, detect } = splitStreamOptions(options);
    const selection = this.#selectionFor(detect);
    return inOrder(sources, {
      inFlight: this.#pipeline.inFlight,
      batch: this.#pipeline.batch,
      run: (group) => this.#settle(group, selection),
      onError,
    });
  }

  /**
   * Hold a batch of pictures and run the stages one by one: for experiments, and to look at the tensors between them.
   *
   * @param sources 1 to `backend.maxBatch` pictures
   * @returns owns a slot until it is closed: bind it with `using`
   */
  staged(sources: readonly ImageSource[]): Promise<StagedBatch> {
    this.#assertOpen("detect");
    return StagedBatch.open(this.#pipeline, sources, (options) => this.#selectionFor(options));
  }

  /** Refuse new calls, wait for those that are running, then free everything. Calling it again waits as well. */
  close(): Promise<void> {
    this.#closing = true;
    return this.#pipeline.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #assertOpen(action: string): void {
    if (this.#closing) throw new ClosedError(action, `Detector ${this.#name}`);
  }

  #selectionFor(options: DetectOptions | undefined): Selection {
    this.#assertOpen("detect");
    if (options === undefined) return this.#selection;
    const config: DetectConfig = parseDetectOptions(options, this.#config.detect);
    return selectionOf(config, this.labels);
  }

  #settle(sources: readonly ImageSource[], selection: Selection): Promise<Outcome<DetectionResult>[]> {
    const started = performance.now();
    return this.#pipeline.run(sources, selection, (frame) => this.#result(frame, started));
  }

  #result({ block, width, height, timings }: FrameResult, started: number): DetectionResult {
    return {
      detections: detectionsOf(block, this.labels),
      width,
      height,
      dropped: block.dropped,
      timing: { ...timings, total: performance.now() - started },
    };
  }
}

function unwrap<T>(outcome: Outcome<T>): T {
  if ("error" in outcome) throw outcome.error;
  return outcome.value;
}
