/** @module ServedModel: a model of any task behind a service: how it is asked, and what is made of its results. */

import type { Detector } from "../api/detector.ts";
import type { DetectOptions } from "../api/detector-config.ts";
import type { ClassifyOptions } from "../api/whole-image-config.ts";
import type { Classifier, DepthEstimator, SemanticSegmenter } from "../api/whole-image-models.ts";
import { inShort, NativeError, OnnxRuntimeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { isMapTask, isObjectTask, type MapTaskName, type ObjectTaskName } from "../heads/traits.ts";
import type { ImageSource } from "../image/source.ts";
import { CLASSIFY_FORMS } from "../tasks/classify/classify-task.ts";
import { DEPTH_FORMS } from "../tasks/depth/depth-task.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import {
  CLASSIFY_MESSAGES,
  DEPTH_MESSAGES,
  DETECT_MESSAGES,
  OBJECT_MESSAGES,
  SEMANTIC_MESSAGES,
} from "../tasks/result-messages.ts";
import { SEMANTIC_FORMS } from "../tasks/semantic/semantic-task.ts";
import type { ResultForms, ResultMessages, TaskResult } from "../tasks/task-result.ts";

/** A task that services answer for. */
export type ServedTask = "detect" | ObjectTaskName | "classify" | MapTaskName;

/** True of the tasks whose results are of the image, and not of objects in it: no score is too low for them. */
export function isOfWhole(task: ServedTask): task is "classify" | MapTaskName {
  return task === "classify" || isMapTask(task);
}

/** The part of a model that finds objects in an image. */
export interface AskedDetector {
  /** What its results say. Default `"detect"`. */
  readonly task?: Exclude<ServedTask, "classify" | MapTaskName>;
  /** Find what is in one image. */
  detect(source: ImageSource, options?: DetectOptions): Promise<TaskResult>;
}

/** The part of a model that says what is in an image: its objects, the classes it is of, or something of every pixel. */
export type AskedModel =
  | AskedDetector
  | Pick<Classifier, "task" | "classify">
  | Pick<SemanticSegmenter, "task" | "segment">
  | Pick<DepthEstimator, "task" | "estimate">;

/** Options of one call, whatever the task. */
export type AskOptions = DetectOptions & ClassifyOptions;

/** Ask a model about one image. */
export function ask(model: AskedModel, source: ImageSource, options: AskOptions = {}): Promise<TaskResult> {
  switch (model.task) {
    case "classify":
      return model.classify(source, options);
    case "semantic":
      return model.segment(source, options);
    case "depth":
      return model.estimate(source, options);
    default:
      return model.detect(source, options);
  }
}

/** What is made of a model's results. */
export function servedForms({ task = "detect" }: AskedModel): ResultForms {
  if (task === "semantic") return SEMANTIC_FORMS;
  if (task === "depth") return DEPTH_FORMS;
  return task === "classify" ? CLASSIFY_FORMS : formsFor(task);
}

/** How a worker sends a model's results. */
export function servedMessages({ task = "detect" }: AskedModel): ResultMessages {
  if (task === "semantic") return SEMANTIC_MESSAGES;
  if (task === "depth") return DEPTH_MESSAGES;
  if (task === "classify") return CLASSIFY_MESSAGES;
  return isObjectTask(task) ? OBJECT_MESSAGES[task] : DETECT_MESSAGES;
}

/** True of a run that ONNX Runtime refused for another reason than memory: of a model that every image fails in, at this size. */
function isOfModel(error: NativeError): boolean {
  return error instanceof OnnxRuntimeError && !/alloc|memory/i.test(error.message);
}

/**
 * Warm a detector up. What the machine has no room for now it may have for the frames to come, which may be smaller: that is
 * a warning. A model that gives what its head rules out, or that cannot be run at its size, is not worth starting with.
 *
 * @throws {ModelError} If the model's output cannot be what its head says
 * @throws {OnnxRuntimeError} If the model cannot be run, and not for want of memory
 */
export async function warmStart(detector: Pick<Detector, "warmUp">): Promise<void> {
  try {
    await detector.warmUp();
  } catch (error) {
    if (!(error instanceof NativeError) || isOfModel(error)) throw error;
    logger.warn(`The first frames take longer, as the warm-up failed: ${inShort(error)}`);
  }
}
