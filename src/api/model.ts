/** @module Model: a model whose task is found out when it is loaded. */

import { inShort, ModelError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { refuseUnreadAnchors } from "../heads/anchor-maps.ts";
import type { HeadDefinition } from "../heads/own-head-options.ts";
import { ownHeadFor } from "../heads/recognition.ts";
import { isOfCrops, MAP_TASKS, type MapTaskName, type ObjectTaskName, OF_CROPS } from "../heads/traits.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import { chosenTask, type OpenedModel, type Task } from "../runtime/task.ts";
import { declaresClasses } from "../tasks/classify/classifier-recognition.ts";
import { ClassifyTask } from "../tasks/classify/classify-task.ts";
import { DetectTask } from "../tasks/detect/detect-task.ts";
import { declaresImages } from "../tasks/image/image-recognition.ts";
import { ImageTask } from "../tasks/image/image-task.ts";
import { detectorFiles, type ModelFiles, modelFiles } from "../tasks/model-files.ts";
import { orObjects } from "../tasks/objects/object-task.ts";
import { declaresCrops, TopDownTask } from "../tasks/pose/top-down.ts";
import { Detector } from "./detector.ts";
import {
  DETECTOR_OPTIONS,
  type DetectorConfig,
  type DetectorOptions,
  parseDetectorOptions,
} from "./detector-config.ts";
import { ImageModel } from "./image-model.ts";
import { checkCommonOptions, type ImageModelConfig, parseImageModelOptions } from "./image-model-config.ts";
import { openModel, owned } from "./loaded-model.ts";
import type { MachineChoice } from "./machine-options.ts";
import type { ModelSource } from "./model-source.ts";
import { type AnyDetector, OrientedDetector, PoseEstimator, Segmenter, withLabelsBeside } from "./object-model.ts";
import {
  CLASSIFIER_OPTIONS,
  type ClassifierConfig,
  DEPTH_OPTIONS,
  parseClassifierOptions,
  parseDepthOptions,
  parseSemanticOptions,
  parseTopDownOptions,
  SEMANTIC_OPTIONS,
} from "./whole-image-config.ts";
import { Classifier, DepthEstimator, type MapConfigs, orMaps, SemanticSegmenter } from "./whole-image-models.ts";

/** A loaded model; `task` says which façade it has. */
export type Model = AnyDetector | SemanticSegmenter | DepthEstimator | Classifier | ImageModel;

/** Options that every task takes; those of one task are given to its own façade. */
export interface ModelOptions extends MachineChoice, DecodingLimits {
  /** Number of the GPU, from 0 on. Default 0. */
  readonly device?: number | undefined;
  /** Heads of one's own, of {@linkcode defineHead}: a model that one takes for its own is read by it. */
  readonly heads?: readonly HeadDefinition[] | undefined;
}

/** For a model of which nothing is known. */
const UNKNOWN_HINT =
  "load it with the façade of its task, such as Detector, whose options can say what is not recognised";
const SERVED = "`serve` and `worker` take models of objects, of maps, and classifiers";
const UNSERVED_HINT = `${SERVED}; \`bunx bun-tensorrt inspect\` shows what is known of this one`;

/**
 * The first of several tasks that a model is one of. Engines are built for the one that it declares, else the first.
 *
 * @param hint for a model that is of none
 */
function firstOf(tasks: readonly AnyTask[], hint: string, files: ModelFiles | undefined): AnyTask {
  if (tasks.length === 1) return tasks[0]!;
  const first = async <T>(opened: OpenedModel, look: (task: (typeof tasks)[number]) => Promise<T>): Promise<T> => {
    const { source, model } = opened;
    if (isOfCrops(model))
      throw new ModelError(message(`load ${source} as it is`, OF_CROPS.found, OF_CROPS.hint), source);
    const refusals: string[] = [];
    let unsure: ModelError | undefined;
    for (const task of tasks) {
      try {
        return await look(task);
      } catch (error) {
        if (!(error instanceof ModelError)) throw error;
        refusals.push(`${task.name}: ${inShort(error)}`);
        if (error.readings.length > 1) unsure ??= error;
      }
    }
    // Where several heads read it, what tells them apart says more than that no task takes it as it is.
    if (unsure !== undefined) {
      const text = hint === UNSERVED_HINT ? unsure.message : `${unsure.message}; ${hint}`;
      throw new ModelError(text, source, { readings: unsure.readings });
    }
    throw new ModelError(message(`tell the task of ${source}`, `it fits none (${refusals.join("; ")})`, hint), source);
  };
  return {
    name: "any",
    action: "load a model",
    recognise: (opened) => first(opened, (task) => task.recognise(opened)),
    async check(opened) {
      await first<unknown>(opened, (task) => task.check?.(opened) ?? task.recognise(opened));
    },
    async forShaping(opened) {
      for (const task of tasks) {
        const found = await task.forShaping?.(opened);
        if (found !== undefined) return found;
      }
      return undefined;
    },
    engineShapes(declared) {
      const { model } = declared;
      const name = declaresClasses(model, files) ? "classify" : declaresImages(model) ? "image" : undefined;
      return (tasks.find((task) => task.name === name) ?? tasks[0]!).engineShapes(declared);
    },
  };
}

/** Another task, where a model is not evidently one that no service answers for. */
function orUnserved(otherwise: AnyTask): AnyTask {
  return chosenTask(otherwise, ({ source, model }) => {
    if (!isOfCrops(model)) return otherwise;
    const hint = `${SERVED}; on a command line run \`detect --pose-model\``;
    throw new ModelError(message(`serve ${source}`, OF_CROPS.found, hint), source);
  });
}

/**
 * Loads models of any task.
 *
 * @example
 * ```ts
 * import { Model } from "bun-tensorrt";
 *
 * await using model = await Model.load("yolo11n");
 * if (model.task === "detect") console.log((await model.detect("street.jpg")).detections);
 * else if (model.task === "image") console.log((await model.transform("street.jpg")).image);
 * else if (model.task === "classify") console.log((await model.classify("street.jpg")).classes);
 * else if (model.task === "semantic") console.log((await model.segment("street.jpg")).areas);
 * else if (model.task === "depth") console.log((await model.estimate("street.jpg")).max);
 * else console.log((await model.detect("street.jpg")).objects);
 * ```
 */
export const Model: {
  /**
   * Load a model, find out what it is for, and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, its bytes, or a name of the catalogue: see {@linkcode ModelSource}
   * @returns the façade of its task: look at `task`
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of no known task; the message has every task's reason
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   */
  load(model: ModelSource, options?: ModelOptions): Promise<Model>;
} = {
  async load(model, { heads, ...options } = {}) {
    checkCommonOptions(options);
    return loadAny(model, {
      detector: parseDetectorOptions({ ...options, heads }),
      classifier: parseClassifierOptions(options),
      image: parseImageModelOptions(options),
      maps: { semantic: parseSemanticOptions(options), depth: parseDepthOptions(options) },
    });
  },
};

/** Options of the tasks that a model may be of; those that are left out are not tried. */
interface TaskConfigs {
  readonly detector: DetectorConfig;
  readonly classifier?: ClassifierConfig;
  readonly image?: ImageModelConfig;
  readonly maps?: MapConfigs;
  /** What is loaded is asked by `serve` or `worker`. */
  readonly isServed?: boolean;
}

type AnyTask = Task<unknown, unknown, unknown>;

/** The façade of a model that was loaded for a task. */
const FACADES: { readonly [Name in Model["task"]]: new (opened: never) => Model } = {
  detect: Detector,
  obb: OrientedDetector,
  pose: PoseEstimator,
  segment: Segmenter,
  classify: Classifier,
  semantic: SemanticSegmenter,
  depth: DepthEstimator,
  image: ImageModel,
};

async function anyTask(source: string | Uint8Array, configs: TaskConfigs): Promise<AnyTask> {
  const { detector, classifier, image, maps, isServed } = configs;
  const files = await modelFiles(source);
  const named = { ...withLabelsBeside(detector, files), ...(await detectorFiles(source)) };
  const tasks: unknown[] = [new DetectTask(named)];
  if (classifier !== undefined) tasks.push(new ClassifyTask({ ...classifier, files }));
  if (image !== undefined) tasks.push(new ImageTask(image));
  const objects = orObjects(firstOf(tasks as AnyTask[], isServed ? UNSERVED_HINT : UNKNOWN_HINT, files), named);
  const isRefusing = isServed && detector.head === undefined;
  const served = isRefusing ? orUnserved(objects) : objects;
  const task = maps === undefined ? served : orMaps(served, maps, files);
  if (detector.heads === undefined) return task;
  const own = orObjects(tasks[0] as AnyTask, named);
  return chosenTask(task, ({ model }) => (ownHeadFor(model, named) === undefined ? task : own));
}

/** @internal What a model is for, whatever that is: all tasks but that of crops. @param given as `engineTask` takes it */
export function modelTask(source: string | Uint8Array, given: { readonly batch?: number } = {}): Promise<AnyTask> {
  return anyTask(source, {
    detector: { ...parseDetectorOptions({}), ...given },
    classifier: { ...parseClassifierOptions({}), ...given },
    image: { ...parseImageModelOptions({}), ...given },
    maps: {
      semantic: { ...parseSemanticOptions({}), ...given },
      depth: { ...parseDepthOptions({}), ...given },
    },
  });
}

/** @internal What engines are built for ahead of time, by the task of the model. @param given `batch` and the like; each task has defaults */
export async function engineTask(
  source: string | Uint8Array,
  given: { readonly batch?: number },
): Promise<Pick<AnyTask, "engineShapes" | "forShaping">> {
  const crops: Pick<AnyTask, "engineShapes"> = new TopDownTask({ ...parseTopDownOptions({}), ...given });
  const whole = await modelTask(source, given);
  return {
    engineShapes: (declared) => (declaresCrops(declared.model) ? crops : whole).engineShapes(declared),
    forShaping: async (opened) => (declaresCrops(opened.model) ? undefined : whole.forShaping?.(opened)),
  };
}

async function loadAny(model: ModelSource, configs: TaskConfigs): Promise<Model> {
  const { detector, classifier, image, maps } = configs;
  const opened = await openModel(model, detector, (source) => anyTask(source, configs));
  const task = (opened.backends[0]!.task as { readonly task: Model["task"] }).task;
  const config = { ...maps, classify: classifier, image }[task as "image"] ?? detector;
  return owned(FACADES[task], { ...opened, config } as never);
}

/** @internal Of models of which it is not known whether they say more than a detector. */
type AnyDetectorOptions = Omit<DetectorOptions, "task"> & {
  readonly task?: "detect" | ObjectTaskName | undefined;
};

/** @internal Loads models whose objects are wanted, whatever is said of them. */
export const anyDetector: {
  load(model: ModelSource, options: AnyDetectorOptions): Promise<AnyDetector>;
} = {
  async load(model, options) {
    return (await loadAny(model, { detector: parseDetectorOptions(options as DetectorOptions) })) as AnyDetector;
  },
};

/** @internal What services answer with. */
export type ServedFacade = AnyDetector | Classifier | SemanticSegmenter | DepthEstimator;

async function loadServed(model: ModelSource, options: AnyDetectorOptions): Promise<Model> {
  const { task, head, device = 0 } = options;
  const detector = parseDetectorOptions(options as DetectorOptions);
  if (task !== undefined || head !== undefined) return loadAny(model, { detector, isServed: true });
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const tables: { readonly [Name in Model["task"]]?: object } = {
    classify: CLASSIFIER_OPTIONS,
    semantic: SEMANTIC_OPTIONS,
    depth: DEPTH_OPTIONS,
  };
  /** Names of a detector's options that a model of another task has not, or has with another meaning. */
  const foreignTo = (of: keyof typeof tables): string[] => {
    const known = tables[of] ?? DETECTOR_OPTIONS;
    return given.map(([name]) => name).filter((name) => name === "preprocessing" || !Object.hasOwn(known, name));
  };
  const commonTo = (of: keyof typeof tables): object => {
    const foreign = foreignTo(of);
    const common = given.filter(([name]) => !foreign.includes(name));
    return { ...Object.fromEntries(common), device: [device].flat()[0]! };
  };
  const loaded = await loadAny(model, {
    detector,
    classifier: parseClassifierOptions(commonTo("classify")),
    maps: { semantic: parseSemanticOptions(commonTo("semantic")), depth: parseDepthOptions(commonTo("depth")) },
    isServed: true,
  });
  if (loaded.task in tables && options.anchors !== undefined) {
    await loaded.close();
    // As a detector whose head reads none refuses them.
    refuseUnreadAnchors({}, { anchors: options.anchors });
  }
  const ignored = loaded.task in tables ? foreignTo(loaded.task).map((name) => `\`${name}\``) : [];
  if (ignored.length > 0) {
    const noun = loaded.task === "classify" ? "a classifier" : MAP_TASKS[loaded.task as MapTaskName].noun;
    logger.warn(`Ignoring ${ignored.join(", ")}: the model is ${noun}`);
  }
  return loaded;
}

/** @internal Loads models of objects, classifiers and models of maps for services: options are those of a detector. */
export const servedModel: {
  /** @throws as `Model.load` does */
  load(model: ModelSource, options?: AnyDetectorOptions): Promise<ServedFacade>;
} = {
  load: async (model, options = {}) => (await loadServed(model, options)) as ServedFacade,
};
