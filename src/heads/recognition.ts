/** @module Recognition: which of the known heads a model has, and what is said where that cannot be told. */

import { ModelError, message, OptionError } from "../core/errors.ts";
import { unknownWord } from "../core/options.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { plural } from "../core/units.ts";
import { formatModelInfo, type ModelInfo } from "../model/model-info.ts";
import { ANCHORED_HEADS, SAY_ANCHORS } from "./anchor-maps.ts";
import { usualAnchors } from "./anchors.ts";
import { damoYolo, headOfLibreYolo, libreYolo, libreYoloFamily, sayingOfYoloNas, splitOutputs } from "./corners.ts";
import { denseOutputs, isTurnedAnchors, MOST_CHOSEN, readDense } from "./dense-reading.ts";
import { efficientDet } from "./efficientdet.ts";
import { type Head, type ModelSpec, naming, type RecogniseOptions, saying } from "./head.ts";
import { isOfMasksOnly, OF_MASKS_ONLY } from "./hugging-face.ts";
import { whyNoImage } from "./image-input.ts";
import {
  fitting,
  HEADS,
  headNamed,
  headRows,
  isFedBy,
  nameable,
  nameableBeside,
  readings,
  refuseTaken,
} from "./registry.ts";
import { withMaps } from "./shaping-config.ts";
import {
  facadeOf,
  findClassScores,
  isOfCrops,
  loadHint,
  type ModelTraits,
  OF_CROPS,
  quoted,
  readTraits,
  shown,
} from "./traits.ts";
import { warnOfReading, withConfig, withLevels, withNamesBeside, withSaid } from "./with-said.ts";
import { isOpenToOthers, yolo } from "./yolo.ts";

/** Tasks whose boxes the dense and end-to-end heads give as well. */
const BOX_TASKS: readonly string[] = ["detect", "segment", "pose"];

/** @throws {ModelError} Always. @param found what is wrong with the model */
export function refuse(
  { source = "the model", noun = "a detector" }: RecogniseOptions,
  found: string,
  hint: string,
  readings: readonly string[] = [],
): never {
  throw new ModelError(message(`use ${source} as ${noun}`, found, hint), source, { readings });
}

/** With the tensors, and the heads that they were compared with. */
function refuseTensors(
  model: ModelInfo,
  options: RecogniseOptions,
  found: string,
  heads: readonly Head[],
  hint: string,
  named: readonly string[],
): never {
  const title = heads === HEADS ? "heads known" : "heads";
  const rows = headRows(heads, model, named);
  refuse(options, `${found}\n${formatModelInfo(model)}\n${title}:\n  ${rows.join("\n  ")}`, hint, named);
}

/** What helps where no head fits by itself. */
function waysOut(names: readonly string[], { outputs }: ModelInfo): string {
  const lost =
    outputs.length > 1 ? "; where they have lost their names, give them those that are listed with the head" : "";
  if (names.length === 0) return `export it so that its outputs are those of a head that is known${lost}`;
  return `if it has one of these heads, name it by ${naming(names)}; say the \`preprocessing\` where it wants another`;
}

/** Of several outputs each may be the head: which one is for the caller to say. */
function refuseSeveral(traits: ModelTraits, options: RecogniseOptions, heads: readonly Head[]): void {
  const { model } = traits;
  const headOf = ({ name }: TensorInfo): string | undefined =>
    fitting({ ...traits, model: withOutput(model, name) }, heads)[0]?.head;
  const outputs = denseOutputs(model).filter((info) => headOf(info) !== undefined);
  if (outputs.length < 2) return;
  const readings = outputs.map((info) => `${headOf(info)}:${info.name}`);
  const hint = `name the head with the output, by ${naming(readings)}`;
  const names = outputs.map(({ name }) => name);
  refuse(
    options,
    `each of its outputs ${quoted(names, ", ")} may be its head, and nothing tells which`,
    hint,
    readings,
  );
}

/** Where a model has the maps of a head of anchors, and no anchors, these are what is missing. */
function refuseAnchorless(traits: ModelTraits, options: RecogniseOptions, heads: readonly Head[]): void {
  if (traits.anchors !== undefined) return;
  const found = fitting({ ...traits, anchors: usualAnchors("yolov5") }, heads);
  const names = found.map(({ head }) => head);
  if (names.length === 0) return;
  const how = names.length === 1 ? "" : `name the head by ${naming(names)}, and `;
  const text = `its outputs are raw maps of anchors (${found[0]!.reason}), and nothing tells the anchors`;
  refuse(options, text, `${how}${SAY_ANCHORS}; or export it with its grid (YOLOv5: export.py; YOLOv7: --grid)`, names);
}

/** Rows of anchors have objectness, which is not read where channels come first: naming the head says that they have none. */
function refuseTurned(traits: ModelTraits, options: RecogniseOptions): void {
  const reading = readDense(traits);
  if (reading === undefined || !isTurnedAnchors(reading)) return;
  const { output, channels, rows } = reading;
  const found = `its output ${shown(output)} has three rows a cell, which have objectness, and its channels come first`;
  const turned = `[N, ${rows}, ${channels}]`;
  const hint =
    `turn its output round, to ${turned}, as YOLOv5's export.py and YOLOv7's export it; if its channels are a box and ` +
    `classes without objectness, name the head by ${naming([yolo.name])}`;
  refuse(options, found, hint, [yolo.name]);
}

/** As many channels as a box and classes that no names tell, or other things behind fewer of them. */
function refuseOpenChannels(traits: ModelTraits, options: RecogniseOptions): void {
  const reading = readDense(traits);
  if (reading === undefined || yolo.recognise(traits) !== undefined || !isOpenToOthers(reading, traits)) return;
  const found =
    `its output ${shown(reading.output)} may be a box and ${reading.channels - 4} classes, or fewer of them with objectness, an angle, ` +
    "points, or coefficients of masks, and nothing tells which";
  const hint =
    "give its `task` (`--task obb`, `--task pose`), or its class names by `labels` (`--labels FILE`); if all are classes, name the " +
    `head by ${naming([yolo.name])}`;
  refuse(options, found, hint, [yolo.name]);
}

/** More channels than a box and the classes that are named: what the others are is for the caller to say. */
function refuseFurtherChannels(traits: ModelTraits, options: RecogniseOptions): void {
  const reading = readDense(traits);
  const { classes } = traits;
  if (reading?.channelAxis !== 1 || reading.hasMasks || classes === undefined || traits.task !== undefined) return;
  const further = reading.channels - 4 - classes;
  if (further < 1) return;
  const found =
    `its output ${shown(reading.output)} has ${plural(further, "channel")} behind a box and ${plural(classes, "class")}, and nothing tells ` +
    "what they are";
  refuse(
    options,
    found,
    "give its `task` (`--task obb` for an angle, `--task pose` for points), or a name for each class",
  );
}

/** Of a head in two outputs neither is a head by itself, whatever its shape fits. */
function refuseSplit(traits: ModelTraits, options: RecogniseOptions): void {
  const pair = splitOutputs(traits.model);
  if (pair === undefined || pair.boxes.shape[1]! <= MOST_CHOSEN) return;
  const { boxes, scores } = pair;
  const found = `its boxes ${shown(boxes)} and the scores of its classes ${shown(scores)} come apart, before NMS`;
  const isOfOffsets = efficientDet.recognise({ ...traits, forced: true }) !== undefined;
  const ofOffsets = isOfOffsets ? `if they are offsets, by ${naming([efficientDet.name])}; ` : "";
  const hint =
    `if the boxes are x1, y1, x2, y2 in pixels, as YOLO-NAS has them, name the head by ${naming([damoYolo.name])}, and for YOLO-NAS give ` +
    `${sayingOfYoloNas(traits)}; ${ofOffsets}else export it with its NMS`;
  refuse(options, found, hint, isOfOffsets ? [damoYolo.name, efficientDet.name] : [damoYolo.name]);
}

/** Where a model is known but for an output that no head knows, that output is what shows that it is another. */
function refuseUnexplained(traits: ModelTraits, options: RecogniseOptions, heads: readonly Head[]): void {
  const found = readings(traits, heads);
  if (found.length === 0) return;
  const { unexplained } = found.reduce((a, b) => (b.unexplained.length < a.unexplained.length ? b : a));
  const names = found.map(({ head }) => head);
  const text = `no head has ${unexplained.map(shown).join(", ")} beside the rest, which would be ${quoted(names, " or ")}`;
  const hint = `it may be another model that wants another reading; if it is not, name the head by ${naming(names)}, and check what is found`;
  refuse(options, text, hint, names);
}

/** Where a model is known but for its names, given or its own, their number is what is wrong, and no head. */
export function refuseLabels(traits: ModelTraits, options: RecogniseOptions, heads: readonly Head[]): void {
  const { model, names, forced } = traits;
  if (names === undefined) return;
  // Names that were given are left out first: the model's own may tell how many it has.
  const isGiven = options.labels !== undefined && options.labels.length > 0;
  const known = isGiven ? fitting({ ...readTraits(model)!, forced }, heads) : [];
  const found = known.length === 1 ? known : fitting({ ...traits, names: undefined, classes: undefined }, heads);
  const classes = found.length === 1 ? found[0]!.labels.length : undefined;
  if (!classes || classes === names.length) return;
  const text = isGiven
    ? `it has ${plural(classes, "class")}, got ${plural(names.length, "class name")}`
    : `it has ${plural(classes, "class")}, but its metadata "names" has ${plural(names.length, "class name")}`;
  const how = `give one name for each class${isGiven ? "" : ", by `labels` (`--labels FILE`)"}, in the order of their numbers`;
  refuse(options, text, `${how}; one that is never found, such as a background, may have any`);
}

/** Where a model is known but for an input that nothing fills, that input is what is wrong. */
export function refuseUnfed(traits: ModelTraits, options: RecogniseOptions, heads: readonly Head[]): void {
  const found = heads.map((head) => head.recognise(traits)).find((spec) => spec !== undefined);
  if (found === undefined) return;
  const unfed = traits.model.inputs.filter(({ name }) => !isFedBy(found, name)).map(shown);
  if (unfed.length === 0) return;
  const text = `its head is ${JSON.stringify(found.head)}, which does not say what to fill ${unfed.join(", ")} with`;
  refuse(options, text, "export it so that the image is its only input");
}

/**
 * The head of the caller's that a model has: the one that is named, or the one that knows it for its own.
 *
 * @throws {ModelError} If several do
 */
export function ownHeadOf(traits: ModelTraits, options: RecogniseOptions): Head | undefined {
  const { head, heads = [] } = options;
  refuseTaken(heads);
  if (head !== undefined) return heads.find(({ name }) => name === head.split(":")[0]);
  const found = fitting(traits, heads).map((spec) => spec.head);
  if (found.length < 2) return heads.find(({ name }) => name === found[0]);
  const text = `${found.length} of the heads that were given, ${quoted(found, ", ")}, take it for their own`;
  return refuse(options, text, `say which, by ${naming(found)}, or let the others' \`recognise\` ask for more`);
}

/** The same of a model whose traits are not known yet. */
export function ownHeadFor(model: ModelInfo, options: RecogniseOptions): Head | undefined {
  if (options.heads === undefined || options.heads.length === 0) return undefined;
  const traits = readTraits(model, options);
  return traits && ownHeadOf(traits, options);
}

/** The heads that a model may have: LibreYOLO's exports share tensors with families that are read otherwise. */
function possibleHeads({ model }: ModelTraits, options: RecogniseOptions): readonly Head[] {
  const family = libreYoloFamily(model.metadata);
  if (family === undefined) return HEADS;
  const known = headOfLibreYolo(family);
  if (known !== undefined) return HEADS.filter(({ name }) => name === known);
  const found = `it is LibreYOLO's family ${JSON.stringify(family)}, of which it is not known what is done to an image`;
  const hint =
    `name the head by ${naming([libreYolo.name])} where boxes are corners in pixels, and say the \`preprocessing\` of its training; ` +
    "or export it with the family's own exporter";
  return refuse(options, found, hint);
}

/** What LibreYOLO's YOLOv9 does not say before version 1.2 is how an image was padded, and nothing else. */
function refuseUnpadded(traits: ModelTraits, options: RecogniseOptions, heads: readonly Head[]): void {
  const { metadata } = traits.model;
  const isRead = heads.includes(libreYolo) && fitting({ ...traits, forced: true }, [libreYolo]).length > 0;
  if (!isRead || metadata.letterbox_pad !== undefined) return;
  const found = `it is LibreYOLO's ${JSON.stringify(metadata.model_family)}, whose metadata has no "letterbox_pad": how an image is padded is open`;
  const hint =
    `name the head by ${naming([libreYolo.name])}, which pads right and below as LibreYOLO did before version 1.6; for an image in the ` +
    `middle also give ${saying({ fit: "letterbox" })}`;
  refuse(options, found, hint, [libreYolo.name]);
}

/** Where a model has the tensors of several heads, the one that it has may also be one that is only read where it is named. */
function refuseAmbiguous(traits: ModelTraits, options: RecogniseOptions, found: readonly ModelSpec[]): never {
  const names = found.map(({ head }) => head);
  const others = nameableBeside(found, traits);
  const all = [...names, ...others];
  const fits = HEADS.filter(({ name }) => all.includes(name));
  const text = `its tensors fit ${found.length} heads, and nothing tells which it has`;
  const otherwise = others.length === 0 ? "" : `; if it has none of these, by ${naming(others)}`;
  refuseTensors(traits.model, options, text, fits, `say which, by ${naming(names)}${otherwise}`, all);
}

function recogniseFreely(traits: ModelTraits, options: RecogniseOptions): ModelSpec {
  const { model } = traits;
  if (isOfMasksOnly(model)) refuse(options, OF_MASKS_ONLY.found, OF_MASKS_ONLY.hint);
  const heads = possibleHeads(traits, options);
  const found = fitting(traits, heads);
  if (found.length === 0) {
    if (isOfCrops(model)) refuse(options, OF_CROPS.found, OF_CROPS.hint);
    if (heads !== HEADS) refuseUnpadded(traits, options, heads);
    if (findClassScores(model) !== undefined) refuseClassifier(model, options.source);
    if (splitOutputs(model) !== undefined) refuseLabels(traits, options, heads);
    refuseTurned(traits, options);
    refuseOpenChannels(traits, options);
    refuseAnchorless(traits, options, ANCHORED_HEADS);
    refuseSplit(traits, options);
    refuseSeveral(traits, options, heads);
    refuseUnexplained(traits, options, heads);
    refuseUnfed(traits, options, heads);
    refuseLabels(traits, options, heads);
    refuseFurtherChannels(traits, options);
    const names = nameable(traits, options.heads);
    refuseTensors(model, options, "its tensors fit no known head", heads, waysOut(names, model), names);
  }
  if (found.length > 1) refuseAmbiguous(traits, options, found);
  return found[0]!;
}

function recogniseAs(head: Head, traits: ModelTraits, options: RecogniseOptions): ModelSpec {
  const forced = { ...traits, forced: options.head !== undefined };
  const [spec] = readings(forced, [head]);
  if (spec !== undefined) {
    // A part of a head reads as any other output: what would be found is nothing, or nonsense.
    if (spec.unexplained.length > 0) refuseSplit(traits, options);
    return spec;
  }
  // Where another head takes as many names, it is not these that are wrong.
  const others = fitting(traits, HEADS).map((other) => other.head);
  if (others.length === 0) {
    if (ANCHORED_HEADS.includes(head)) refuseAnchorless(forced, options, [head]);
    refuseLabels(forced, options, [head]);
    refuseSplit(traits, options);
    refuseSeveral(forced, options, [head]);
  }
  const text = `its tensors do not fit the head ${JSON.stringify(head.name)}`;
  const names = others.length === 0 ? nameable(traits, options.heads) : others;
  const hint = others.length === 0 ? waysOut(names, traits.model) : `they fit ${naming(others)}`;
  return refuseTensors(traits.model, options, text, [head], hint, names);
}

/** @throws {ModelError} If no image fits into the input: nothing would be found wrong before the first one came */
function refuseEmptyInput({ model, image }: ModelTraits, options: RecogniseOptions): void {
  const info = model.inputs.find(({ name }) => name === image.name);
  if (info === undefined || !info.shape.includes(0)) return;
  const hint = "export it with the sizes of the batch and the images, or with these open";
  refuse(options, `its input ${shown(info)} has room for no image`, hint);
}

/** @throws {ModelError} That says what shows that it is a classifier, and what it is loaded with */
export function refuseClassifier({ outputs, metadata }: ModelInfo, source = "the model"): never {
  const { task } = metadata;
  const reason = task
    ? `its task is ${JSON.stringify(task)}`
    : `its output ${shown(outputs[0]!)} has one score a class`;
  const facade = "Classifier";
  const text = message(`use ${source} as a detector`, `it is a classifier, ${reason}`, loadHint(facade));
  throw new ModelError(text, source, { facade });
}

/** @throws {ModelError} If the metadata names a task whose outputs hold no boxes. A caller who names the head knows better */
function refuseTask(traits: ModelTraits, options: RecogniseOptions): void {
  const { task, model } = traits;
  if (task === undefined || BOX_TASKS.includes(task)) return;
  if (findClassScores(model) !== undefined) refuseClassifier(model, options.source);
  const names = nameable(traits);
  const otherwise = names.length === 0 ? "" : `; if it gives boxes, name its head by ${naming(names)}`;
  const facade = facadeOf(task);
  const hint =
    facade === undefined
      ? "tasks known are detect, segment, pose, obb, classify, semantic and depth"
      : loadHint(facade);
  refuse(options, `its task is ${JSON.stringify(model.metadata.task ?? task)}`, `${hint}${otherwise}`);
}

/** A model without the outputs that may be a dense head, but for one. */
function withOutput(model: ModelInfo, name: string): ModelInfo {
  const others = denseOutputs(model).filter((info) => info.name !== name);
  return { ...model, outputs: model.outputs.filter((info) => !others.includes(info)) };
}

/** The head that a caller names, and the model without the outputs that it is not: `yolo:output0`. */
function namedHead(
  said: string,
  model: ModelInfo,
  own: readonly Head[] | undefined,
): { readonly head: Head; readonly model: ModelInfo } {
  const [name = "", ...rest] = said.split(":");
  const head = headNamed(name, own);
  if (rest.length === 0) return { head, model };
  const output = rest.join(":");
  const names = denseOutputs(model).map((info) => info.name);
  if (!names.includes(output)) throw new OptionError(unknownWord("output", output, names), "head");
  return { head, model: withOutput(model, output) };
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
export function recogniseModel(given: ModelInfo, options: RecogniseOptions): ModelSpec {
  return withNamesBeside(given, options, (said) => recogniseOnce(given, said));
}

function recogniseOnce(given: ModelInfo, options: RecogniseOptions): ModelSpec {
  const named = options.head === undefined ? undefined : namedHead(options.head, given, options.heads);
  const model = named?.model ?? given;
  const traits = readTraits(model, options);
  if (traits === undefined) {
    const { found, hint } = whyNoImage(model);
    return refuse(options, `${found}\n${formatModelInfo(model)}`, hint);
  }
  refuseEmptyInput(traits, options);
  const head = named?.head ?? ownHeadOf(traits, options);
  if (head === undefined) refuseTask(traits, options);
  const found = head === undefined ? recogniseFreely(traits, options) : recogniseAs(head, traits, options);
  const alternatives = nameable(traits).filter((name) => name !== found.head);
  // Of a model that says more than boxes these are all that is asked for.
  const { extras: _, keypoints: __, masks: ___, ...boxesOnly } = found;
  const told = withConfig({ ...boxesOnly, alternatives }, options.exporterBeside, traits.names !== undefined);
  const spec = withSaid(withLevels(told, options.levelsIn), options);
  if (options.isSilent !== true) warnOfReading(spec, traits, options);
  return withMaps(spec, given, options.source);
}
