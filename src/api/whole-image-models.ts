/**
 * @module Whole-image models: models on a machine that say something of an image as a whole, the classes it is of, or of every pixel:
 * classes and depth.
 */

import { logger } from "../core/log.ts";
import type { ImageSource } from "../image/source.ts";
import { chosenTask, type Task } from "../runtime/task.ts";
import type { BestClasses, ClassifierSpec, ClassifyParams } from "../tasks/classify/classifier-recognition.ts";
import {
  CLASSIFY_FORMS,
  type ClassificationResult,
  ClassifyTask,
  classificationOf,
} from "../tasks/classify/classify-task.ts";
import {
  DEPTH,
  DEPTH_FORMS,
  type DepthMap,
  type DepthResult,
  type DepthSpec,
  type DepthTaskOptions,
  depthResultOf,
} from "../tasks/depth/depth-task.ts";
import type { MapSpec, MapTaskOptions } from "../tasks/image/map-recognition.ts";
import { type MapForm, MapTask } from "../tasks/image/map-task.ts";
import { type ModelFiles, mapTaskOf, modelFiles } from "../tasks/model-files.ts";
import {
  type ClassMap,
  SEMANTIC,
  SEMANTIC_FORMS,
  type SemanticResult,
  type SemanticSpec,
  type SemanticTaskOptions,
  semanticResultOf,
} from "../tasks/semantic/semantic-task.ts";
import { type Drawable, drawable } from "../tasks/task-result.ts";
import { CallParser } from "./call-options.ts";
import { LoadedModel, type LoadedModelOptions, type Opened, openModel, owned, tellFixedSize } from "./loaded-model.ts";
import type { ModelSource } from "./model-source.ts";
import type { StreamSummary } from "./stream.ts";
import {
  CLASSIFY_CALLS,
  type ClassifierConfig,
  type ClassifierOptions,
  type ClassifyOptions,
  type ClassifyStreamOptions,
  type DepthEstimatorOptions,
  type MapConfig,
  type MapOptions,
  type MapStreamOptions,
  parseClassifierOptions,
  parseDepthOptions,
  parseSemanticOptions,
  type SemanticSegmenterOptions,
} from "./whole-image-config.ts";

type OpenedClassifier = Opened<ClassifierSpec, ClassifyParams, BestClasses, ClassifierConfig>;

/** The classes of one image, best first, which draw themselves. */
export type Classification = ClassificationResult & Drawable;

/** What one image of a stream is of. */
export interface ClassifyStreamResult extends ClassificationResult, Drawable {
  /** Place of the image in the sequence, from 0 on. Those that failed or were dropped leave gaps. */
  readonly index: number;
}

/**
 * Says which classes images are of. Loading is the expensive step: keep the classifier, and close it when done.
 *
 * @example The best classes of one image
 * ```ts
 * import { Classifier } from "bun-tensorrt";
 *
 * await using classifier = await Classifier.load("yolo11n-cls.onnx");
 * const { classes } = await classifier.classify("street.jpg");
 * for (const { label, score } of classes) console.log(label, score.toFixed(3));
 * ```
 */
export class Classifier extends LoadedModel<ClassifierSpec, ClassifyParams, BestClasses, Classification> {
  /** What the model is for. */
  readonly task = "classify";

  /** @internal */
  constructor(opened: OpenedClassifier) {
    const { backends, config, name } = opened;
    const { labels, fixedSize } = backends[0]!.task.spec;
    tellFixedSize(config.size, fixedSize, name);
    super(opened, {
      facade: "Classifier",
      params: config.classify,
      calls: CLASSIFY_CALLS,
      paramsOf: ({ top = config.classify.top }: ClassifyOptions) => ({ top }),
      read: (frame, startedAt, source) => drawable(classificationOf(frame, startedAt, labels), CLASSIFY_FORMS, source),
    });
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, or its bytes; beside a file, `preprocessor_config.json` and
   * `config.json` of Hugging Face are read where they are there
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {ModelError} If the file is missing, no model, or no classifier
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: ClassifierOptions = {}): Promise<Classifier> {
    const config = parseClassifierOptions(options);
    const taskOf = async (source: string | Uint8Array): Promise<ClassifyTask> =>
      new ClassifyTask({ ...config, files: await modelFiles(source) });
    return owned(Classifier, await openModel(model, config, taskOf));
  }

  /** Class names by class id; empty where neither the model nor the options have any. */
  get labels(): readonly string[] {
    return this.recognition.labels;
  }

  /**
   * Say which classes one image is of. Calls may overlap: those for which no slot is free wait in line, and with `batch` above 1
   * those with the same options share runs of the model.
   *
   * @param source path, URL, Blob, body (`Response`, `Request`, stream), bytes, or decoded pixels; pixels must not change until the promise settles
   * @param options override those of `load` for this call
   * @throws {ImageError} If it is missing or not an image
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ClosedError} If the classifier has been closed
   * @throws {NativeError} If the model itself fails
   * @throws the reason of `options.signal`
   */
  async classify(source: ImageSource, options?: ClassifyOptions): Promise<Classification> {
    return this.one(source, options);
  }

  /**
   * Say which classes several images of any sizes are of, in as few runs of the model as its batch allows.
   *
   * @returns one result an image, in order
   * @throws {ImageError} The first image's that is missing or none; `stream` with `onError` keeps the others' results
   * @throws {NativeError} If the model itself fails
   * @throws the reason of `options.signal`
   */
  async classifyBatch(sources: readonly ImageSource[], options?: ClassifyOptions): Promise<Classification[]> {
    return this.many(sources, options);
  }

  /**
   * Say which classes a sequence of images is of: several in flight, results in order. No image is read before a slot is free for
   * it; with `batch` above 1, one batch is read ahead. A live source is better read with `policy: "latest"`.
   *
   * @param sources ends the stream when it ends
   * @param options as `classify`, and what to do with images that fail or come too fast. Without `onError` the first error of an
   * image ends the stream, after the results before it
   * @returns results with their place in the sequence; the generator's return value says what became of all images
   * @throws {ClosedError} If the classifier is closed, after the results of what was running
   * @throws the reason of `options.signal`
   */
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: ClassifyStreamOptions = {},
  ): AsyncGenerator<ClassifyStreamResult, StreamSummary, undefined> {
    return this.sequence(sources, options);
  }
}

type OpenedMap<Spec extends MapSpec, Output> = Opened<Spec, undefined, Output, MapConfig>;

async function open<Spec extends MapSpec, Output, Options extends MapTaskOptions>(
  form: MapForm<Spec, Output, Options>,
  model: ModelSource,
  config: MapConfig & Options,
): Promise<OpenedMap<Spec, Output>> {
  return openModel(model, config, async (source) => new MapTask(form, { ...config, files: await modelFiles(source) }));
}

/** What the façades for maps have in common. */
abstract class MapModel<Spec extends MapSpec, Output, Result extends object> extends LoadedModel<
  Spec,
  undefined,
  Output,
  Result
> {
  protected constructor(
    opened: OpenedMap<Spec, Output>,
    options: Pick<LoadedModelOptions<undefined, Output, Result>, "facade" | "calls" | "read">,
  ) {
    const { backends, config, name } = opened;
    tellFixedSize(config.size, backends[0]!.task.spec.fixedSize, name);
    if (config.overlap !== undefined && config.tile === undefined) {
      logger.warn("Ignoring `overlap`: it needs a `tile`");
    }
    super(opened, { ...options, params: undefined, paramsOf: () => undefined });
  }
}

/**
 * Says which class each pixel of an image is of. Loading is the expensive step: keep the segmenter, and close it when done.
 *
 * @example How much of one image is road
 * ```ts
 * import { SemanticSegmenter } from "bun-tensorrt";
 *
 * await using segmenter = await SemanticSegmenter.load("segformer/model.onnx");
 * const { areas, classMap, width } = await segmenter.segment("street.jpg");
 * console.log(areas.find(({ label }) => label === "road")?.share, classMap[20 * width + 10]);
 * ```
 */
export class SemanticSegmenter extends MapModel<SemanticSpec, ClassMap, SemanticResult & Drawable> {
  /** What the model is for. */
  readonly task = "semantic";

  /** @internal */
  constructor(opened: OpenedMap<SemanticSpec, ClassMap>) {
    const { labels } = opened.backends[0]!.task.spec;
    super(opened, {
      facade: "SemanticSegmenter",
      calls: new CallParser("segment an image"),
      read: (frame, startedAt, source) => drawable(semanticResultOf(frame, startedAt, labels), SEMANTIC_FORMS, source),
    });
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, or its bytes; beside a file, `preprocessor_config.json` and
   * `config.json` of Hugging Face are read where they are there
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: SemanticSegmenterOptions = {}): Promise<SemanticSegmenter> {
    return owned(SemanticSegmenter, await open(SEMANTIC, model, parseSemanticOptions(options)));
  }

  /** Class names by class id; empty where neither the model nor the options have any. */
  get labels(): readonly string[] {
    return this.recognition.labels;
  }

  /**
   * Say which class each pixel of one image is of. Calls may overlap: those for which no slot is free wait in line.
   *
   * @param source path, URL, Blob, body (`Response`, `Request`, stream), bytes, or decoded pixels; pixels must not change until the promise settles
   * @throws {ImageError} If it is missing or not an image
   * @throws {ClosedError} If the model has been closed
   * @throws {NativeError} If the model itself fails
   * @throws the reason of `options.signal`
   */
  async segment(source: ImageSource, options: MapOptions = {}): Promise<SemanticResult & Drawable> {
    return this.one(source, options);
  }

  /** The same of several images, in as few runs of the model as its batch allows. @returns one result an image, in order */
  async segmentBatch(
    sources: readonly ImageSource[],
    options: MapOptions = {},
  ): Promise<(SemanticResult & Drawable)[]> {
    return this.many(sources, options);
  }

  /**
   * The same of a sequence of images: several in flight, results in order, and no image is read before a slot is free for it.
   *
   * @param options what to do with images that fail or come too fast. Without `onError` the first error of an image ends the stream
   */
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: MapStreamOptions = {},
  ): AsyncGenerator<SemanticResult & Drawable & { readonly index: number }, StreamSummary, undefined> {
    return this.sequence(sources, options);
  }
}

/**
 * Says how far away what each pixel of an image shows is. Loading is the expensive step: keep the estimator, and close it when done.
 *
 * @example Depth as numbers and as an image
 * ```ts
 * import { DepthEstimator, depthImage, encodeImage } from "bun-tensorrt";
 *
 * await using estimator = await DepthEstimator.load("depth-anything/model.onnx");
 * const result = await estimator.estimate("street.jpg");
 * console.log(result.kind, result.min, result.max, result.depthMap[20 * result.width + 10]);
 * await Bun.write("depth.png", await encodeImage(depthImage(result), { format: "png" }));
 * ```
 */
export class DepthEstimator extends MapModel<DepthSpec, DepthMap, DepthResult & Drawable> {
  /** What the model is for. */
  readonly task = "depth";

  /** @internal */
  constructor(opened: OpenedMap<DepthSpec, DepthMap>) {
    const { kind } = opened.backends[0]!.task.spec;
    super(opened, {
      facade: "DepthEstimator",
      calls: new CallParser("estimate depth"),
      read: (frame, startedAt, source) => drawable(depthResultOf(frame, startedAt, kind), DEPTH_FORMS, source),
    });
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, or its bytes; beside a file, `preprocessor_config.json` and
   * `config.json` of Hugging Face are read where they are there
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: DepthEstimatorOptions = {}): Promise<DepthEstimator> {
    return owned(DepthEstimator, await open(DEPTH, model, parseDepthOptions(options)));
  }

  /**
   * Estimate the depth of one image. Calls may overlap: those for which no slot is free wait in line.
   *
   * @param source path, URL, Blob, body (`Response`, `Request`, stream), bytes, or decoded pixels; pixels must not change until the promise settles
   * @throws {ImageError} If it is missing or not an image
   * @throws {ClosedError} If the model has been closed
   * @throws {NativeError} If the model itself fails
   * @throws the reason of `options.signal`
   */
  async estimate(source: ImageSource, options: MapOptions = {}): Promise<DepthResult & Drawable> {
    return this.one(source, options);
  }

  /** The same of several images, in as few runs of the model as its batch allows. @returns one result an image, in order */
  async estimateBatch(sources: readonly ImageSource[], options: MapOptions = {}): Promise<(DepthResult & Drawable)[]> {
    return this.many(sources, options);
  }

  /**
   * The same of a sequence of images: several in flight, results in order, and no image is read before a slot is free for it.
   *
   * @param options what to do with images that fail or come too fast. Without `onError` the first error of an image ends the stream
   */
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: MapStreamOptions = {},
  ): AsyncGenerator<DepthResult & Drawable & { readonly index: number }, StreamSummary, undefined> {
    return this.sequence(sources, options);
  }
}

/** @internal Options of both façades. */
export interface MapConfigs {
  readonly semantic: MapConfig & SemanticTaskOptions;
  readonly depth: MapConfig & DepthTaskOptions;
}

/** @internal The tasks of maps where a model evidently is of one; else another task. */
export function orMaps(
  otherwise: Task<unknown, unknown, unknown>,
  { semantic, depth }: MapConfigs,
  files: ModelFiles | undefined,
): Task<unknown, unknown, unknown> {
  const forms = {
    semantic: new MapTask(SEMANTIC, { ...semantic, files }),
    depth: new MapTask(DEPTH, { ...depth, files }),
  };
  const formOf = (found: string | undefined): Task<unknown, unknown, unknown> =>
    found === "semantic" || found === "depth" ? (forms[found] as never) : otherwise;
  return chosenTask(otherwise, ({ model }) => formOf(mapTaskOf(model, files)));
}
