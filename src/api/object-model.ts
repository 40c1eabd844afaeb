/** @module ObjectModel: models that say more of an object than where it is: façades by task, and the one for any of them. */

import { openBackends } from "../accelerators/accelerator.ts";
import { OptionError } from "../core/errors.ts";
import type { ModelSpec } from "../heads/head.ts";
import type { ObjectSpec } from "../heads/object-reading.ts";
import { OBJECT_HEADS } from "../heads/registry.ts";
import { isObjectTask, OBJECT_TASKS, type ObjectTaskName } from "../heads/traits.ts";
import type { DetectionBlock } from "../model/rows.ts";
import type { Backend } from "../runtime/backend.ts";
import { DetectTask } from "../tasks/detect/detect-task.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";
import { labelsOfFiles, modelFiles } from "../tasks/model-files.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import { ObjectTask, orObjects } from "../tasks/objects/object-task.ts";
import { type ObjectsOf, objectReader } from "../tasks/objects/objects.ts";
import { type Drawable, drawable } from "../tasks/task-result.ts";
import { DetectingModel, Detector } from "./detector.ts";
import { type DetectorConfig, type DetectorOptions, parseDetectorOptions } from "./detector-config.ts";
import { owning } from "./loaded-model.ts";
import { modelSource } from "./model-source.ts";

/** Options of models of objects: those of a detector. */
export type ObjectModelOptions = Omit<DetectorOptions, "task">;

/** @internal Of models of which it is not known whether they say more than a detector. */
export type AnyDetectorOptions = Omit<DetectorOptions, "task"> & { readonly task?: "detect" | ObjectTaskName };

/** @internal */
export type ObjectBackend = Backend<ObjectSpec, NmsOptions, DetectionBlock>;

abstract class ObjectModel<Name extends ObjectTaskName> extends DetectingModel<ObjectSpec, ObjectsOf<Name> & Drawable> {
  protected constructor(task: Name, backends: readonly ObjectBackend[], config: DetectorConfig, name: string) {
    const read = objectReader(task, backends[0]!.task.spec);
    const forms = formsFor(task);
    super(backends, config, name, {
      label: OBJECT_TASKS[task].facade,
      read: (frame, startedAt, source) => drawable<ObjectsOf<Name>>(read(frame, startedAt, source), forms, source),
    });
  }
}

/** A model that was loaded for a task, before it has its façade. */
interface Opened {
  readonly backends: readonly ObjectBackend[];
  readonly config: DetectorConfig;
  readonly name: string;
}

async function open(
  task: ObjectTaskName,
  model: string | URL | Uint8Array,
  options: ObjectModelOptions,
): Promise<Opened> {
  const config = parseDetectorOptions(options);
  const heads = OBJECT_HEADS.filter((head) => head.task === task).map(({ name }) => name);
  const isOtherHead = config.head !== undefined && !heads.includes(config.head);
  if (isOtherHead || (config.task ?? task) !== task) {
    const option = isOtherHead ? "head" : "task";
    const { facade } = OBJECT_TASKS[task];
    const hint =
      isOtherHead && heads.length > 0 ? `leave it out, or choose one of ${heads.join(", ")}` : "leave it out";
    throw new OptionError(`Option "${option}" is for a Detector, and this is a ${facade}\nHint: ${hint}`, option);
  }
  const { source, name } = await modelSource(model);
  const known = await withLabelsBeside(config, source);
  const backends = await openBackends(source, new ObjectTask(task, known), known, known.devices);
  return { backends, config: known, name };
}

/** @internal With the class names of `config.json` beside a model, which may be one of transformers. */
export async function withLabelsBeside(config: DetectorConfig, source: string | Uint8Array): Promise<DetectorConfig> {
  if (config.labels !== undefined) return config;
  return { ...config, labelsBeside: labelsOfFiles(await modelFiles(source), undefined) };
}

/**
 * Finds people, or whatever a model was trained on, with their key points. Loading is the expensive step: keep
 * the estimator, and close it when done.
 *
 * @example Wrists in one image
 * ```ts
 * await using estimator = await PoseEstimator.load("yolo11n-pose");
 * const { objects } = await estimator.detect("street.jpg");
 * for (const { keypoints } of objects) console.log(keypoints.filter(({ name }) => name.endsWith("wrist")));
 * ```
 */
export class PoseEstimator extends ObjectModel<"pose"> {
  /** What the model is for. */
  readonly task = "pose";

  private constructor({ backends, config, name }: Opened) {
    super("pose", backends, config, name);
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file or a plan, its bytes, or a name of the catalogue, which is fetched once
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: string | URL | Uint8Array, options: ObjectModelOptions = {}): Promise<PoseEstimator> {
    return PoseEstimator.over(await open("pose", model, options));
  }

  /** @internal */
  static over(opened: Opened): PoseEstimator {
    return owning(opened.backends, () => new PoseEstimator(opened));
  }
}

/**
 * Finds objects with oriented boxes, as in aerial images. Loading is the expensive step: keep the detector, and
 * close it when done.
 *
 * @example Corners in one image
 * ```ts
 * await using detector = await OrientedDetector.load("yolo11n-obb.onnx");
 * const { objects } = await detector.detect("harbour.jpg");
 * for (const { label, corners, angle } of objects) console.log(label, corners, angle);
 * ```
 */
export class OrientedDetector extends ObjectModel<"obb"> {
  /** What the model is for. */
  readonly task = "obb";

  private constructor({ backends, config, name }: Opened) {
    super("obb", backends, config, name);
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file or a plan, its bytes, or a name of the catalogue, which is fetched once
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: string | URL | Uint8Array, options: ObjectModelOptions = {}): Promise<OrientedDetector> {
    return OrientedDetector.over(await open("obb", model, options));
  }

  /** @internal */
  static over(opened: Opened): OrientedDetector {
    return owning(opened.backends, () => new OrientedDetector(opened));
  }
}

/**
 * Finds objects and the pixels of each. Runs on the CPU. Loading is the expensive step: keep the segmenter, and close it when done.
 *
 * @example Areas in one image
 * ```ts
 * await using segmenter = await Segmenter.load("yolo11n-seg");
 * const { objects } = await segmenter.detect("street.jpg");
 * for (const { label, mask } of objects) console.log(label, mask.area, mask.toPolygons({ kind: "edges" }).length);
 * ```
 */
export class Segmenter extends ObjectModel<"segment"> {
  /** What the model is for. */
  readonly task = "segment";

  private constructor({ backends, config, name }: Opened) {
    super("segment", backends, config, name);
  }

  /**
   * Load a model and make it ready to run. An object without a pixel in its mask is left out of the results.
   *
   * @param model path or `file:` URL of an ONNX file, its bytes, or a name of the catalogue, which is fetched once
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of another task
   * @throws {UnavailableError} If a GPU was asked for
   * @throws {LibraryLoadError} If ONNX Runtime is not found
   */
  static async load(model: string | URL | Uint8Array, options: ObjectModelOptions = {}): Promise<Segmenter> {
    return Segmenter.over(await open("segment", model, options));
  }

  /** @internal */
  static over(opened: Opened): Segmenter {
    return owning(opened.backends, () => new Segmenter(opened));
  }
}

/** A façade of this module. */
export type AnyObjectModel = OrientedDetector | PoseEstimator | Segmenter;

const FACADES: { readonly [Name in ObjectTaskName]: (opened: Opened) => AnyObjectModel } = {
  obb: (opened) => OrientedDetector.over(opened),
  segment: (opened) => Segmenter.over(opened),
  pose: (opened) => PoseEstimator.over(opened),
};

/** @internal The façade of a model that was loaded for a task. */
export function objectModelOver(task: ObjectTaskName, opened: Opened): AnyObjectModel {
  return FACADES[task](opened);
}

/** A detector, or a model that says more of its objects. */
export type AnyDetector = Detector | AnyObjectModel;

/** @internal Loads models whose objects are wanted, whatever is said of them. */
export const anyDetector: {
  load(model: string | URL | Uint8Array, options: AnyDetectorOptions): Promise<AnyDetector>;
} = {
  async load(model, options) {
    const given = parseDetectorOptions(options as DetectorOptions);
    const { source, name } = await modelSource(model);
    const config = await withLabelsBeside(given, source);
    const task = orObjects(new DetectTask(config) as never, config);
    const backends: readonly unknown[] = await openBackends(source, task, config, config.devices);
    const [{ task: recognised }] = backends as [Backend<unknown, unknown, unknown>];
    if (isObjectTask(recognised.task)) {
      return objectModelOver(recognised.task, {
        backends: backends as ObjectBackend[],
        config,
        name,
      });
    }
    return Detector.over(backends as Backend<ModelSpec, NmsOptions, DetectionBlock>[], config, name);
  },
};
