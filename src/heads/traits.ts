/** @module Model traits: what is known of a model before its head is: its image input and its parsed metadata. */

import { logger } from "../core/log.ts";
import { type DType, formatShape, type TensorInfo } from "../core/tensor.ts";
import { type Literal, type ModelInfo, namesOfMetadata, parseLiteral } from "../model/model-info.ts";
import type { WeightsFamily } from "../onnx/beside.ts";
import { type Anchors, type AnchorsTaken, anchorsOf, anchorsSaid } from "./anchors.ts";
import { findImageInput, type ImageInput } from "./image-input.ts";

/** What the heads look at. */
export interface ModelTraits {
  readonly model: ModelInfo;
  readonly image: ImageInput;
  /** True if the caller named the head that looks. */
  readonly forced: boolean;
  /** The caller's class names, else the metadata's. */
  readonly names: readonly string[] | undefined;
  /** Number of names. */
  readonly classes: number | undefined;
  /** The anchors of a head: the caller's, else the metadata's, else those of a file beside the model. */
  readonly anchors?: AnchorsTaken | undefined;
  /** `detect`, `segment`, `pose`, …; `undefined` if the metadata does not say. */
  readonly task: string | undefined;
  /** What the metadata says of the architecture; `undefined` if nothing. */
  readonly family: "rtdetr" | "yolo" | undefined;
  /** The family that has weights of such names; `undefined` if the names are of none. */
  readonly weightsOf?: WeightsFamily | undefined;
  /** True if the metadata says that NMS is done, or not needed: `end2end`, or exported with `nms=True`. */
  readonly rowsAreFinal: boolean;
  readonly stride: number;
  readonly preferredSize: readonly [width: number, height: number];
  /** Size of the input that the outputs' shapes are for: the one they were found at, else the preferred one. */
  readonly shapesAt: readonly [width: number, height: number];
}

/** Tasks whose models say more of an object than its box. */
export type ObjectTaskName = "obb" | "pose" | "segment";

/** The class that loads models of each task, and what they are called. */
export const OBJECT_TASKS: Readonly<Record<ObjectTaskName, { readonly facade: string; readonly noun: string }>> = {
  obb: { facade: "OrientedDetector", noun: "a detector of oriented boxes" },
  pose: { facade: "PoseEstimator", noun: "a pose model" },
  segment: { facade: "Segmenter", noun: "a segmentation model" },
};

/** Tasks whose models say something of every pixel. */
export type MapTaskName = "semantic" | "depth";

/** The class that loads models of each, what they are called, and the words that exporters write for the task. */
export const MAP_TASKS: Readonly<
  Record<MapTaskName, { readonly facade: string; readonly noun: string; readonly words: RegExp }>
> = {
  semantic: {
    facade: "SemanticSegmenter",
    noun: "a semantic segmentation model",
    words: /^semantic([\s_-]*segment(ation)?)?$/,
  },
  depth: { facade: "DepthEstimator", noun: "a depth model", words: /^(monocular[\s_-]*)?depth([\s_-]*estimation)?$/ },
};

/** True for the name of such a task. */
export function isMapTask(task: string | undefined): task is MapTaskName {
  return task !== undefined && Object.hasOwn(MAP_TASKS, task);
}

/** The class that loads models of a task; `undefined` where there is none. */
export function facadeOf(task: string | undefined): string | undefined {
  if (task === "detect") return "Detector";
  if (task === "classify") return "Classifier";
  if (isMapTask(task)) return MAP_TASKS[task].facade;
  return isObjectTask(task) ? OBJECT_TASKS[task].facade : undefined;
}

/** The commands that run what classes other than those of objects load. */
const COMMANDS: ReadonlyMap<string, string> = new Map([
  ["Classifier", "classify"],
  ...Object.entries(MAP_TASKS).map(([command, { facade }]) => [facade, command] as const),
]);

/** What to do with a model of another task. @param facade the class that loads it @param isAsked true where that task was asked for, by `--task` */
export function loadHint(facade: string, isAsked = false): string {
  const command = COMMANDS.get(facade);
  const todo = command === undefined && isAsked ? "leave out `--task`" : `run \`${command ?? "detect"}\``;
  return `load it with \`${facade}\`; on a command line ${todo}`;
}

/** True for the name of such a task. */
export function isObjectTask(task: string | undefined): task is ObjectTaskName {
  return task !== undefined && Object.hasOwn(OBJECT_TASKS, task);
}

const DEFAULT_STRIDE = 32;
const DEFAULT_SIDE = 640;
/** As large as a caller may ask for; a larger one in the metadata is a fault, not a reason to fill memory. */
const LARGEST_SIDE = 16_384;

/** A metadata value as data; one that is malformed is logged and ignored. */
function literal(metadata: Readonly<Record<string, string>>, key: string): Literal | undefined {
  const text = metadata[key];
  if (text === undefined) return undefined;
  const value = parseLiteral(text);
  if (value === undefined)
    logger.warn(`Ignoring the model's metadata "${key}" as it is no literal: ${text.slice(0, 80)}`);
  return value;
}

/** True for metadata that name Ultralytics as their author. */
export function isByUltralytics({ author = "", description = "" }: Readonly<Record<string, string>>): boolean {
  return /^ultralytics\b/i.test(author) || /^ultralytics\b/i.test(description);
}

/**
 * True for metadata that only Ultralytics' exporters write, and those of YOLOv5, v7 and v9: class names alone, or a task, are anyone's.
 */
function isOfUltralytics(metadata: Readonly<Record<string, string>>): boolean {
  return isByUltralytics(metadata) || (metadata.stride !== undefined && metadata.names !== undefined);
}

function familyOf(metadata: Readonly<Record<string, string>>): ModelTraits["family"] {
  // "Ultralytics rtdetr-l model trained on coco.yaml": the name of the data tells nothing of the model.
  const text = `${metadata.head ?? ""} ${metadata.description?.replace(/ trained on .*/s, "") ?? ""}`;
  if (/rt-?detr/i.test(text)) return "rtdetr";
  // LibreYOLO's metadata tells more than this, and the heads that look for it ask.
  if (metadata.libreyolo_version !== undefined) return undefined;
  return isOfUltralytics(metadata) ? "yolo" : undefined;
}

/** Words for plain detection that exporters other than Ultralytics' write. */
const DETECTION = /^(object[\s_-]*)?detect(ion|or)?$/;

/** The task in lower case, by Ultralytics' word where it is one that others have words for; an empty one says nothing. */
export function taskOf({ task = "" }: Readonly<Record<string, string>>): string | undefined {
  const word = task.trim().toLowerCase();
  if (word === "") return undefined;
  if (DETECTION.test(word)) return "detect";
  return Object.entries(MAP_TASKS).find(([, { words }]) => words.test(word))?.[0] ?? word;
}

function isSide(value: Literal | undefined): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value <= LARGEST_SIDE;
}

/** The size a model says it was exported for: `imgsz` is [height, width], or one side; anything else is logged and ignored. */
export function exportedSize(metadata: Readonly<Record<string, string>>): readonly [number, number] | undefined {
  const value = literal(metadata, "imgsz");
  if (value === undefined) return undefined;
  const sides = Array.isArray(value) ? value : [value, value];
  const [height, width] = sides.length === 1 ? [sides[0], sides[0]] : sides;
  if (isSide(height) && isSide(width)) return [width, height];
  logger.warn(`Ignoring the model's metadata "imgsz" as it is no size in pixels: ${metadata.imgsz?.slice(0, 80)}`);
  return undefined;
}

/** The exported size, else the default; a side that the model fixes is as it is. */
function preferredSize({ sides }: ImageInput, metadata: Readonly<Record<string, string>>): readonly [number, number] {
  const [width, height] = exportedSize(metadata) ?? [DEFAULT_SIDE, DEFAULT_SIDE];
  return [sides[0] > 0 ? sides[0] : width, sides[1] > 0 ? sides[1] : height];
}

/** What transformers calls the masks of its models, whose files tell no class names. */
const MASKS_OF_TRANSFORMERS: readonly string[] = ["pred_masks", "masks_queries_logits"];

/**
 * What is known of a model; `undefined` if no input takes an image.
 *
 * @param options.labels       the caller's class names
 * @param options.anchors       widths and heights, or the family that has them; of a file beside the model: `anchorsBeside`
 * @param options.labelsBeside those of a file beside the model, which count for exports of transformers with masks
 */
export function readTraits(
  model: ModelInfo,
  options: {
    readonly labels?: readonly string[] | undefined;
    readonly labelsBeside?: readonly string[] | undefined;
    readonly anchors?: Anchors | undefined;
    readonly anchorsBeside?: AnchorsTaken | undefined;
    readonly weightsOf?: WeightsFamily | undefined;
    readonly namesBeside?: { readonly task?: string | undefined } | undefined;
  } = {},
): ModelTraits | undefined {
  const image = findImageInput(model) ?? findImageInput(model, 1) ?? findImageInput(model, 4);
  if (image === undefined) return undefined;
  const { metadata } = model;
  const given = options.labels?.length === 0 ? undefined : options.labels;
  const isOfTransformers = model.outputs.some(({ name }) => MASKS_OF_TRANSFORMERS.includes(name));
  const beside = isOfTransformers ? options.labelsBeside : undefined;
  const names = given ?? namesOfMetadata(metadata) ?? beside;
  const exportArguments = literal(metadata, "args");
  const stride = Number(metadata.stride ?? DEFAULT_STRIDE);
  const preferred = image.fixedSize ?? preferredSize(image, metadata);
  return {
    model,
    image,
    forced: false,
    names,
    classes: names?.length,
    anchors: anchorsSaid(options.anchors) ?? anchorsOf(metadata) ?? options.anchorsBeside,
    task:
      taskOf(metadata) ??
      (metadata.names === undefined ? taskOf({ task: options.namesBeside?.task ?? "" }) : undefined),
    family: familyOf(metadata),
    weightsOf: options.weightsOf,
    rowsAreFinal:
      /^true$/i.test(metadata.end2end ?? "") || (exportArguments instanceof Map && exportArguments.get("nms") === true),
    stride: Number.isInteger(stride) && stride > 0 ? stride : DEFAULT_STRIDE,
    preferredSize: preferred,
    shapesAt: model.shapesAt ?? preferred,
  };
}

/**
 * Two rows of bins a point, x and y, as SimCC has them: by their names, else in their order where the lengths fit the sides of
 * the input.
 */
export function simccOf(
  { outputs }: ModelInfo,
  [width, height]: readonly [width: number, height: number],
): readonly [x: TensorInfo, y: TensorInfo] | undefined {
  const rows = outputs.filter((info) => isFloat(info) && info.shape.length === 3 && info.shape[1]! > 0);
  if (rows.length !== 2 || outputs.length !== 2 || rows[0]!.shape[1] !== rows[1]!.shape[1]) return undefined;
  const named = [/(^|_)x$/, /(^|_)y$/].map((end) => rows.find(({ name }) => end.test(name)));
  const [x, y] = named[0] && named[1] ? named : rows;
  const bins = [x!.shape[2]!, y!.shape[2]!] as const;
  const isFitting = bins[0] > 0 && bins[0] % width === 0 && bins[0] * height === bins[1] * width;
  return isFitting || (named[0] !== undefined && bins[0] < 0) ? [x!, y!] : undefined;
}

/** Of a pixel. Models have two, or one. */
const MOST_BINS = 4;

/** True if the outputs are rows of bins: the model finds the points of one person in a crop of an image. */
export function isOfCrops(model: ModelInfo): boolean {
  const { outputs } = model;
  if (outputs.length === 2 && outputs.every(({ name }) => /^simcc_[xy]$/.test(name))) return true;
  const size = findImageInput(model)?.fixedSize;
  const [, points, bins = 0] = (size && simccOf(model, size)?.[0].shape) ?? [];
  // Rows of anchors are longer; of planes there are as many rows as in the input.
  return size !== undefined && bins > 0 && bins <= MOST_BINS * size[0] && points !== size[1];
}

/** What is said of such a model where images are wanted. */
export const OF_CROPS = {
  found: "it finds the points of one person in a crop",
  hint: "load it with `TopDownPoseEstimator`, and give it the boxes of a detector; `detect --pose-model` does",
} as const;

/** Words for classification in the metadata of exporters. */
const CLASSIFICATION = /^(image[\s_-]*)?classif(y|ier|ication)$/;

/** True if the metadata says that the model classifies images. */
export function isNamedClassifier({ metadata }: ModelInfo): boolean {
  return CLASSIFICATION.test(taskOf(metadata) ?? "");
}

/** Columns of detectors' rows of all images: the image, a box, a score and a class. */
const FLAT_COLUMNS = 7;

/**
 * The output of a classifier: the only one, [N, classes], of a model whose only input takes images. `undefined` if it is
 * another model, or its metadata has another task.
 */
export function findClassScores(model: ModelInfo): TensorInfo | undefined {
  const { inputs, outputs, metadata } = model;
  const [output] = outputs;
  const image = inputs.length === 1 ? findImageInput(model) : undefined;
  if (image === undefined || output === undefined || outputs.length > 1 || !isFloat(output)) return undefined;
  if (taskOf(metadata) !== undefined && !isNamedClassifier(model)) return undefined;
  const [rows = -1, classes = 0] = output.shape;
  const batch = inputs[0]!.shape[0]!;
  // Rows that are not one an image are those of a detector. Tracing may leave them open where the batch is fixed.
  const isOneEach = batch < 0 || rows === batch || (rows < 0 && classes > FLAT_COLUMNS && !/^flat/.test(output.name));
  return output.shape.length === 2 && classes > 0 && isOneEach ? output : undefined;
}

/** Names of outputs that hold a map, of models with several that may. */
const MAP_NAMES: Readonly<Record<MapTaskName, readonly string[]>> = {
  semantic: ["logits", "out", "output", "output0"],
  depth: ["predicted_depth", "depth", "output0"],
};

/** True for [N, height, width] or [N, 1, height, width], whatever the sides. */
function isSingleMap({ shape }: TensorInfo): boolean {
  return shape.length === 3 || (shape.length === 4 && shape[1] === 1);
}

/** True for classes that are chosen already: integers, one a pixel. */
export function isClassMap(info: TensorInfo): boolean {
  return (info.dtype === "u8" || INTEGERS.includes(info.dtype)) && isSingleMap(info);
}

/**
 * The output of a model that says something of every pixel: of classes [N, height, width] in integers, or logits
 * [N, classes, height, width]; of depth floats [N, height, width]. Of several, the one that is named like it.
 *
 * @param name the caller's; it must be one of these
 */
export function findMap({ outputs }: ModelInfo, task: MapTaskName, name?: string): TensorInfo | undefined {
  const fits = (info: TensorInfo): boolean =>
    task === "depth"
      ? isFloat(info) && isSingleMap(info)
      : isClassMap(info) || (isFloat(info) && info.shape.length === 4);
  const found = outputs.filter((info) => fits(info) && (name === undefined || info.name === name));
  if (found.length <= 1) return found[0];
  return MAP_NAMES[task].map((known) => found.find((info) => info.name === known)).find((info) => info !== undefined);
}

/** True for [N, height, width] of the input's own sides: rows of objects are of others. */
function isPlane({ shape }: TensorInfo, [width, height]: readonly [width: number, height: number]): boolean {
  return shape.length === 3 && width > 0 && height > 0 && shape[1] === height && shape[2] === width;
}

/**
 * The task of a model that evidently says something of every pixel: its metadata says so, or its output is of no other
 * task. What has one channel, or three at the size of the input, may be an image.
 */
export function evidentMap(model: ModelInfo): MapTaskName | undefined {
  const image = model.inputs.length === 1 ? findImageInput(model) : undefined;
  if (image === undefined || isOfCrops(model)) return undefined;
  const task = taskOf(model.metadata);
  if (task !== undefined) return isMapTask(task) ? task : undefined;
  const depth = findMap(model, "depth", model.outputs.length === 1 ? undefined : "predicted_depth");
  if (depth?.name === "predicted_depth" || (depth !== undefined && isPlane(depth, image.sides))) return "depth";
  const classes = findMap(model, "semantic");
  if (classes === undefined || (model.outputs.length > 1 && !MAP_NAMES.semantic.includes(classes.name)))
    return undefined;
  const { name, shape } = classes;
  const [height = -1, width = -1] = shape.slice(-2);
  const [inputWidth, inputHeight] = image.sides;
  const isKnown = Math.min(height, width, inputWidth, inputHeight) > 0;
  if (isClassMap(classes)) {
    const isOther = isKnown && (inputHeight % height !== 0 || inputWidth * height !== inputHeight * width);
    // Of u8 and four axes are images of one channel as well.
    return isOther || (classes.dtype === "u8" && shape.length === 4) ? undefined : "semantic";
  }
  const channels = shape[1]!;
  const isFull = isKnown && height === inputHeight && width === inputWidth;
  const isNamed = name === "logits" && channels > 1;
  return isNamed || (isFull && channels > 1 && channels !== 3) ? "semantic" : undefined;
}

/** Dtypes of boxes, scores and logits. */
export const FLOATS: readonly DType[] = ["f32", "f16"];

/** Dtypes of counts. */
export const INTEGERS: readonly DType[] = ["i64", "i32"];

/** Dtypes of class ids. */
export const NUMBERS: readonly DType[] = [...INTEGERS, ...FLOATS];

/** Dtypes of class ids that decoders on the CPU read. */
export const HOST_NUMBERS: readonly DType[] = [...NUMBERS, "u8"];

/** True for f32 and f16. */
export function isFloat({ dtype }: TensorInfo): boolean {
  return FLOATS.includes(dtype);
}

/** The output of this name, or one that is called so, of the rank and one of the dtypes. */
export function findOutput(
  { outputs }: ModelInfo,
  name: string | RegExp,
  rank: number,
  dtypes: readonly DType[],
): TensorInfo | undefined {
  const isCalled = (own: string): boolean => (typeof name === "string" ? own === name : name.test(own));
  return outputs.find(
    ({ name: own, dtype, shape }) => isCalled(own) && shape.length === rank && dtypes.includes(dtype),
  );
}

/** Names as they are, in quotes. */
export function quoted(names: readonly string[], join: string): string {
  return names.map((name) => JSON.stringify(name)).join(join);
}

/** A tensor for a message: `"output0" (f32 [1, 84, 8400])`. */
export function shown({ name, dtype, shape }: TensorInfo): string {
  return `${JSON.stringify(name)} (${dtype} ${formatShape(shape)})`;
}
