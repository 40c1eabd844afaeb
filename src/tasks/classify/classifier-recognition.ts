/**
 * @module ClassifierSpec: what a classifier is, worked out from its tensors, its values, its metadata and the files beside it:
 * what those values are, and which classes of a row of them are the best.
 */

import { ModelError, message, OnnxRuntimeError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { Chance, createTensor, formatTensorInfo, type Tensor, type TensorInfo } from "../../core/tensor.ts";
import { plural } from "../../core/units.ts";
import { findImageInput, type ImageInput } from "../../heads/image-input.ts";
import { evidentTask } from "../../heads/object-reading.ts";
import { recogniseModel } from "../../heads/recognition.ts";
import {
  evidentMap,
  facadeOf,
  findClassScores,
  isNamedClassifier,
  loadHint,
  MAP_TASKS,
  readTraits,
} from "../../heads/traits.ts";
import type { DecodingLimits } from "../../image/decode-limits.ts";
import type { Size } from "../../image/geometry.ts";
import { formatModelInfo, type ModelInfo } from "../../model/model-info.ts";
import { inputShape, type OpenedModel } from "../../runtime/task.ts";
import { labelsOfFiles, type ModelFiles } from "../model-files.ts";
import {
  type ClassifierPreprocessing,
  type ClassifierPreprocessingOptions,
  classifierPreprocessing,
  inputSize,
  isMultiLabel,
  recipeOf,
  recipeOfFiles,
} from "./classifier-recipe.ts";

/** What is done to a row of values: nothing, or what makes logits probabilities, of one class of many or of each by itself. */
export type Activation = "none" | "softmax" | "sigmoid";

/** How far probabilities of half precision may be from 1 in all. */
const SUM_TOLERANCE = 1e-3;

/** Values of a row: `probabilities` come to 1, each of `fractions` lies in 0–1, and anything else is `logits`. */
export type ScoreKind = "probabilities" | "fractions" | "logits";

/** What rows of values are, all of them. @param classes values of a row */
function scoreKind(values: ArrayLike<number>, classes: number): ScoreKind {
  let isFraction = true;
  let comesToOne = true;
  for (let start = 0; start < values.length; start += classes) {
    let sum = 0;
    for (let at = start; at < start + classes; at++) {
      const value = values[at]!;
      isFraction &&= value >= 0 && value <= 1 + SUM_TOLERANCE;
      sum += value;
    }
    comesToOne &&= Math.abs(sum - 1) <= SUM_TOLERANCE;
  }
  if (!isFraction) return "logits";
  return comesToOne ? "probabilities" : "fractions";
}

/** The best classes of an image, best first, and of equal ones the first; over memory that is used again. */
export interface BestClasses {
  count: number;
  readonly classIds: Int32Array<ArrayBuffer>;
  readonly scores: Float32Array<ArrayBuffer>;
}

/** Room for so many classes. */
export function createBestClasses(most: number): BestClasses {
  return { count: 0, classIds: new Int32Array(most), scores: new Float32Array(most) };
}

/**
 * Take a value into the best. Values that are no numbers are left out.
 *
 * @param most of them, at most what there is room for
 */
function insert(best: BestClasses, classId: number, score: number, most: number): void {
  const { classIds, scores } = best;
  if (Number.isNaN(score) || (best.count === most && !(score > scores[most - 1]!))) return;
  let low = 0;
  let high = best.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scores[middle]! >= score) low = middle + 1;
    else high = middle;
  }
  best.count = Math.min(best.count + 1, most);
  scores.copyWithin(low + 1, low, best.count - 1);
  classIds.copyWithin(low + 1, low, best.count - 1);
  scores[low] = score;
  classIds[low] = classId;
}

/**
 * The best classes of a row.
 *
 * @param values of all rows
 * @param start  of the row
 * @param best   written
 */
export function selectBest(
  values: ArrayLike<number>,
  start: number,
  classes: number,
  activation: Activation,
  most: number,
  best: BestClasses,
): void {
  best.count = 0;
  const top = Math.min(most, classes);
  let largest = Number.NEGATIVE_INFINITY;
  let sum = 0;
  if (activation === "softmax") {
    for (let id = 0; id < classes; id++) largest = Math.max(largest, values[start + id]!);
    for (let id = 0; id < classes; id++) sum += Math.exp(values[start + id]! - largest);
    // A value that is no number, or has no end, leaves none of the probabilities.
    if (!(sum > 0)) return;
  }
  for (let id = 0; id < classes; id++) {
    const value = values[start + id]!;
    insert(best, id, value, top);
  }
  // All three rise with the value: the order is that of the values, which f32 tells apart better than probabilities near 1.
  for (let at = 0; at < best.count; at++) {
    const value = best.scores[at]!;
    if (activation === "softmax") best.scores[at] = Math.exp(value - largest) / sum;
    else if (activation === "sigmoid") best.scores[at] = 1 / (1 + Math.exp(-value));
  }
}

/** What a caller may say of a classifier. */
export interface ClassifyTaskOptions extends DecodingLimits {
  readonly labels?: readonly string[] | undefined;
  readonly preprocessing?: ClassifierPreprocessingOptions | undefined;
  /** Of the input of a model with dynamic height and width. */
  readonly size?: Size | undefined;
  /** `undefined`: told from the model's values. */
  readonly activation?: Activation | undefined;
  /** What lies beside the model. */
  readonly files?: ModelFiles | undefined;
  /** Most images in a batch of a model that leaves it open. */
  readonly batch?: number | undefined;
}

/** What a classifier was recognised by, and all that follows from it. Plain data: it can be printed, stored and compared. */
export interface ClassifierSpec {
  /** Why, in one clause: `logits: f32 [?, 1000]; pre-processing by preprocessor_config.json`. */
  readonly reason: string;
  /** Name of the input that takes the image. */
  readonly imageInput: string;
  /** Name of the output with a score for each class. */
  readonly output: string;
  readonly classes: number;
  /** One name a class, by class id; empty where neither the model nor the caller has any. */
  readonly labels: readonly string[];
  /** Of the input in pixels. */
  readonly size: Size;
  /** The same where the model fixes it; `undefined` where height or width is dynamic. */
  readonly fixedSize: Size | undefined;
  readonly preprocessing: ClassifierPreprocessing;
  /** What the model's values are, by a run on noise; `undefined` where it was not run. */
  readonly scores: ScoreKind | undefined;
  /** What is done to them. */
  readonly activation: Activation;
  /** What was assumed because nothing tells, each with what to do if it is wrong. */
  readonly assumptions: readonly string[];
}

/** Of one call. */
export interface ClassifyParams {
  /** Most classes of an image. */
  readonly top: number;
}

/**
 * Say what a classifier is. Its values are told from a run on noise.
 *
 * @throws {ModelError} If it is another model, or one whose values cannot be told
 */
export async function recogniseClassifier(opened: OpenedModel, options: ClassifyTaskOptions): Promise<ClassifierSpec> {
  const { model, source } = opened;
  const output = findClassScores(model) ?? refuseOther(model, source);
  const image = findImageInput(model)!;
  const { files, activation: wanted, preprocessing: said } = options;
  const classes = output.shape[1]!;
  const recipe = recipeOf(model, source, image, files);
  const size = inputSize(image, recipe, options.size);
  if (size.some((side) => side < 1)) refuse(source, "its input has room for no image", "export it with its size");
  const values = await sampleScores(opened, image, output, size);
  const kind = values && scoreKind(values, classes);
  const activation = wanted ?? (isMultiLabel(files) ? "sigmoid" : activationOf(kind, classes, model, source));
  const assumptions = said === undefined ? [...recipe.assumptions] : [];
  if (wanted === undefined && kind === "fractions" && activation === "softmax") {
    assumptions.push('that its values are logits; if each is a probability by itself, give `activation: "none"`');
  }
  return {
    reason: `${formatTensorInfo(output)}; pre-processing by ${recipe.reason}`,
    imageInput: image.name,
    output: output.name,
    classes,
    labels: labelsOf(model, source, classes, options),
    size,
    fixedSize: image.fixedSize,
    preprocessing: classifierPreprocessing(image, recipe, size, said),
    scores: kind,
    activation,
    assumptions,
  };
}

function refuse(source: string, found: string, hint: string, facade?: string): never {
  const text = message(`use ${source} as a classifier`, found, hint);
  throw new ModelError(text, source, facade === undefined ? {} : { facade });
}

/** @throws {ModelError} That names what the model is, where that is known */
function refuseOther(model: ModelInfo, source: string): never {
  const task = model.metadata.task?.trim();
  const map = evidentMap(model);
  const facade = facadeOf(evidentTask(model) ?? map ?? (isDetector(model) ? "detect" : undefined));
  const hint = facade === undefined ? "load it with `Model`, which finds out what a model is for" : loadHint(facade);
  if (task && !isNamedClassifier(model)) return refuse(source, `its task is ${JSON.stringify(task)}`, hint, facade);
  const rule = "its input must take images, and its only output must be [N, classes], in f32 or f16";
  const found = facade === undefined ? rule : map === undefined ? "it finds objects" : `it is ${MAP_TASKS[map].noun}`;
  return refuse(source, `${found}\n${formatModelInfo(model)}`, hint, facade);
}

/** True if it has the head of a detector. */
function isDetector(model: ModelInfo): boolean {
  try {
    return recogniseModel(model, { isSilent: true }) !== undefined;
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return false;
  }
}

/** Images of a run that tells what values are, where the batch is open: rows that are not one an image are found out. */
const SAMPLES = 2;

/** A picture that is none: each value from 0 to 1, or to 255. */
function noise(image: ImageInput, batch: number, size: Size): Tensor {
  const tensor = createTensor(image.dtype, inputShape({ ...image, channels: 3 }, batch, size));
  const most = image.dtype === "u8" ? 255 : 1;
  const chance = new Chance();
  for (let at = 0; at < tensor.data.length; at++) tensor.data[at] = chance.between(0, most);
  return tensor;
}

/**
 * The scores of noise; `undefined` where the model cannot be run yet.
 *
 * @throws {ModelError} If it does not run, or has not a row an image: then it is a detector
 */
async function sampleScores(
  opened: OpenedModel,
  image: ImageInput,
  { name, shape }: TensorInfo,
  size: Size,
): Promise<ArrayLike<number> | undefined> {
  const { model, source } = opened;
  if (opened.sample === undefined) return undefined;
  const declared = model.inputs[0]!.shape[0]!;
  const batch = declared > 0 ? declared : Math.min(SAMPLES, opened.rangeOf(image.name)?.max[0] ?? SAMPLES);
  const outputs = await opened.sample(image.name, noise(image, batch, size)).catch((error: unknown) => {
    if (!(error instanceof OnnxRuntimeError)) throw error;
    const found = `it does not run on images of ${size.join("x")} pixels: ${error.message.split("\n", 1)[0]}`;
    return refuse(source, found, "say the `size` of its input");
  });
  const { data, shape: given } = outputs.get(name)!;
  const isRows = given[0] !== batch || hasImageNumbers(data as ArrayLike<number>, shape[1]!, batch);
  if (isRows) refuse(source, `its output has not one row an image\n${formatModelInfo(model)}`, loadHint("Detector"));
  return data as ArrayLike<number>;
}

/** Columns of the detectors whose rows begin with the number of an image. */
const NUMBERED_COLUMNS = 7;

function hasImageNumbers(data: ArrayLike<number>, columns: number, batch: number): boolean {
  if (columns !== NUMBERED_COLUMNS) return false;
  for (let at = 0; at < data.length; at += columns) {
    if (!Number.isInteger(data[at]) || data[at]! < 0 || data[at]! >= batch) return false;
  }
  return true;
}

/** True if a model is a classifier. What may be a detector with rows of seven numbers is run to tell. */
export async function seemsClassifier(opened: OpenedModel): Promise<boolean> {
  const output = findClassScores(opened.model);
  if (output?.shape[1] !== NUMBERED_COLUMNS) return output !== undefined;
  const traits = readTraits(opened.model)!;
  try {
    return (await sampleScores(opened, traits.image, output, traits.preferredSize)) !== undefined;
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return false;
  }
}

/**
 * The same without a run, of a model that is not opened yet: what may be a detector with rows of seven numbers is a classifier
 * where its metadata or the files beside it say so.
 */
export function declaresClasses(model: ModelInfo, files: ModelFiles | undefined): boolean {
  const classes = findClassScores(model)?.shape[1];
  if (classes !== NUMBERED_COLUMNS) return classes !== undefined;
  return isNamedClassifier(model) || recipeOfFiles(files) !== undefined;
}

function activationOf(kind: ScoreKind | undefined, classes: number, model: ModelInfo, source: string): Activation {
  if (classes === 1) {
    const hint = 'say what it is by `activation`: "sigmoid" for a logit, "none" for a probability';
    return refuse(source, "it has one score, and nothing tells what of", hint);
  }
  if (kind === undefined) return isNamedClassifier(model) ? "none" : "softmax";
  return kind === "probabilities" ? "none" : "softmax";
}

/** The caller's names, the model's, or those beside it. @throws {ModelError} If the caller's are another number */
function labelsOf(
  model: ModelInfo,
  source: string,
  classes: number,
  { labels, files }: ClassifyTaskOptions,
): readonly string[] {
  if (labels !== undefined && labels.length > 0) {
    if (labels.length === classes) return labels;
    return refuse(
      source,
      `it has ${plural(classes, "class")}, got ${plural(labels.length, "class name")}`,
      "give one name for each class",
    );
  }
  const own = readTraits(model)?.names;
  if (own?.length === classes) return own;
  const beside = labelsOfFiles(files, classes);
  if (beside === undefined && own !== undefined) {
    logger.warn(
      `Ignoring the class names of ${source}: it has ${plural(classes, "class")}, and its metadata ${plural(own.length, "class name")}; ` +
        "give one for each class by `labels` (`--labels FILE`)",
    );
  }
  return beside ?? [];
}
