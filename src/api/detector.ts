/** @module Detector: a model on a machine, from an image to the objects in it; and what it shares with models that say more of them. */

import { message, OptionError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { givenOf } from "../core/options.ts";
import type { ModelSpec } from "../heads/head.ts";
import { OBJECT_TASKS } from "../heads/traits.ts";
import type { ImageSource } from "../image/source.ts";
import type { DetectionBlock } from "../model/rows.ts";
import type { ReadResult } from "../runtime/batcher.ts";
import { DetectTask, isImageSized } from "../tasks/detect/detect-task.ts";
import { DETECT_FORMS, type DetectionResult, resultOf } from "../tasks/detect/detection.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";
import { detectorFiles } from "../tasks/model-files.ts";
import { orObjects } from "../tasks/objects/object-task.ts";
import { type Drawable, drawable, type TaskResult } from "../tasks/task-result.ts";
import { type TrackedResult, type TrackOptions, trackStream } from "../track/tracked-stream.ts";
import { nmsOptionsOf } from "./call-options.ts";
import {
  DETECT_CALLS,
  type DetectOptions,
  type DetectorConfig,
  type DetectorOptions,
  detectConfig,
  type GivenDetectOptions,
  maskSizeError,
  parseDetectorOptions,
  type StreamOptions,
} from "./detector-config.ts";
import { LoadedModel, type Opened, openModel, owned } from "./loaded-model.ts";
import type { ModelSource } from "./model-source.ts";
import { StagedBatch } from "./staged-batch.ts";
import type { StreamSummary } from "./stream.ts";

/** @internal A model that was loaded for its objects, before it has its façade. */
export type OpenedDetector<Spec extends ModelSpec, Block extends DetectionBlock = DetectionBlock> = Opened<
  Spec,
  NmsOptions,
  Block,
  DetectorConfig
>;

/** Log what is ignored or reduced for this model, and a size beside its grid, with which most models fail obscurely. */
function tellMisfits({ backends, config, name }: OpenedDetector<ModelSpec>): void {
  const { size, rectangular, scaledDecoding, preprocessing, maskSize, keypointShape, rotatedNms, slices } = config;
  const { task, spec } = backends[0]!.task;
  const { fixedSize, stride, preprocessing: inForce } = spec;
  const isOriented = "task" in spec && spec.task === "obb";
  const isOtherSize = size !== undefined && fixedSize !== undefined && size.join() !== fixedSize.join();
  const fixed = `the input of the model ${name} is fixed at ${fixedSize?.join("x")}`;
  const ignored: readonly (readonly [option: string, isIgnored: boolean, reason: string])[] = [
    ["maskSize", maskSize !== "image" && task !== "segment", `the model ${name} gives no masks`],
    ["keypointShape", keypointShape !== undefined && task !== "pose", `the model ${name} gives no key points`],
    [
      "rotatedNms",
      rotatedNms !== undefined && !(isOriented && spec.needsNms),
      `the model ${name} ${isOriented ? "has its NMS inside" : "gives no oriented boxes"}`,
    ],
    [
      "pad",
      preprocessing?.pad !== undefined && inForce.fit === "stretch",
      `images are stretched to the input of the model ${name}, without padding`,
    ],
    [
      "scaledDecoding",
      scaledDecoding && isImageSized(spec, config),
      `the model ${name} takes images at their own size`,
    ],
    ["scaledDecoding", scaledDecoding && slices !== undefined, "slices are of the image at its full size"],
    ["batchWaitMs", config.batchWaitMs > 0 && slices !== undefined, "a run has the slices of one image"],
    ["size", isOtherSize, fixed],
    ["rectangular", fixedSize !== undefined && rectangular && !isOtherSize, fixed],
  ];
  for (const [option, isIgnored, reason] of ignored) {
    if (isIgnored) logger.warn(`Ignoring \`${option}\`: ${reason}`);
  }
  if (fixedSize === undefined && !rectangular && size?.some((side) => side % stride !== 0)) {
    const next = size.map((side) => Math.ceil(side / stride) * stride);
    const rule = `most models take only multiples of their stride, here ${stride}, such as ${next.join("x")}`;
    logger.warn(`Using ${size.join("x")} for \`size\`, with which the model ${name} may fail: ${rule}`);
  }
}

/** @throws {OptionError} If a model was loaded in a way that slices of single calls do not go with */
function refuseSlices({ slices, scaledDecoding, maskSize }: DetectorConfig): void {
  if (scaledDecoding && slices === undefined) {
    const found = "slices are of the image at its full size, and the model was loaded with `scaledDecoding`";
    throw new OptionError(message("detect in slices", found, "load it without"), "slices");
  }
  if (maskSize !== "image") throw maskSizeError(maskSize);
}

/** A model that finds objects. What it says of them is a matter of its task. */
export abstract class DetectingModel<
  Spec extends ModelSpec,
  Result extends TaskResult,
  Block extends DetectionBlock = DetectionBlock,
> extends LoadedModel<Spec, NmsOptions, Block, Result> {
  /**
   * @internal
   * @param facade for messages
   * @param read   makes a result of what a slot gave
   */
  protected constructor(
    opened: OpenedDetector<Spec, Block>,
    { facade, read }: { readonly facade: string; readonly read: ReadResult<Block, Result> },
  ) {
    const { backends, config } = opened;
    const { labels, usualIou } = backends[0]!.task.spec;
    const { iou } = config.detect;
    // One image is a batch of slices.
    const running = config.slices === undefined ? config : { ...config, batch: 1, batchWaitMs: 0 };
    const detect = { ...config.detect, iou: config.isIouGiven ? iou : (usualIou ?? iou) };
    const params = nmsOptionsOf(detect, labels);
    tellMisfits(opened);
    const { usualSize } = backends[0]!.task;
    const paramsOf = ({ slices, ...given }: GivenDetectOptions): NmsOptions => {
      if (slices) refuseSlices(config);
      const sized = slices && { ...slices, size: slices.size ?? usualSize };
      return nmsOptionsOf(detectConfig({ ...given, slices: sized }, detect), labels);
    };
    super({ ...opened, config: running }, { facade, params, calls: DETECT_CALLS, paramsOf, read });
  }

  /** Class names by class id; empty where neither the model nor the options have any. */
  get labels(): readonly string[] {
    return this.recognition.labels;
  }

  /**
   * Find the objects in one image. Calls may overlap: those for which no slot is free wait in line, and with `batch`
   * above 1 those with the same options share runs of the model.
   *
   * @param source path, URL, Blob, body (`Response`, `Request`, stream), bytes, or decoded pixels; pixels must not change until the promise settles
   * @param options override those of `load` for this call
   * @throws {ImageError} If it is missing or not an image
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ClosedError} If the model has been closed
   * @throws {NativeError} If the model itself, or its device, fails
   * @throws the reason of `options.signal`
   */
  async detect(source: ImageSource, options?: DetectOptions): Promise<Result> {
    return this.one(source, options);
  }

  /**
   * Find the objects in several images of any sizes, as few runs of the model as its batch allows.
   *
   * @returns one result an image, in order
   * @throws {ImageError} The first image's that is missing or none; `stream` with `onError` keeps the others' results
   * @throws {NativeError} If the model itself, or its device, fails
   * @throws the reason of `options.signal`
   */
  async detectBatch(sources: readonly ImageSource[], options?: DetectOptions): Promise<Result[]> {
    return this.many(sources, options);
  }

  /**
   * Find the objects in a sequence of images: several in flight, results in order. No image is read before a slot is
   * free for it; with `batch` above 1, one batch is read ahead. A live source is better read with `policy: "latest"`.
   *
   * @param sources ends the stream when it ends
   * @param options as `detect`, and what to do with images that fail or come too fast. Without `onError` the first error
   * of an image ends the stream, after the results before it
   * @returns results with their place in the sequence; the generator's return value says what became of all images
   * @throws {ClosedError} If the model is closed, after the results of what was running
   * @throws the reason of `options.signal`
   *
   * @example
   * ```ts
   * import { Detector } from "bun-tensorrt";
   *
   * await using detector = await Detector.load("yolo11n");
   * const stream = detector.stream(["street.jpg", "street.jpg"]);
   * for await (const { index, detections } of stream) console.log(index, detections.length);
   * ```
   * @example A camera that is faster than the model
   * ```ts
   * import { Detector } from "bun-tensorrt";
   * import { VideoSource } from "bun-tensorrt/video";
   *
   * await using detector = await Detector.load("yolo11n");
   * await using camera = await VideoSource.open("street.mp4");
   * const onDrop = (index: number) => console.log(`frame ${index} was overtaken`);
   * const stream = detector.stream(camera, { policy: "latest", onDrop });
   * for await (const { index, detections } of stream) console.log(index, detections.length);
   * ```
   */
  stream(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: StreamOptions = {},
  ): AsyncGenerator<Result & { readonly index: number }, StreamSummary, undefined> {
    return this.sequence(sources, options);
  }

  /**
   * Find the objects in a stream of images and follow them: each has a `trackId`, the same in every image. Objects that belong to
   * no track are left out. Several streams may run at once, in the same batches: each call has a tracker of its own.
   *
   * @param sources the images of one stream, such as the frames of a video; ends the stream when it ends
   * @param options as `stream`, and the tracker. The `threshold` is the tracker's `lowThreshold`, unless it is given
   * @throws as `stream`
   *
   * @example
   * ```ts
   * import { Detector } from "bun-tensorrt";
   * import { VideoSource } from "bun-tensorrt/video";
   *
   * await using detector = await Detector.load("yolo11n");
   * await using video = await VideoSource.open("street.mp4");
   * for await (const { index, detections } of detector.track(video, { tracker: "bytetrack" })) {
   *   console.log(index, detections.map(({ trackId, label }) => `${label} ${trackId}`));
   * }
   * ```
   */
  track(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    { tracker, ...options }: StreamOptions & TrackOptions = {},
  ): AsyncGenerator<TrackedResult<Result & { readonly index: number }>, StreamSummary, undefined> {
    return this.fromVideo(sources, (images) =>
      trackStream(images, { tracker }, (timed, threshold) => this.sequence(timed, { threshold, ...givenOf(options) })),
    );
  }
}

/**
 * Finds objects in images. Loading is the expensive step: keep the detector, and close it when done.
 *
 * @example Boxes in one image
 * ```ts
 * import { Detector } from "bun-tensorrt";
 *
 * await using detector = await Detector.load("yolo11n");
 * const { detections } = await detector.detect("street.jpg");
 * for (const { label, score, box } of detections) console.log(label, score.toFixed(2), box);
 * ```
 */
export class Detector extends DetectingModel<ModelSpec, DetectionResult & Drawable> {
  /** What the model is for. */
  readonly task = "detect";
  readonly #isSliced: boolean;

  /** @internal */
  constructor(opened: OpenedDetector<ModelSpec>) {
    const { labels } = opened.backends[0]!.task.spec;
    super(opened, {
      facade: "Detector",
      read: (frame, startedAt, source) => drawable(resultOf(frame, startedAt, labels), DETECT_FORMS, source),
    });
    this.#isSliced = opened.config.slices !== undefined;
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, its bytes, or a name of the catalogue: see {@linkcode ModelSource}
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {UnavailableError} If an option asks for a GPU, or for something of it, that this machine does not have
   * @throws {ModelError} If the file is missing, no model, or its outputs fit no known head
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   * @throws {TensorRtError} If TensorRT cannot build or load the engine; `PlanMismatchError` for another version's or GPU's
   * @throws {CudaError} If the GPU fails, or has not enough memory
   * @throws {CatalogueError} If the name's file cannot be fetched
   * @throws the reason of `options.signal`, while an engine is built
   */
  static async load(model: ModelSource, options: DetectorOptions = {}): Promise<Detector> {
    const config = parseDetectorOptions(options);
    if (config.task !== undefined && config.task !== "detect") {
      const hint = `load it with \`${OBJECT_TASKS[config.task].facade}\`, or give \`task: "detect"\` for what a detector finds in it`;
      throw new OptionError(
        `Option "task" must be "detect" for a detector, got "${config.task}"\nHint: ${hint}`,
        "task",
      );
    }
    const taskOf = async (source: string | Uint8Array): Promise<DetectTask> => {
      const named = { ...config, ...(await detectorFiles(source)) };
      const plain = new DetectTask(named);
      return config.task === undefined ? plain : (orObjects(plain as never, named) as never as DetectTask);
    };
    return owned(Detector, await openModel(model, config, taskOf));
  }

  /**
   * Hold a batch of images and run the stages one by one: for experiments, and to look at the tensors between them.
   *
   * @param sources 1 to `backend.maxBatch` images
   * @returns owns a slot until it is closed: bind it with `using`
   */
  staged(sources: readonly ImageSource[]): Promise<StagedBatch> {
    this.assertOpen();
    const refused = (hint: string): OptionError =>
      new OptionError(message("run the stages one by one", "images are cut into slices", hint), "slices");
    if (this.#isSliced) throw refused("load the detector without `slices`");
    return StagedBatch.open(this.pipeline, sources, (options) => {
      if (options?.slices) throw refused("leave out `slices`");
      return this.paramsOf(options);
    });
  }
}
