/** @module ObjectModel: models that say more of an object than where it is: façades by task, and the one for any of them. */

import { OptionError } from "../core/errors.ts";
import type { ObjectSpec } from "../heads/object-reading.ts";
import { OBJECT_HEADS } from "../heads/registry.ts";
import { OBJECT_TASKS, type ObjectTaskName } from "../heads/traits.ts";
import { detectorFiles, labelsOfFiles, type ModelFiles, modelFiles } from "../tasks/model-files.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import { ObjectTask } from "../tasks/objects/object-task.ts";
import { type ObjectsOf, objectReader } from "../tasks/objects/objects.ts";
import { type Drawable, drawable } from "../tasks/task-result.ts";
import { DetectingModel, type Detector, type OpenedDetector } from "./detector.ts";
import { type DetectorConfig, type DetectorOptions, parseDetectorOptions } from "./detector-config.ts";
import { openModel, owned } from "./loaded-model.ts";
import type { ModelSource } from "./model-source.ts";

/** Options of models of objects: those of a detector. */
export type ObjectModelOptions = Omit<DetectorOptions, "task">;

abstract class ObjectModel<Name extends ObjectTaskName> extends DetectingModel<ObjectSpec, ObjectsOf<Name> & Drawable> {
  protected constructor(task: Name, opened: OpenedObjects) {
    const read = objectReader(task, opened.backends[0]!.task.spec);
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
  const isOtherHead = config.head !== undefined && !heads.includes(config.head);
  if (isOtherHead || (config.task ?? task) !== task) {
    const option = isOtherHead ? "head" : "task";
    const { facade } = OBJECT_TASKS[task];
    const hint =
      isOtherHead && heads.length > 0 ? `leave it out, or choose one of ${heads.join(", ")}` : "leave it out";
    throw new OptionError(`Option "${option}" is for a Detector, and this is a ${facade}\nHint: ${hint}`, option);
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

  /** @internal */
  constructor(opened: OpenedObjects) {
    super("pose", opened);
  }

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

  /** @internal */
  constructor(opened: OpenedObjects) {
    super("obb", opened);
  }

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

  /** @internal */
  constructor(opened: OpenedObjects) {
    super("segment", opened);
  }

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
