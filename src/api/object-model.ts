/**
 * @module ObjectModel: models that say more of an object than where it is: façades by task, the second stage of a pose, which finds the
 * points of people that a detector has found, and the type for any of those that find objects themselves.
 */

import { ArgumentError, message, OptionError } from "../core/errors.ts";
import { type ObjectSpec, refuseHeadOf } from "../heads/object-reading.ts";
import { OBJECT_HEADS } from "../heads/registry.ts";
import { OBJECT_TASKS, type ObjectTaskName } from "../heads/traits.ts";
import { type DecodingLimits, decodeLimits } from "../image/decode-limits.ts";
import { checked, isImage } from "../image/image.ts";
import { decodeImage } from "../image/image-file.ts";
import { type ImageSource, isReadOnce } from "../image/source.ts";
import { detectorFiles, labelsOfFiles, type ModelFiles, modelFiles } from "../tasks/model-files.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import { ObjectTask } from "../tasks/objects/object-task.ts";
import { type ObjectsOf, objectReader } from "../tasks/objects/objects.ts";
import { type CropRule, type PersonImage, personImages } from "../tasks/pose/person-image.ts";
import {
  type PersonBox,
  type PersonPoints,
  personPoints,
  poseResult,
  type TopDownSpec,
  TopDownTask,
} from "../tasks/pose/top-down.ts";
import { type Drawable, drawable } from "../tasks/task-result.ts";
import { CallParser } from "./call-options.ts";
import { DetectingModel, type Detector, type OpenedDetector } from "./detector.ts";
import { type DetectorConfig, type DetectorOptions, parseDetectorOptions } from "./detector-config.ts";
import { LoadedModel, type Opened, openModel, owned } from "./loaded-model.ts";
import type { ModelSource } from "./model-source.ts";
import { parseTopDownOptions, type TopDownConfig, type TopDownPoseOptions } from "./whole-image-config.ts";

/** Options of models of objects: those of a detector. */
export type ObjectModelOptions = Omit<DetectorOptions, "task">;

abstract class ObjectModel<Name extends ObjectTaskName> extends DetectingModel<ObjectSpec, ObjectsOf<Name> & Drawable> {
  /** @internal */
  constructor(opened: OpenedObjects) {
    const { spec } = opened.backends[0]!.task;
    const task = spec.task as Name;
    const read = objectReader(task, spec);
    const forms = formsFor(task);
    super(opened, {
      facade: OBJECT_TASKS[task].facade,
      read: (frame, startedAt, source) => drawable<ObjectsOf<Name>>(read(frame, startedAt, source), forms, source),
    });
  }
}

type OpenedObjects = OpenedDetector<ObjectSpec>;

async function open(task: ObjectTaskName, model: ModelSource, options: ObjectModelOptions): Promise<OpenedObjects> {
  const config = parseDetectorOptions(options);
  const heads = [...(config.heads ?? []), ...OBJECT_HEADS].filter((head) => head.task === task).map(({ name }) => name);
  if (config.head !== undefined && !heads.includes(config.head)) refuseHeadOf(task, config.head, config.heads);
  if ((config.task ?? task) !== task) {
    const found = `Option "task" is for a Detector, and this is a ${OBJECT_TASKS[task].facade}`;
    throw new OptionError(`${found}\nHint: leave it out`, "task");
  }
  return openModel(model, config, async (source) => {
    const beside = await detectorFiles(source);
    return new ObjectTask(task, { ...withLabelsBeside(config, await modelFiles(source)), ...beside });
  });
}

/** @internal With the class names of `config.json` beside a model, which may be one of transformers. */
export function withLabelsBeside(config: DetectorConfig, files: ModelFiles | undefined): DetectorConfig {
  return config.labels === undefined ? { ...config, labelsBeside: labelsOfFiles(files, undefined) } : config;
}

/**
 * Finds people, or whatever a model was trained on, with their key points. Loading is the expensive step: keep
 * the estimator, and close it when done.
 *
 * @example Wrists in one image
 * ```ts
 * import { PoseEstimator } from "bun-tensorrt";
 *
 * await using estimator = await PoseEstimator.load("yolo11n-pose");
 * const { objects } = await estimator.detect("street.jpg");
 * for (const { keypoints } of objects) console.log(keypoints.filter(({ name }) => name.endsWith("wrist")));
 * ```
 */
export class PoseEstimator extends ObjectModel<"pose"> {
  /** What the model is for. */
  readonly task = "pose";

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, its bytes, or a name of the catalogue: see {@linkcode ModelSource}
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: ObjectModelOptions = {}): Promise<PoseEstimator> {
    return owned(PoseEstimator, await open("pose", model, options));
  }
}

/**
 * Finds objects with oriented boxes, as in aerial images. Loading is the expensive step: keep the detector, and
 * close it when done.
 *
 * @example Corners in one image
 * ```ts
 * import { OrientedDetector } from "bun-tensorrt";
 *
 * await using detector = await OrientedDetector.load("yolo11n-obb.onnx");
 * const { objects } = await detector.detect("harbour.jpg");
 * for (const { label, corners, angle } of objects) console.log(label, corners, angle);
 * ```
 */
export class OrientedDetector extends ObjectModel<"obb"> {
  /** What the model is for. */
  readonly task = "obb";

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, its bytes, or a name of the catalogue: see {@linkcode ModelSource}
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: ObjectModelOptions = {}): Promise<OrientedDetector> {
    return owned(OrientedDetector, await open("obb", model, options));
  }
}

/**
 * Finds objects and the pixels of each. Loading is the expensive step: keep the segmenter, and close it when done.
 *
 * @example Areas in one image
 * ```ts
 * import { Segmenter } from "bun-tensorrt";
 *
 * await using segmenter = await Segmenter.load("yolo11n-seg");
 * const { objects } = await segmenter.detect("street.jpg");
 * for (const { label, mask } of objects) console.log(label, mask.area, mask.toPolygons({ kind: "edges" }).length);
 * ```
 */
export class Segmenter extends ObjectModel<"segment"> {
  /** What the model is for. */
  readonly task = "segment";

  /**
   * Load a model and make it ready to run. An object without a pixel in its mask is left out of the results.
   *
   * @param model path or address of an ONNX file or a plan, its bytes, or a name of the catalogue: see {@linkcode ModelSource}
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If the GPU was asked for and there is none, no TensorRT, or no kernel for its masks
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: ObjectModelOptions = {}): Promise<Segmenter> {
    return owned(Segmenter, await open("segment", model, options));
  }
}

/** A detector, or a model that says more of its objects. */
export type AnyDetector = Detector | OrientedDetector | PoseEstimator | Segmenter;

/** The people of one image with their points, which draw themselves. */
export type TopDownResult = ObjectsOf<"pose"> & Drawable;
type OpenedTopDown = Opened<TopDownSpec, undefined, Float32Array, TopDownConfig>;

/**
 * Finds the points of people whose boxes are known, by models of crops: RTMPose, DWPose, ViTPose, HRNet. All people of all images
 * of a call share runs of the model. Loading is the expensive step: keep the estimator, and close it when done.
 *
 * @example A detector, then the points of each person it finds
 * ```ts
 * import { Detector, decodeImage, TopDownPoseEstimator } from "bun-tensorrt";
 *
 * await using detector = await Detector.load("yolo11n", { classes: ["person"] });
 * await using estimator = await TopDownPoseEstimator.load("rtmpose-m.onnx");
 * const image = await decodeImage("street.jpg");
 * const { detections } = await detector.detect(image);
 * const { objects } = await estimator.estimate(image, detections);
 * for (const { box, keypoints } of objects) console.log(box, keypoints.length);
 * ```
 */
export class TopDownPoseEstimator extends LoadedModel<TopDownSpec, undefined, Float32Array, PersonPoints> {
  /** What the model is for. */
  readonly task = "pose";
  readonly #rule: CropRule;
  readonly #limits: DecodingLimits;

  /** @internal */
  constructor(opened: OpenedTopDown) {
    const { backends, config } = opened;
    const { size, isUnbiased } = backends[0]!.task.spec;
    // So many people at most: a smaller batch of the model is no misfit.
    const batch = Math.min(config.batch, ...backends.map(({ maxBatch }) => maxBatch));
    super(
      { ...opened, config: { ...config, batch } },
      {
        facade: "TopDownPoseEstimator",
        params: undefined,
        calls: new CallParser("estimate a pose"),
        paramsOf: () => undefined,
        read: personPoints,
      },
    );
    this.#rule = { size, padding: config.padding, isUnbiased };
    this.#limits = decodeLimits(config);
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, or its bytes: [N, 3, height, width] in; two rows of bins for each point out
   * (SimCC), or a heat map
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or takes whole images
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: TopDownPoseOptions = {}): Promise<TopDownPoseEstimator> {
    const config = parseTopDownOptions(options);
    const opened = await openModel(model, config, () => new TopDownTask(config));
    return owned(TopDownPoseEstimator, opened);
  }

  /**
   * Find the points of people in one image.
   *
   * @param source path, URL, Blob, body (`Response`, `Request`, stream), bytes, or decoded pixels, which must not change until the promise settles
   * @param people boxes in pixels of the image: detections, or `{ box }`
   * @returns one object a box, in order; points are pixels of the image, and are not moved onto its edge
   * @throws {ImageError} If it is missing or not an image
   * @throws {ArgumentError} If there are no boxes, or one has no area, or lies outside the image
   * @throws {ClosedError} If the estimator has been closed
   * @throws {NativeError} If the model itself fails
   * @throws the reason of `options.signal`
   */
  async estimate(
    source: ImageSource,
    people: readonly PersonBox[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<TopDownResult> {
    const [result] = await this.estimateBatch([source], [people], options);
    return result!;
  }

  /**
   * Find the points of people in several images, in as few runs of the model as its batch allows.
   *
   * @param people boxes of each image
   * @returns one result an image, in order
   * @throws as `estimate`
   */
  async estimateBatch(
    sources: readonly ImageSource[],
    people: readonly (readonly PersonBox[])[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<TopDownResult[]> {
    if (!(Array.isArray(people) && people.every(Array.isArray))) {
      const hint = "give the detections of a detector, or `{ box: [x1, y1, x2, y2] }` for each person";
      throw new ArgumentError(message("estimate a pose", "the boxes of the people are missing", hint));
    }
    if (sources.length !== people.length) {
      const found = `there are ${sources.length} images and ${people.length} lists of boxes`;
      throw new OptionError(message("estimate poses", found, "give one list of boxes for each image"), "people");
    }
    const started = performance.now();
    const call = async (submitAll: (seen: PersonImage[]) => Promise<PersonPoints[]>): Promise<TopDownResult[]> => {
      const images = await Promise.all(
        sources.map((source) =>
          isImage(source) ? checked(source) : decodeImage(source, { ...this.#limits, signal: options.signal }),
        ),
      );
      const decode = performance.now() - started;
      const found = await submitAll(images.flatMap((image, at) => personImages(image, people[at]!, this.#rule)));
      return images.map((image, at) => {
        const own = found.splice(0, people[at]!.length);
        const result = poseResult(image, people[at]!, own, this.recognition, { decode, started });
        return drawable(result, formsFor("pose") as never, isReadOnce(sources[at]!) ? image : sources[at]!);
      });
    };
    return await this.admit(call, options);
  }
}
