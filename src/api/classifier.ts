/** @module Classifier: a model on a machine, from an image to the classes it is of. */

import type { ImageSource } from "../image/source.ts";
import type { BestClasses, ClassifierSpec, ClassifyParams } from "../tasks/classify/classifier-recognition.ts";
import {
  CLASSIFY_FORMS,
  type ClassificationResult,
  ClassifyTask,
  classificationOf,
} from "../tasks/classify/classify-task.ts";
import { modelFiles } from "../tasks/model-files.ts";
import { type Drawable, drawable } from "../tasks/task-result.ts";
import {
  CLASSIFY_CALLS,
  type ClassifierConfig,
  type ClassifierOptions,
  type ClassifyOptions,
  type ClassifyStreamOptions,
  parseClassifierOptions,
} from "./classifier-config.ts";
import { LoadedModel, type Opened, openModel, owned, tellFixedSize } from "./loaded-model.ts";
import type { ModelSource } from "./model-source.ts";
import type { StreamSummary } from "./stream.ts";

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
