/** @module Registry: every known head, and which of the known heads a model has. */

import { ModelError, message, OptionError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { unknownWord } from "../core/options.ts";
import { formatTensorInfo, type TensorInfo } from "../core/tensor.ts";
import { type PreprocessingOptions, withOptions } from "../image/preprocessing.ts";
import { COCO_91 } from "../model/labels.ts";
import { formatModelInfo, type ModelInfo } from "../model/model-info.ts";
import { damoYolo } from "./damo-yolo.ts";
import { deepstream } from "./deepstream.ts";
import { MOST_CHOSEN } from "./dense-reading.ts";
import { efficientNms } from "./efficient-nms.ts";
import { fastestdet } from "./fastestdet.ts";
import { FRACTIONS } from "./fractions.ts";
import type { Head, ModelSpec } from "./head.ts";
import { huggingFace, huggingFaceSoftmax } from "./hugging-face.ts";
import { headOfLibreYolo, libreYolo, libreYoloFamily } from "./libreyolo.ts";
import { nanodet } from "./nanodet.ts";
import { paddleRtdetr } from "./paddle-rtdetr.ts";
import { rfDetr } from "./rf-detr.ts";
import { deimv2Imagenet, rtdetr } from "./rtdetr.ts";
import { rtdetrUltralytics, rtdetrUltralyticsRows } from "./rtdetr-ultralytics.ts";
import { isFloat, type ModelTraits, readTraits } from "./traits.ts";
import { yolo } from "./yolo.ts";
import { yoloEndToEnd } from "./yolo-end-to-end.ts";
import { yoloObjectness } from "./yolo-objectness.ts";
import { yoloTransposed } from "./yolo-transposed.ts";
import { yolov4 } from "./yolov4.ts";
import { yolov7Rows } from "./yolov7-rows.ts";
import { yolox, yoloxDecoded } from "./yolox.ts";

/** Every known head, in the order of the documentation; the order decides nothing. */
export const HEADS: readonly Head[] = [
  yolo,
  yoloTransposed,
  yoloObjectness,
  yoloEndToEnd,
  ...FRACTIONS,
  deepstream,
  yolov4,
  damoYolo,
  yolov7Rows,
  libreYolo,
  yolox,
  yoloxDecoded,
  nanodet,
  fastestdet,
  rtdetr,
  deimv2Imagenet,
  rtdetrUltralytics,
  rtdetrUltralyticsRows,
  rfDetr,
  huggingFace,
  huggingFaceSoftmax,
  paddleRtdetr,
  efficientNms,
];

/** What the caller knows better than the model. */
export interface RecogniseOptions {
  /** Name of the head; recognised if left out. */
  readonly head?: string | undefined;
  /** What is done to an image, where it is not the head's way. */
  readonly preprocessing?: PreprocessingOptions | undefined;
  /** Class names by id; they also say how many classes there are. Default: the metadata's, else COCO's where they fit. */
  readonly labels?: readonly string[] | undefined;
  /** True: nothing is logged of what was assumed. */
  readonly isSilent?: boolean | undefined;
  /** What to call the model in messages. */
  readonly source?: string | undefined;
}

/** Tasks whose boxes the dense and end-to-end heads give as well. */
const BOX_TASKS: readonly string[] = ["detect", "segment", "pose"];

/**
 * A head by name.
 *
 * @throws {OptionError} If there is none; it names the nearest
 */
export function headNamed(name: string): Head {
  const head = HEADS.find((known) => known.name === name);
  if (head !== undefined) return head;
  const names = HEADS.map((known) => known.name);
  throw new OptionError(unknownWord("head", name, names), "head");
}

function listHeads(heads: readonly Head[]): string {
  return heads.map(({ name, summary }) => `  ${name}: ${summary}`).join("\n");
}

/** An input that the recognised head does not fill would leave the model without it. */
function isFed(model: ModelInfo, recognition: ModelSpec): boolean {
  return model.inputs.every(({ name }) => isFedBy(recognition, name));
}

function isFedBy({ imageInput, sizeInputs }: ModelSpec, name: string): boolean {
  return name === imageInput || sizeInputs.some((input) => input.name === name);
}

/** What to do where nothing more is known. */
const ANY_HINT =
  "name the head by the option `head`, give the class names by `labels`, or export the model in a known head";

function refuse(
  model: ModelInfo,
  options: RecogniseOptions,
  found: string,
  list: readonly Head[],
  hint: string = ANY_HINT,
): never {
  const source = options.source ?? "the model";
  const names = options.labels === undefined ? "" : ` with ${options.labels.length} labels given`;
  const title = list.length === HEADS.length ? "heads known" : "heads";
  throw new ModelError(
    message(
      `use ${source} as a detector${names}`,
      `${found}\n${formatModelInfo(model)}\n${title}:\n${listHeads(list)}`,
      hint,
    ),
    source,
  );
}

/** Boxes and the scores of classes in outputs of their own, [N, rows, 4] and [N, rows, classes], of more rows than object queries. */
function splitHead({ outputs }: ModelInfo): { readonly boxes: TensorInfo; readonly scores: TensorInfo } | undefined {
  const [a, b, ...others] = outputs;
  if (a === undefined || b === undefined || others.length > 0) return undefined;
  if (![a, b].every((info) => isFloat(info) && info.shape.length === 3) || a.shape[1] !== b.shape[1]) return undefined;
  if (a.shape[1]! <= MOST_CHOSEN) return undefined;
  if (a.shape[2] === 4) return { boxes: a, scores: b };
  return b.shape[2] === 4 ? { boxes: b, scores: a } : undefined;
}

/** Of a head in two outputs neither is a head by itself, whatever its shape fits. */
function refuseSplitHead({ model }: ModelTraits, source = "the model"): void {
  const head = splitHead(model);
  if (head === undefined) return;
  const [boxes, scores] = [head.boxes, head.scores].map(formatTensorInfo);
  const text = `its boxes and the scores of its classes come apart, before NMS: ${boxes} and ${scores}`;
  const hint =
    'if the boxes are x1, y1, x2, y2 in pixels, as YOLO-NAS has them, name the head "damo-yolo" and say the pre-processing; ' +
    "else export it with its NMS";
  throw new ModelError(message(`use ${source} as a detector`, text, hint), source);
}

function fittingHeads(
  traits: ModelTraits,
  heads: readonly Head[],
): { head: Head; recognition: ModelSpec | undefined }[] {
  return heads
    .map((head) => ({ head, recognition: head.recognise(traits) }))
    .filter(({ recognition }) => recognition !== undefined && isFed(traits.model, recognition))
    .filter(({ recognition }) => traits.forced || recognition!.unexplained.length === 0);
}

/** Where a model is known but for an output that no head knows, that output is what shows that it is another. */
function refuseUnexplained(traits: ModelTraits, heads: readonly Head[], source = "the model"): void {
  const found = heads.map((head) => head.recognise(traits)).filter((recognition) => recognition !== undefined);
  const nearest = found.filter((recognition) => isFed(traits.model, recognition));
  if (nearest.length === 0) return;
  const { unexplained } = nearest.reduce((a, b) => (b.unexplained.length < a.unexplained.length ? b : a));
  const names = nearest.map(({ head }) => JSON.stringify(head)).join(" or ");
  const text = `no head has ${unexplained.map(formatTensorInfo).join(", ")} beside the rest, which would be ${names}`;
  const hint =
    "it may be another model that wants another reading: if it is not, name the `head`, and check what is found";
  throw new ModelError(message(`use ${source} as a detector`, text, hint), source);
}

/** Where a model is known but for its names, given or its own, their number is what is wrong, and no head. */
function refuseLabels(
  traits: ModelTraits,
  { labels, source = "the model" }: RecogniseOptions,
  heads: readonly Head[],
): void {
  const { model, names, forced } = traits;
  if (names === undefined) return;
  // Names that were given are left out first: the model's own may tell how many it has.
  const isGiven = labels !== undefined && labels.length > 0;
  const known = isGiven ? fittingHeads({ ...readTraits(model, {})!, forced }, heads) : undefined;
  const unnamed = { ...traits, names: undefined, classes: undefined };
  const found = known?.length === 1 ? known : fittingHeads(unnamed, heads);
  const classes = found.length === 1 ? found[0]!.recognition!.labels.length : undefined;
  if (!classes || classes === names.length) return;
  const text = isGiven
    ? `it must be given as many class names as it has classes: ${names.length} for ${classes}`
    : `its metadata "names" must have as many class names as it has classes: ${names.length} for ${classes}`;
  const how = "give one name for each class, in the order of their numbers";
  const hint = `${how}${isGiven ? "" : ", by `labels`"}; one that is never found, such as a background, may have any`;
  throw new ModelError(message(`use ${source} as a detector`, text, hint), source);
}

/** Where a model is known but for an input that nothing fills, that input is what is wrong. */
function refuseUnfed(traits: ModelTraits, heads: readonly Head[], source = "the model"): void {
  const { inputs } = traits.model;
  const found = heads.map((head) => head.recognise(traits)).find((recognition) => recognition !== undefined);
  if (found === undefined) return;
  const unfed = inputs.filter(({ name }) => !isFedBy(found, name)).map(formatTensorInfo);
  const hint = "export it so that it takes the image alone";
  const text = `it is ${found.head}, which does not say what to fill ${unfed.join(", ")} with`;
  throw new ModelError(message(`use ${source} as a detector`, text, hint), source);
}

/**
 * The heads that a model may have: LibreYOLO's exports share tensors with families that are read otherwise.
 *
 * @throws {ModelError} If the metadata names a family of which it is not known how it is read
 */
function possibleHeads({ model }: ModelTraits, source = "the model"): readonly Head[] {
  const family = libreYoloFamily(model.metadata);
  if (family === undefined) return HEADS;
  const known = headOfLibreYolo(family);
  if (known !== undefined) return HEADS.filter(({ name }) => name === known);
  const found = `it is LibreYOLO's family ${JSON.stringify(family)}, of which it is not known what is done to an image`;
  const hint =
    'name the head, "libreyolo" where boxes are corners in pixels, and say the `preprocessing` of its training; or export ' +
    "it with the family's own exporter";
  throw new ModelError(message(`use ${source} as a detector`, found, hint), source);
}

function recogniseFreely(traits: ModelTraits, options: RecogniseOptions): ModelSpec {
  const { model } = traits;
  const heads = possibleHeads(traits, options.source);
  const found = fittingHeads(traits, heads);
  if (found.length === 0) {
    if (splitHead(model) !== undefined) refuseLabels(traits, options, heads);
    refuseSplitHead(traits, options.source);
    refuseUnexplained(traits, heads, options.source);
    refuseUnfed(traits, heads, options.source);
    refuseLabels(traits, options, heads);
    refuse(model, options, "its tensors fit no known head:", heads);
  }
  if (found.length > 1) {
    const fitting = found.map(({ head }) => head);
    refuse(model, options, `its tensors fit ${found.length} heads, and nothing tells which:`, fitting);
  }
  return found[0]!.recognition!;
}

function recogniseAs(head: Head, traits: ModelTraits, options: RecogniseOptions): ModelSpec {
  const { model } = traits;
  const forced = { ...traits, forced: true };
  const recognition = head.recognise(forced);
  if (recognition !== undefined && isFed(model, recognition)) {
    // A part of a head reads as any other output: what would be found is nothing, or nonsense.
    if (recognition.unexplained.length > 0) refuseSplitHead(traits, options.source);
    return recognition;
  }
  // Where another head takes as many names, it is not these that are wrong.
  const others = fittingHeads(traits, HEADS);
  if (others.length === 0) refuseLabels(forced, options, [head]);
  if (others.length === 0) refuseSplitHead(traits, options.source);
  const names = others.map((other) => JSON.stringify(other.head.name)).join(" or ");
  const hint = others.length === 0 ? "leave `head` out, or export the model in a known head" : `they fit ${names}`;
  return refuse(model, options, `its tensors do not fit the head ${JSON.stringify(head.name)}:`, [head], hint);
}

/** @throws {ModelError} If no image fits into the input: nothing would be found wrong before the first one came */
function refuseEmptyInput({ model, image }: ModelTraits, source = "the model"): void {
  const info = model.inputs.find(({ name }) => name === image.name);
  if (info === undefined || !info.shape.includes(0)) return;
  const found = `its input ${formatTensorInfo(info)} has room for no image`;
  const hint = "export it with the sizes of the batch and the images, or with these open";
  throw new ModelError(message(`use ${source} as a detector`, found, hint), source);
}

/** Nothing in the file tells which DEIMv2 it is, but upstream's names of those with another pre-processing do. */
function warnOfDinov3({ head }: ModelSpec, { source = "" }: RecogniseOptions): void {
  if (head !== rtdetr.name || !/dinov3/i.test(source)) return;
  const hint = `it wants ImageNet's mean and deviation: give the head ${JSON.stringify(deimv2Imagenet.name)}`;
  logger.warn(`Reading ${source} as head ${JSON.stringify(head)}: if it is DEIMv2 with DINOv3, ${hint}`);
}

/** What was left aside where the tensors, or the caller, say otherwise than the model. */
function warnOfContradictions(
  { head, needsNms, unexplained }: ModelSpec,
  { rowsAreFinal }: ModelTraits,
  { head: named, source = "the model" }: RecogniseOptions,
): void {
  if (rowsAreFinal && needsNms && named === undefined) {
    logger.warn(`Ignoring that the metadata of ${source} says that NMS is done, as its output is a raw grid`);
  }
  if (unexplained.length === 0) return;
  const outputs = unexplained.map(formatTensorInfo).join(", ");
  logger.warn(`Reading ${source} as head ${JSON.stringify(head)} although that has no ${outputs}`);
}

/** What the caller says of the pre-processing counts, and is assumed no longer. */
function withSaid(recognition: ModelSpec, { preprocessing }: RecogniseOptions): ModelSpec {
  if (preprocessing === undefined) return recognition;
  return {
    ...recognition,
    preprocessing: withOptions(recognition.preprocessing, preprocessing),
    assumptions: [],
  };
}

/** @throws {ModelError} If the metadata names a task whose outputs hold no boxes. A caller who names the head knows better */
function refuseTask({ task, model }: ModelTraits, source = "the model"): void {
  if (task === undefined || BOX_TASKS.includes(task)) return;
  const found = `its task is ${JSON.stringify(model.metadata.task)}`;
  const hint =
    "only detection is supported, and the boxes of segmentation and pose models; if it gives boxes, name its `head`";
  throw new ModelError(message(`use ${source} as a detector`, found, hint), source);
}

/**
 * Recognise a model's head from its metadata, names and shapes. A model that tells neither its classes nor
 * their number is given COCO's 80 names, and one of 91 unnamed classes those of COCO's ids, with a warning in the log.
 *
 * @returns the head, and the pre-processing, labels and decode plan that follow from it
 * @throws {ModelError} If no head fits, or several do; it lists the tensors, and the heads with what each wants. Or if
 *   the input has no elements
 * @throws {OptionError} If `options.head` is no head's name
 */
export function recogniseModel(model: ModelInfo, options: RecogniseOptions): ModelSpec {
  const forced = options.head === undefined ? undefined : headNamed(options.head);
  const traits = readTraits(model, options);
  if (traits === undefined)
    refuse(model, options, "no input takes a batch of images of three channels, in f32, f16 or u8:", HEADS);
  refuseEmptyInput(traits, options.source);
  if (forced === undefined) refuseTask(traits, options.source);
  const found = forced === undefined ? recogniseFreely(traits, options) : recogniseAs(forced, traits, options);
  const recognition = withSaid(found, options);
  if (options.isSilent === true) return recognition;
  warnOfDinov3(recognition, options);
  warnOfContradictions(recognition, traits, options);
  if (traits.names === undefined && recognition.labels === COCO_91) {
    logger.warn(
      `Assuming the names of COCO's 91 ids as ${options.source ?? "the model"} has 91 classes and does not tell their names: ` +
        "one that was trained on other data may keep their number; give `labels`",
    );
  }
  const { kind } = recognition.plan;
  if (traits.names === undefined && (kind === "rows" || kind === "columns")) {
    logger.warn(
      `Assuming COCO's 80 class names as ${options.source ?? "the model"} does not tell its own: give \`labels\``,
    );
  }
  for (const assumption of recognition.assumptions)
    logger.warn(`Assuming for ${options.source ?? "the model"} ${assumption}`);
  return recognition;
}
