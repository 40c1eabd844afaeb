/** @module Model: a model whose task is found out when it is loaded. */

import { openBackends } from "../accelerators/accelerator.ts";
import { inShort, ModelError, message } from "../core/errors.ts";
import type { ModelSpec } from "../heads/head.ts";
import { isObjectTask, isOfCrops, OF_CROPS } from "../heads/traits.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import type { DetectionBlock } from "../model/rows.ts";
import type { Backend } from "../runtime/backend.ts";
import type { OpenedModel, Task } from "../runtime/task.ts";
import type { BestClasses } from "../tasks/classify/class-scores.ts";
import { classifierFiles } from "../tasks/classify/classifier-files.ts";
import type { ClassifierSpec, ClassifyParams } from "../tasks/classify/classifier-recognition.ts";
import { ClassifyTask } from "../tasks/classify/classify-task.ts";
import { DetectTask } from "../tasks/detect/detect-task.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";
import type { MadeImage, TiledImageSpec } from "../tasks/image/image-recognition.ts";
import { ImageTask } from "../tasks/image/image-task.ts";
import { orObjects } from "../tasks/objects/object-task.ts";
import { Classifier } from "./classifier.ts";
import { parseClassifierOptions } from "./classifier-config.ts";
import { Detector } from "./detector.ts";
import { parseDetectorOptions } from "./detector-config.ts";
import { ImageModel } from "./image-model.ts";
import { checkCommonOptions, parseImageModelOptions } from "./image-model-config.ts";
import type { MachineChoice } from "./machine-options.ts";
import { modelSource } from "./model-source.ts";
import { type AnyObjectModel, type ObjectBackend, objectModelOver } from "./object-model.ts";

/** A loaded model; `task` says which façade it has. */
export type Model = Detector | AnyObjectModel | Classifier | ImageModel;

/** Options that every task takes; those of one task are given to its own façade. */
export interface ModelOptions extends MachineChoice, DecodingLimits {
  /** Number of the GPU, from 0 on. Default 0. */
  readonly device?: number;
}

/** The first of several tasks that a model is one of. */
function firstOf(...tasks: Task<unknown, unknown, unknown>[]): Task<unknown, unknown, unknown> {
  const first = async <T>(opened: OpenedModel, look: (task: (typeof tasks)[number]) => Promise<T>): Promise<T> => {
    const { source, model } = opened;
    if (isOfCrops(model))
      throw new ModelError(message(`load ${source} as it is`, OF_CROPS.found, OF_CROPS.hint), source);
    const refusals: string[] = [];
    for (const task of tasks) {
      try {
        return await look(task);
      } catch (error) {
        if (!(error instanceof ModelError)) throw error;
        refusals.push(`${task.name}: ${inShort(error)}`);
      }
    }
    const hint = "load it with the façade of its task, such as Detector, whose options can say what is not recognised";
    throw new ModelError(message(`tell the task of ${source}`, `it fits none (${refusals.join("; ")})`, hint), source);
  };
  return {
    name: "any",
    action: "load a model",
    recognise: (opened) => first(opened, (task) => task.recognise(opened)),
    async check(opened) {
      await first<unknown>(opened, (task) => task.check?.(opened) ?? task.recognise(opened));
    },
    // Those of the first task, whose sizes are tiles for the others.
    engineShapes: (metadata) => tasks[0]!.engineShapes(metadata),
  };
}

/** Loads models of any task. */
export const Model: {
  /**
   * Load a model, find out what it is for, and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file or a plan, its bytes, or a name of the catalogue
   * @returns the façade of its task: look at `task`
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or of no known task; the message has every task's reason
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   *
   * @example
   * ```ts
   * await using model = await Model.load("yolo11n");
   * if (model.task === "detect") console.log((await model.detect("street.jpg")).detections);
   * else if (model.task === "image") console.log((await model.transform("street.jpg")).image);
   * else if (model.task === "classify") console.log((await model.classify("street.jpg")).classes);
   * else console.log((await model.detect("street.jpg")).objects);
   * ```
   */
  load(model: string | URL | Uint8Array, options?: ModelOptions): Promise<Model>;
} = {
  async load(model, options = {}) {
    checkCommonOptions(options);
    const detector = parseDetectorOptions(options);
    const classifier = parseClassifierOptions(options);
    const image = parseImageModelOptions(options);
    const { source, name } = await modelSource(model);
    const files = await classifierFiles(source);
    const whole = [new ClassifyTask({ ...classifier, files }), new ImageTask(image)] as never[];
    const task = orObjects(firstOf(new DetectTask(detector) as never, ...whole), detector);
    const backends: readonly unknown[] = await openBackends(source, task, detector, detector.devices);
    const [{ task: recognised }] = backends as [Backend<unknown, unknown, unknown>];
    if (recognised.task === "detect") {
      return Detector.over(backends as Backend<ModelSpec, NmsOptions, DetectionBlock>[], detector, name);
    }
    if (isObjectTask(recognised.task)) {
      const opened = { backends: backends as ObjectBackend[], config: detector, name };
      return objectModelOver(recognised.task, opened);
    }
    if (recognised.task === "classify") {
      return Classifier.over(backends as Backend<ClassifierSpec, ClassifyParams, BestClasses>[], classifier, name);
    }
    return ImageModel.over(backends as Backend<TiledImageSpec, undefined, MadeImage>[], image, name);
  },
};
