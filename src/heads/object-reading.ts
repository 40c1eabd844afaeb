/** @module Object reading: which models say more of an object than its box, and where that lies in their outputs. */

import { OptionError } from "../core/errors.ts";
import { formatShape } from "../core/tensor.ts";
import { plural } from "../core/units.ts";
import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { type ModelInfo, parseLiteral } from "../model/model-info.ts";
import type { RowExtra } from "../model/rows.ts";
import {
  type DenseReading,
  densePlan,
  isTurnedAnchors,
  MASK_CHANNELS,
  prototypesOf,
  readDense,
} from "./dense-reading.ts";
import { type Head, type KeypointForm, type ModelSpec, naming, type RecogniseOptions, specOf } from "./head.ts";
import { isOfMasksOnly, OF_MASKS_ONLY } from "./hugging-face.ts";
import { whyNoImage } from "./image-input.ts";
import type { DensePlan, RowsPlan } from "./plans.ts";
import { ownHeadFor, ownHeadOf, recogniseModel, refuse, refuseLabels, refuseUnfed } from "./recognition.ts";
import { fitting, headOf, likelyHeads, OBJECT_HEADS } from "./registry.ts";
import { rowsPlan } from "./rows.ts";
import { withMaps } from "./shaping-config.ts";
import {
  evidentMap,
  facadeOf,
  findClassScores,
  isNamedClassifier,
  isObjectTask,
  isOfCrops,
  loadHint,
  type ModelTraits,
  OBJECT_TASKS,
  type ObjectTaskName,
  OF_CROPS,
  readTraits,
} from "./traits.ts";
import { withConfig, withLevels, withNamesBeside, withSaid } from "./with-said.ts";
import { yolo, yoloEndToEnd } from "./yolo.ts";

/** What a model of objects was recognised as. */
export interface ObjectSpec extends ModelSpec {
  readonly task: ObjectTaskName;
  /**
   * What is fetched for each row: of a pose model its points; of one of oriented boxes cx, cy, w, h in input pixels, and then the
   * angle in radians; of a segmentation model the coefficients of its prototypes. None where a plan says where the points are.
   */
  readonly extras: readonly RowExtra[];
}

/** Channels of a box, and of a box, a score and a class. */
const BOX_CHANNELS = 4;
const ROW_CHANNELS = 6;
/** Points of a person in COCO, x, y and a score each. */
const COCO_KEYPOINTS = 17;

/** True for rows that are final, as their number of columns confirms. */
function hasFinalRows({ channelAxis, rowKind }: DenseReading, traits: ModelTraits): boolean {
  return channelAxis === 2 && (traits.rowsAreFinal || (traits.task === undefined && rowKind === "other"));
}

/** Heads of one task, or of any; of this name, if the caller named one. */
function headsOf(
  name: string | undefined,
  task: ObjectTaskName | undefined,
  own: readonly Head[] = [],
): readonly Head[] {
  return [...own, ...OBJECT_HEADS].filter(
    (head) => (name ?? head.name) === head.name && (task ?? head.task) === head.task,
  );
}

/** What they make of a model whose outputs tell it: their names do, or the caller named the head. */
function readByHead(
  traits: ModelTraits,
  { head, heads }: Pick<RecogniseOptions, "head" | "heads">,
  task?: ObjectTaskName,
): ModelSpec | undefined {
  return fitting({ ...traits, forced: head !== undefined }, headsOf(head, task, heads))[0];
}

/** The head by which a model's outputs tell its task, or that the caller named; `undefined` where metadata or numbers tell. */
export function evidentHead(
  model: ModelInfo,
  options: Pick<RecogniseOptions, "head" | "heads" | "labels" | "labelsBeside" | "namesBeside"> = {},
): Head | undefined {
  const traits = readTraits(model, options);
  const spec = traits && readByHead(traits, options);
  return spec && headOf(spec, options.heads);
}

/**
 * The task that a model evidently has: the metadata says so, or its outputs are those of no other. A raw pose or oriented
 * detector without metadata has the shapes of a detector of more classes.
 */
export function evidentTask(
  model: ModelInfo,
  options: Pick<RecogniseOptions, "head" | "heads" | "labels" | "labelsBeside" | "namesBeside" | "keypointShape"> = {},
): ObjectTaskName | undefined {
  const traits = readTraits(model, options);
  const own = traits && ownHeadOf(traits, options);
  if (own !== undefined) return own.task;
  if (traits === undefined || traits.family === "rtdetr") return undefined;
  if (traits.task !== undefined) return isObjectTask(traits.task) ? traits.task : undefined;
  const byHead = evidentHead(model, options)?.task;
  if (byHead !== undefined || options.keypointShape !== undefined) return byHead ?? "pose";
  const reading = readDense(traits);
  if (reading === undefined || model.outputs.length > 2) return undefined;
  const isFinal = hasFinalRows(reading, traits);
  if (prototypesOf(model) !== undefined) {
    const isRaw = reading.channelAxis === 1 && reading.channels > BOX_CHANNELS + MASK_CHANNELS;
    return isRaw || (isFinal && reading.channels === ROW_CHANNELS + MASK_CHANNELS) ? "segment" : undefined;
  }
  const isPose = isFinal && traits.classes === undefined && reading.channels === ROW_CHANNELS + COCO_KEYPOINTS * 3;
  return isPose && model.outputs.length === 1 ? "pose" : undefined;
}

type KeypointShape = readonly [count: number, numbers: 2 | 3];

/** The task that a model's metadata or outputs tell, and the façade that loads it; `undefined` where they tell of none. */
export function evidentFacade(
  model: ModelInfo,
  options: Pick<RecogniseOptions, "labels" | "head" | "heads" | "namesBeside"> = {},
): { readonly task: string; readonly facade: string } | undefined {
  const own = ownHeadFor(model, options);
  if (own !== undefined) return { task: own.task ?? "detect", facade: facadeOf(own.task ?? "detect")! };
  const isClassifier = isNamedClassifier(model) || findClassScores(model) !== undefined;
  const evident = evidentTask(model, options) ?? readTraits(model, options)?.task ?? evidentMap(model);
  const task = isClassifier && facadeOf(evident) === undefined ? "classify" : evident;
  const facade = facadeOf(task);
  return task === undefined || facade === undefined ? undefined : { task, facade };
}

/** Points and numbers of `kpt_shape`. */
function keypointShape({ metadata }: ModelInfo): KeypointShape | undefined {
  const value = metadata.kpt_shape === undefined ? undefined : parseLiteral(metadata.kpt_shape);
  if (!Array.isArray(value)) return undefined;
  const [count, numbers] = value;
  const isShape = typeof count === "number" && Number.isInteger(count) && count > 0 && (numbers === 2 || numbers === 3);
  return isShape ? [count, numbers] : undefined;
}

/** Names of points by `kpt_names`: a list, or a dict of one list a class, of which the first counts. */
function keypointNames({ metadata }: ModelInfo, count: number): readonly string[] {
  const value = metadata.kpt_names === undefined ? undefined : parseLiteral(metadata.kpt_names);
  const [names] = value instanceof Map ? value.values() : [value];
  const isList = Array.isArray(names) && names.length === count && names.every((name) => typeof name === "string");
  return isList ? (names as string[]) : [];
}

/** The points among some channels: of this shape, or those of COCO. */
function keypointsIn(model: ModelInfo, channels: number, shape: KeypointShape | undefined): KeypointForm | undefined {
  const [count, numbers] = shape ?? [COCO_KEYPOINTS, channels === COCO_KEYPOINTS * 2 ? 2 : 3];
  return count * numbers === channels
    ? { count, numbers, names: keypointNames(model, count), isClipped: true }
    : undefined;
}

/** Names of what is fetched for each row. */
const EXTRAS: Readonly<Record<ObjectTaskName, string>> = { obb: "angles", segment: "coefficients", pose: "keypoints" };

/** What models are read as whose metadata, or the caller, tells the task; `undefined` if the outputs have another form. */
function readOutputs(
  task: ObjectTaskName,
  traits: ModelTraits,
  said: KeypointShape | undefined,
): ModelSpec<DensePlan | RowsPlan> | undefined {
  const { model } = traits;
  const reading = readDense(traits);
  if (reading === undefined || reading.channels < 0) return undefined;
  const { output, channels } = reading;
  const isFinal = hasFinalRows(reading, traits);
  const shape = keypointShape(model) ?? said;
  const [count, numbers] = shape ?? [0, 0];
  const others = isFinal ? ROW_CHANNELS : BOX_CHANNELS + (traits.classes ?? 1);
  const length = { obb: 1, segment: MASK_CHANNELS, pose: count * numbers || channels - others }[task];
  const first = channels - length;
  const classes = isFinal ? undefined : first - BOX_CHANNELS;
  const isFit =
    classes === undefined
      ? first === ROW_CHANNELS
      : reading.channelAxis === 1 &&
        !isTurnedAnchors(reading) &&
        classes >= 1 &&
        (traits.classes ?? classes) === classes;
  const keypoints = task === "pose" ? keypointsIn(model, length, shape) : undefined;
  const prototypes = task === "segment" ? prototypesOf(model) : undefined;
  const isWhole = task === "obb" || (keypoints ?? prototypes) !== undefined;
  if (length < 1 || !isFit || !isWhole) return undefined;
  const extra = { output: output.name, order: isFinal ? "anchor-major" : "channel-major", channels } as const;
  // Boxes as they are before they become upright.
  const sides: RowExtra = { ...extra, name: "sides", first: 0, length: BOX_CHANNELS };
  const named: RowExtra = { ...extra, name: EXTRAS[task], first, length };
  const parts = {
    outputs: prototypes === undefined ? [output] : [output, prototypes],
    preprocessing: YOLO_PREPROCESSING,
    needsNms: !isFinal,
    extras: task === "obb" ? [sides, named] : [named],
    keypoints,
    masks: prototypes && ({ output: prototypes.name, rule: "ultralytics" } as const),
  };
  if (classes !== undefined)
    return specOf(yolo.name, traits, { ...parts, classes, plan: densePlan(reading, classes, "class") });
  const boxForm = task === "obb" ? "centre" : "corners";
  return specOf(yoloEndToEnd.name, traits, { ...parts, plan: { ...rowsPlan(output, channels), boxForm } });
}

/** Where a model has the tensors of some heads it is for the caller to say which. */
function refuseUntold(traits: ModelTraits, task: ObjectTaskName, options: RecogniseOptions): void {
  const names = headsOf(undefined, task)
    .filter((head) => head.recognise({ ...traits, forced: true }) !== undefined)
    .map(({ name }) => name);
  if (names.length === 0) return;
  const which = `the head${names.length === 1 ? "" : "s"} ${names.map((name) => JSON.stringify(name)).join(" and ")}`;
  const hint = `give its class names by \`labels\` (\`--labels FILE\`), or name the head by ${naming(names)}`;
  refuse(options, `its tensors fit ${which}, but nothing tells that it has it`, hint);
}

/** With the tensors, and what they must be. */
function refuseOutputs(traits: ModelTraits, task: ObjectTaskName, options: RecogniseOptions): never {
  const { head, heads, keypointShape: said } = options;
  const shapes = traits.model.outputs.map(
    ({ name, dtype, shape }) => `${JSON.stringify(name)} ${dtype} ${formatShape(shape)}`,
  );
  const names = traits.classes === undefined ? "no class names" : plural(traits.classes, "class name");
  const which = said === undefined ? "" : `, and \`keypointShape\` is [${said.join(", ")}]`;
  const all = headsOf(head, task, heads);
  const known = likelyHeads(all, traits.model);
  const isShort = known.length < all.length;
  if (head === undefined) {
    known.unshift(
      "[N, 4+classes+more, anchors] before NMS, or [N, rows, 6+more] after it, as Ultralytics exports them",
    );
  }
  refuse(
    options,
    `its outputs are ${shapes.join(", ")}, with ${names}${which}`,
    `they must be ${known.join("; or ")}${isShort ? "; docs/models.md lists the other heads" : ""}`,
  );
}

/**
 * Recognise a model of objects. Where its metadata tells no task, the caller's word counts, if its outputs fit.
 *
 * @throws {ModelError} If it is of another task, or its outputs do not fit
 */
export function recogniseObjects(model: ModelInfo, task: ObjectTaskName, options: RecogniseOptions): ObjectSpec {
  return withNamesBeside(model, options, (said) => recogniseOnce(model, task, said));
}

function recogniseOnce(model: ModelInfo, task: ObjectTaskName, options: RecogniseOptions): ObjectSpec {
  const asked: RecogniseOptions = { ...options, noun: OBJECT_TASKS[task].noun };
  const { head } = options;
  const traits = readTraits(model, options);
  if (traits === undefined) {
    const { found, hint } = whyNoImage(model);
    return refuse(asked, found, hint);
  }
  const isOwn = ownHeadOf(traits, options) !== undefined;
  if (isOfCrops(model) && !isOwn) refuse(asked, OF_CROPS.found, OF_CROPS.hint);
  if (isOfMasksOnly(model) && !isOwn && options.head === undefined)
    refuse(asked, OF_MASKS_ONLY.found, OF_MASKS_ONLY.hint);
  const other = evidentFacade(model, options);
  const evident = other?.task ?? traits.task;
  if (evident !== undefined && evident !== task) {
    const hint = "`Model.load` finds out which façade a model has";
    const load = other === undefined ? hint : `${loadHint(other.facade, true)}; ${hint}`;
    refuse(asked, `its task is ${JSON.stringify(evident)}`, load);
  }
  const byHead = readByHead(traits, options, task);
  if (byHead !== undefined) return completed({ ...byHead, task, extras: byHead.extras ?? [] }, model, asked);
  const spec =
    head === undefined
      ? readOutputs(task, traits, options.keypointShape ?? options.namesBeside?.keypointShape)
      : undefined;
  if (spec === undefined) {
    const [named, heads] = [{ ...traits, forced: head !== undefined }, headsOf(head, task, options.heads)];
    refuseUnfed(named, asked, heads);
    if (head === undefined) refuseUntold(traits, task, asked);
    refuseLabels(named, asked, heads);
    return refuseOutputs(traits, task, asked);
  }
  const [unknown] = spec.unexplained;
  if (unknown !== undefined)
    refuse(asked, `nothing is known of its output ${JSON.stringify(unknown.name)}`, "export it without");
  return completed({ ...spec, task, extras: spec.extras ?? [] }, model, asked);
}

/** With what the caller says, and read from the maps of a model that was cut. */
function completed(spec: ObjectSpec, model: ModelInfo, options: RecogniseOptions): ObjectSpec {
  const { task, keypoints } = spec;
  const { keypointShape: said } = options;
  if (task === "obb" && (options.preprocessing?.fit ?? spec.preprocessing.fit) === "stretch")
    refuse(options, "stretched images turn its boxes into other shapes", "keep their ratio");
  if (keypoints && said && (keypoints.count !== said[0] || keypoints.numbers !== said[1])) {
    const found = `it has ${keypoints.count} points of ${keypoints.numbers} numbers, and \`keypointShape\` is [${said.join(", ")}]`;
    refuse(options, found, "leave `keypointShape` out: the model tells its points");
  }
  return withMaps(
    withSaid(withLevels(withConfig(spec, options.exporterBeside, true), options.levelsIn), options),
    model,
    options.source,
  );
}

/** @throws {OptionError} That says that the head that was named is not one of the task */
export function refuseHeadOf(task: ObjectTaskName, head: string, own: readonly Head[] | undefined): never {
  const names = headsOf(undefined, task, own).map(({ name }) => name);
  const found = `Option "head" must be one of ${OBJECT_TASKS[task].facade}'s, got ${JSON.stringify(head)}`;
  const hint = names.length === 0 ? "leave it out" : `leave it out, or choose one of ${names.join(", ")}`;
  throw new OptionError(`${found}\nHint: ${hint}`, "head");
}

/**
 * The task of objects that a model is run for: the one that is named, else the one that it evidently has.
 *
 * @param named `detect` for boxes only; those around oriented ones are kept as the model's own task keeps them
 * @returns `undefined` for a detector, and where the head is one of a detector's
 * @throws {OptionError} If the head is one of another task than the one that is named
 */
export function objectTaskOf(
  model: ModelInfo,
  options: RecogniseOptions,
  named: "detect" | ObjectTaskName | undefined,
): ObjectTaskName | undefined {
  const { head, heads = [] } = options;
  if (head !== undefined) {
    const known = [...heads, ...OBJECT_HEADS].filter(({ name }) => name === head);
    const isOther = named !== undefined && named !== "detect" && !known.some((one) => one.task === named);
    if (isOther) refuseHeadOf(named, head, heads);
    if (known.length === 0) return undefined;
  }
  const task = named === undefined || named === "detect" ? evidentTask(model, options) : named;
  return named === "detect" && task !== "obb" ? undefined : task;
}

/** Recognise a model by the task that is named, or by what it evidently is, or as a detector. @throws {ModelError} As either does */
export function recogniseAny(
  model: ModelInfo,
  options: RecogniseOptions,
  named?: "detect" | ObjectTaskName,
): ModelSpec | ObjectSpec {
  const task = objectTaskOf(model, options, named);
  return task === undefined ? recogniseModel(model, options) : recogniseObjects(model, task, options);
}
