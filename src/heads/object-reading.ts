/** @module Object reading: which models say more of an object than its box, and where that lies in their outputs. */

import { ModelError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { formatShape, type TensorInfo } from "../core/tensor.ts";
import { withOptions, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { parseLiteral } from "../model/labels.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { RowExtra } from "../model/rows.ts";
import { type DenseReading, densePlan, MASK_CHANNELS, readDense } from "./dense-reading.ts";
import {
  type DensePlan,
  type Head,
  type KeypointForm,
  type MaskSource,
  type ModelSpec,
  naming,
  type RowsPlan,
  specOf,
} from "./head.ts";
import { OBJECT_HEADS, type RecogniseOptions, recogniseModel } from "./registry.ts";
import {
  evidentMap,
  facadeOf,
  findClassScores,
  isFloat,
  isNamedClassifier,
  isObjectTask,
  isOfCrops,
  type ModelTraits,
  OBJECT_TASKS,
  type ObjectTaskName,
  OF_CROPS,
  readTraits,
} from "./traits.ts";
import { yolo } from "./yolo.ts";
import { yoloEndToEnd } from "./yolo-rows.ts";

/** What a model of objects was recognised as. */
export interface ObjectSpec extends ModelSpec {
  readonly task: ObjectTaskName;
  /**
   * What is fetched for each row: of a pose model its points; of one of oriented boxes cx, cy, w, h in input pixels, and then the
   * angle in radians; of a segmentation model the coefficients of its prototypes. None where a plan says where the points are.
   */
  readonly extras: readonly RowExtra[];
  /** Of a pose model. */
  readonly keypoints: KeypointForm | undefined;
  /** Of a segmentation model. */
  readonly masks: MaskSource | undefined;
}

/** Channels of a box, and of a box, a score and a class. */
const BOX_CHANNELS = 4;
const ROW_CHANNELS = 6;
/** Points of a person in COCO, x, y and a score each. */
const COCO_KEYPOINTS = 17;

/** The output with the prototypes of masks. */
function prototypesOf({ outputs }: ModelInfo): TensorInfo | undefined {
  return outputs.find((info) => isFloat(info) && info.shape.length === 4 && info.shape[1] === MASK_CHANNELS);
}

/** True for rows that are final, as their number of columns confirms. */
function hasFinalRows({ channelAxis, rowKind }: DenseReading, traits: ModelTraits): boolean {
  return channelAxis === 2 && (traits.rowsAreFinal || (traits.task === undefined && rowKind === "other"));
}

/** What heads of one task, or of any, make of a model whose outputs tell it: their names do, or the caller named the head. */
function readByHead(
  traits: ModelTraits,
  { head: name }: Pick<RecogniseOptions, "head">,
  task?: ObjectTaskName,
): { readonly head: Head; readonly spec: ModelSpec } | undefined {
  const forced = name !== undefined;
  for (const head of OBJECT_HEADS) {
    if ((forced && head.name !== name) || (task !== undefined && head.task !== task)) continue;
    const spec = head.recognise({ ...traits, forced });
    if (spec !== undefined && (forced || spec.unexplained.length === 0)) return { head, spec };
  }
  return undefined;
}

/** The head by which a model's outputs tell its task, or that the caller named; `undefined` where metadata or numbers tell. */
export function evidentHead(
  model: ModelInfo,
  options: Pick<RecogniseOptions, "head" | "labels" | "labelsBeside"> = {},
): Head | undefined {
  const traits = readTraits(model, options);
  return traits && readByHead(traits, options)?.head;
}

/**
 * The task that a model evidently has: the metadata says so, or its outputs are those of no other. A raw pose or oriented
 * detector without metadata has the shapes of a detector of more classes.
 */
export function evidentTask(
  model: ModelInfo,
  options: Pick<RecogniseOptions, "head" | "labels" | "labelsBeside" | "keypointShape"> = {},
): ObjectTaskName | undefined {
  const traits = readTraits(model, options);
  if (traits === undefined || traits.family === "rtdetr") return undefined;
  if (traits.task !== undefined) return isObjectTask(traits.task) ? traits.task : undefined;
  const byHead = readByHead(traits, options)?.head.task;
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
  options: Pick<RecogniseOptions, "labels"> = {},
): { readonly task: string; readonly facade: string } | undefined {
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

/** The points among some channels; the metadata's, else the caller's, else those of COCO. */
function keypointsIn(model: ModelInfo, channels: number, said: KeypointShape | undefined): KeypointForm | undefined {
  const [count, numbers] = keypointShape(model) ?? said ?? [COCO_KEYPOINTS, channels === COCO_KEYPOINTS * 2 ? 2 : 3];
  return count * numbers === channels ? { count, numbers, names: keypointNames(model, count) } : undefined;
}

/** Where models of one task say more than boxes. */
interface ExtraReading {
  /** Name of the extra. */
  readonly name: string;
  /** Channels behind box and classes; those that are no class's where nothing tells. */
  length(traits: ModelTraits, channels: number, said: KeypointShape | undefined): number;
}

const EXTRAS: Readonly<Record<ObjectTaskName, ExtraReading>> = {
  obb: { name: "angles", length: () => 1 },
  segment: { name: "coefficients", length: () => MASK_CHANNELS },
  pose: {
    name: "keypoints",
    length({ model, classes = 1 }, channels, said) {
      const [count, numbers] = keypointShape(model) ?? said ?? [0, 0];
      return count * numbers || channels - BOX_CHANNELS - classes;
    },
  },
};

/** Where the classes of a model end and what else it says begins; `undefined` if its outputs have another form. */
interface ObjectReading {
  readonly reading: DenseReading;
  readonly isFinal: boolean;
  /** Of a raw grid. */
  readonly classes: number | undefined;
  /** First channel that is fetched, and how many. */
  readonly first: number;
  readonly length: number;
}

function readObjects(
  task: ObjectTaskName,
  traits: ModelTraits,
  said: KeypointShape | undefined,
): ObjectReading | undefined {
  const reading = readDense(traits);
  if (reading === undefined || reading.channels < 0) return undefined;
  const { channels } = reading;
  if (hasFinalRows(reading, traits)) {
    // As many columns as a raw grid of no class would have channels.
    const length = EXTRAS[task].length({ ...traits, classes: 0 }, channels - ROW_CHANNELS + BOX_CHANNELS, said);
    if (length < 1 || length !== channels - ROW_CHANNELS) return undefined;
    return { reading, isFinal: true, classes: undefined, first: ROW_CHANNELS, length };
  }
  const length = EXTRAS[task].length(traits, channels, said);
  const classes = channels - BOX_CHANNELS - length;
  if (reading.channelAxis !== 1 || length < 1 || classes < 1) return undefined;
  if (traits.classes !== undefined && traits.classes !== classes) return undefined;
  return { reading, isFinal: false, classes, first: BOX_CHANNELS + classes, length };
}

/** Where a model has the tensors of some heads it is for the caller to say which. */
function refuseUntold(traits: ModelTraits, task: ObjectTaskName, refuse: (found: string, hint: string) => never): void {
  const isFit = (head: Head): boolean =>
    head.task === task && head.recognise({ ...traits, forced: true }) !== undefined;
  const names = OBJECT_HEADS.filter(isFit).map(({ name }) => name);
  if (names.length === 0) return;
  const which = names.map((name) => JSON.stringify(name)).join(" and ");
  const found = `its tensors fit ${names.length === 1 ? `the head ${which}` : `the heads ${which}`}, but nothing tells that it has it`;
  refuse(found, `give its class names by \`labels\` (\`--labels FILE\`), or name the head by ${naming(names)}`);
}

/**
 * Recognise a model of objects. Where its metadata tells no task, the caller's word counts, if its outputs fit.
 *
 * @throws {ModelError} If it is of another task, or its outputs do not fit
 */
export function recogniseObjects(model: ModelInfo, task: ObjectTaskName, options: RecogniseOptions): ObjectSpec {
  const { noun } = OBJECT_TASKS[task];
  const { source = "the model" } = options;
  const refuse = (found: string, hint: string): never => {
    throw new ModelError(message(`use ${source} as ${noun}`, found, hint), source);
  };
  const traits = readTraits(model, options);
  if (traits === undefined)
    return refuse("no input takes a batch of images", "export it with an input [N, 3, height, width]");
  if (isOfCrops(model)) refuse(OF_CROPS.found, OF_CROPS.hint);
  const other = evidentFacade(model, options);
  const evident = other?.task ?? traits.task;
  if (evident !== undefined && evident !== task) {
    const hint = "`Model.load` finds out which façade a model has";
    refuse(
      `its task is ${JSON.stringify(evident)}`,
      other === undefined ? hint : `load it with \`${other.facade}\`; ${hint}`,
    );
  }
  const { keypointShape: said } = options;
  const byHead = readByHead(traits, options, task)?.spec;
  if (byHead !== undefined) {
    const { extras = [], keypoints, masks } = byHead;
    return completed({ ...byHead, task, extras, keypoints, masks }, options, refuse);
  }
  const found = options.head === undefined ? readObjects(task, traits, said) : undefined;
  const keypoints = task === "pose" && found ? keypointsIn(model, found.length, said) : undefined;
  const prototypes = task === "segment" ? prototypesOf(model) : undefined;
  if (found === undefined || (task === "pose" && !keypoints) || (task === "segment" && !prototypes)) {
    const shapes = model.outputs.map(
      ({ name, dtype, shape }) => `${JSON.stringify(name)} ${dtype} ${formatShape(shape)}`,
    );
    const names = traits.classes === undefined ? "no class names" : `${traits.classes} class names`;
    if (options.head === undefined) refuseUntold(traits, task, refuse);
    const heads = OBJECT_HEADS.filter((head) => head.task === task && (options.head ?? head.name) === head.name);
    const known = [
      ...(options.head === undefined
        ? ["[N, 4+classes+more, anchors] before NMS, or [N, rows, 6+more] after it, as Ultralytics exports them"]
        : []),
      ...heads.map(({ name, summary }) => `${name}: ${summary}`),
    ];
    const which =
      keypoints === undefined && said !== undefined ? `, and \`keypointShape\` is [${said.join(", ")}]` : "";
    return refuse(`its outputs are ${shapes.join(", ")}, with ${names}${which}`, `they must be ${known.join("; or ")}`);
  }
  return specFor(task, traits, found, { keypoints, prototypes, options, refuse });
}

const ROW_COLUMNS = { kind: "rows", boxColumn: 0, scoreColumn: 4, classColumn: 5 } as const;

function specFor(
  task: ObjectTaskName,
  traits: ModelTraits,
  { reading, isFinal, classes, first, length }: ObjectReading,
  more: {
    readonly keypoints: KeypointForm | undefined;
    readonly prototypes: TensorInfo | undefined;
    readonly options: RecogniseOptions;
    readonly refuse: (found: string, hint: string) => never;
  },
): ObjectSpec {
  const { keypoints, prototypes, options, refuse } = more;
  const { output, channels } = reading;
  const parts = {
    outputs: prototypes === undefined ? [output] : [output, prototypes],
    preprocessing: YOLO_PREPROCESSING,
    needsNms: !isFinal,
    ...(classes === undefined ? {} : { classes }),
  };
  const spec: ModelSpec<DensePlan | RowsPlan> = isFinal
    ? specOf<RowsPlan>(yoloEndToEnd.name, traits, {
        ...parts,
        plan: {
          ...ROW_COLUMNS,
          output: output.name,
          columns: channels,
          boxForm: task === "obb" ? "centre" : "corners",
        },
      })
    : specOf<DensePlan>(yolo.name, traits, { ...parts, plan: densePlan(reading, classes!, "class") });
  const [other] = spec.unexplained;
  if (other !== undefined) refuse(`nothing is known of its output ${JSON.stringify(other.name)}`, "export it without");
  const order = isFinal ? "anchor-major" : "channel-major";
  const extra = { output: output.name, order, channels } as const;
  const named: RowExtra = { ...extra, name: EXTRAS[task].name, first, length };
  // Boxes as they are before they become upright.
  const sides: RowExtra = { ...extra, name: "sides", first: 0, length: BOX_CHANNELS };
  const extras = task === "obb" ? [sides, named] : [named];
  const masks: MaskSource | undefined = prototypes && { output: prototypes.name, rule: "ultralytics" };
  return completed({ ...spec, task, extras, keypoints, masks }, options, refuse);
}

/** With what the caller says; what was assumed is logged. */
function completed(
  spec: ObjectSpec,
  { preprocessing, keypointShape: said, isSilent, source = "the model" }: RecogniseOptions,
  refuse: (found: string, hint: string) => never,
): ObjectSpec {
  const { task, keypoints } = spec;
  const made = { ...spec, preprocessing: withOptions(spec.preprocessing, preprocessing) };
  if (task === "obb" && made.preprocessing.fit === "stretch")
    refuse("stretched images turn its boxes into other shapes", "keep their ratio");
  if (keypoints && said && (keypoints.count !== said[0] || keypoints.numbers !== said[1])) {
    const found = `it has ${keypoints.count} points of ${keypoints.numbers} numbers, and \`keypointShape\` is [${said.join(", ")}]`;
    refuse(found, "leave `keypointShape` out: the model tells its points");
  }
  if (preprocessing !== undefined) return { ...made, assumptions: [] };
  if (isSilent !== true) for (const assumption of made.assumptions) logger.warn(`Assuming for ${source} ${assumption}`);
  return made;
}

/** Recognise a model by what it evidently is, or as a detector. @throws {ModelError} As either does */
export function recogniseAny(model: ModelInfo, options: RecogniseOptions): ModelSpec | ObjectSpec {
  const isOfObjects = options.head === undefined || OBJECT_HEADS.some(({ name }) => name === options.head);
  const task = isOfObjects ? evidentTask(model, options) : undefined;
  return task === undefined ? recogniseModel(model, options) : recogniseObjects(model, task, options);
}
