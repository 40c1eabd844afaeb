/**
 * @module ModelInfo: what a model file says of itself, whichever runtime read it: inputs, outputs, metadata, and class names,
 * which are the metadata's, the caller's, or COCO's where their number fits.
 */

import { logger } from "../core/log.ts";
import { formatTensorInfo, isDynamic, type Shape, type TensorInfo } from "../core/tensor.ts";

/** Inputs, outputs and metadata of a model. The order of the tensors means nothing: match by name and shape. */
export interface ModelInfo {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Custom metadata, such as Ultralytics' `names`, `task`, `stride`, `imgsz`, `end2end`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Size of the input, in pixels, for which open outputs were given the shapes they have; `undefined` if none were. */
  readonly shapesAt?: readonly [width: number, height: number] | undefined;
  /** Names of outputs whose number of rows was found by a run on one image: for another it may be another. */
  readonly openRows?: readonly string[] | undefined;
}

/** Two indented lists, for messages and `inspect`. */
export function formatModelInfo(model: ModelInfo): string {
  const list = (tensors: readonly TensorInfo[]): string => tensors.map((t) => `  ${formatTensorInfo(t)}`).join("\n");
  return `inputs:\n${list(model.inputs)}\noutputs:\n${list(model.outputs)}`;
}

/**
 * True if the declared shape is too little to recognise a head by: the axis after the batch is open, which holds the rows
 * or the channels, or even the rank is. A grid with its channels first tells enough by them.
 */
function isOpen({ shape }: TensorInfo): boolean {
  return shape.length === 0 || (shape.length >= 3 && shape[1]! < 0);
}

/** True if a model's outputs must have shapes before it can be recognised: run it, or ask for them. Classes alone may be open, too. */
export function needsShapes({ outputs }: ModelInfo): boolean {
  const [first, ...others] = outputs;
  const isOfClasses = others.length === 0 && first?.shape.length === 2 && first.shape[1]! < 0;
  return isOfClasses || outputs.some(isOpen);
}

/** The first axis stays as declared: it is the batch, or the rows of all images. No rows say nothing of their number. */
function shapeOf({ shape }: TensorInfo, found: Shape | undefined): Shape {
  if (found === undefined || found.length === 0) return shape;
  if (shape.length !== 0 && shape.length !== found.length) return shape;
  return found.map((side, axis) => {
    const declared = axis === 0 ? (shape[0] ?? -1) : (shape[axis] ?? -1);
    return declared >= 0 || axis === 0 ? declared : side > 0 ? side : -1;
  });
}

/**
 * A model with the shapes that its outputs have for one size of the input, where it leaves them open.
 *
 * @param shapes by name of the output; -1, or 0, where a side is still unknown
 * @param size   of the input, in pixels
 */
export function withShapes(
  model: ModelInfo,
  shapes: ReadonlyMap<string, Shape>,
  size: readonly [width: number, height: number],
): ModelInfo {
  const outputs = model.outputs.map((info) => ({ ...info, shape: shapeOf(info, shapes.get(info.name)) }));
  return { ...model, outputs, shapesAt: size };
}

/** The outputs that are open, for messages. */
export function openOutputs({ outputs }: ModelInfo): string {
  return outputs
    .filter(({ shape }) => shape.length === 0 || isDynamic(shape))
    .map(formatTensorInfo)
    .join(", ");
}

/** More classes than any detector has; a larger id in the metadata is a fault, not a reason to fill memory. */
const MAX_CLASSES = 100_000;

/** Entries of a dict or list, as [id, name]; `undefined` if one has another type. */
function entriesOf(text: string): [id: number, name: string][] | undefined {
  const value = parseLiteral(text);
  const pairs = value instanceof Map ? [...value] : Array.isArray(value) ? [...value.entries()] : undefined;
  if (pairs === undefined || pairs.length === 0) return undefined;
  const entries: [number, string][] = [];
  for (const [key, name] of pairs) {
    const id = Number(key);
    if (!Number.isInteger(id) || id < 0 || id >= MAX_CLASSES) return undefined;
    if (typeof name !== "string" && typeof name !== "number") return undefined;
    entries.push([id, String(name)]);
  }
  return entries;
}

/**
 * Class names out of text: a Python dict `{0: 'person', 1: "it's"}`, a list, or JSON of either.
 *
 * @returns names by class id, ids without a name being empty; `undefined` if it is none of these
 */
export function namesIn(text: string): readonly string[] | undefined {
  const entries = entriesOf(text);
  if (entries === undefined) return undefined;
  const count = entries.reduce((most, [id]) => Math.max(most, id + 1), 0);
  const names: string[] = new Array(count).fill("");
  for (const [id, name] of entries) names[id] = name;
  return names;
}

/** Those of Ultralytics' `names` metadata; with a line in the log where they are none. */
export function parseNames(text: string): readonly string[] | undefined {
  const names = namesIn(text);
  if (names === undefined) {
    logger.warn(`Ignoring the model's metadata "names" as it is no list of class names: ${text.slice(0, 80)}`);
  }
  return names;
}

/** Those of a model's metadata: Ultralytics' `names`, else RapidAI's `character`, a line each. */
export function namesOfMetadata(metadata: Readonly<Record<string, string>>): readonly string[] | undefined {
  const { names, character = "" } = metadata;
  if (names !== undefined) return parseNames(names);
  return character.trim() === "" ? undefined : character.trim().split(/\r?\n/);
}

/**
 * The labels of a model.
 *
 * @param classes number of classes; `undefined` where the outputs do not tell
 * @param names   the caller's or the metadata's names; padded with empty strings
 * @returns those names, else COCO's for 80 or 91 classes, else `class 0`, `class 1`, …; COCO's 80 are assumed where the
 *   number is unknown, since the published weights of those families are COCO's: whoever asks says so in the log
 */
export function labelsFor(classes: number | undefined, names: readonly string[] | undefined): readonly string[] {
  if (names !== undefined) {
    return [...names, ...new Array<string>(Math.max(0, (classes ?? 0) - names.length)).fill("")];
  }
  if (classes === undefined || classes === COCO_80.length) return COCO_80;
  if (classes === COCO_91.length) return COCO_91;
  return Array.from({ length: classes }, (_, id) => `class ${id}`);
}

/** The name of a class; `class 7` where it has none. */
export function labelOf(labels: readonly string[], classId: number): string {
  const label = labels[classId];
  return label === undefined || label === "" ? `class ${classId}` : label;
}

/** Ids by name, once a list: a call may name thousands of classes, and a model have as many. */
const idsByName = new WeakMap<readonly string[], ReadonlyMap<string, number[]>>();

/** Ids of every class that detections call so: models may give one name to several, or to none. */
export function idsOf(wanted: string | number, labels: readonly string[]): readonly number[] {
  if (typeof wanted === "number") return wanted >= 0 && wanted < labels.length ? [wanted] : [];
  const known = idsByName.get(labels) ?? Map.groupBy(labels.keys(), (id) => labelOf(labels, id));
  idsByName.set(labels, known);
  return known.get(wanted) ?? [];
}

/** COCO's 80 classes in the order that YOLO, D-FINE, DEIM and most others train on: class id → name. */
export const COCO_80: readonly string[] = [
  ..."person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light".split(","),
  ..."fire hydrant,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow".split(","),
  ..."elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee".split(","),
  ..."skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle".split(","),
  ..."wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange".split(","),
  ..."broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed".split(","),
  ..."dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven".split(","),
  ..."toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush".split(","),
];

/** Pascal VOC's classes, in their usual order. */
export const VOC_20: readonly string[] = [
  ..."aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow".split(","),
  ..."diningtable,dog,horse,motorbike,person,pottedplant,sheep,sofa,train,tvmonitor".split(","),
];

/** Category ids 0–90 that COCO's annotations do not use. */
const GAPS: ReadonlySet<number> = new Set([0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83]);

/** COCO category id of each of the 80 classes: 0 → 1 (person) … 79 → 90 (toothbrush). */
export const COCO_CATEGORY_IDS: readonly number[] = Array.from({ length: 91 }, (_, id) => id).filter(
  (id) => !GAPS.has(id),
);

/** COCO's names by category id 0–90, as RF-DETR and DETR number them; unused ids are empty strings. */
export const COCO_91: readonly string[] = Array.from({ length: 91 }, (_, id) =>
  GAPS.has(id) ? "" : (COCO_80[COCO_CATEGORY_IDS.indexOf(id)] ?? ""),
);

/** What a literal stands for. Keys of a dict are strings or numbers, as written. */
export type Literal = string | number | boolean | null | Literal[] | Map<string | number, Literal>;

const WORDS: ReadonlyMap<string, Literal> = new Map<string, Literal>([
  ["True", true],
  ["true", true],
  ["False", false],
  ["false", false],
  ["None", null],
  ["null", null],
]);

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", b: "\b", f: "\f", "0": "\0", "\n": "" };

/** White space of Python and of JSON. */
const SPACE: ReadonlySet<string> = new Set(" \t\n\r\f\v");

/** Digits after \x, \u and \U. */
const HEX_LENGTH: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/** Deeper nesting than any exporter writes is refused, so that a hostile file cannot exhaust the stack. */
const MAX_DEPTH = 16;

/** Longer than the names of 100,000 classes. */
const MAX_LENGTH = 1 << 22;

/** One pass over the text; every method leaves the position behind what it read. */
class Reader {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The whole text as one literal. */
  read(): Literal {
    const value = this.#value();
    if (this.#peek() !== "") throw new SyntaxError("text after the literal");
    return value;
  }

  /** The next character that is no space; empty at the end. */
  #peek(): string {
    while (SPACE.has(this.#text[this.#at] ?? "")) this.#at += 1;
    return this.#text[this.#at] ?? "";
  }

  #value(): Literal {
    const first = this.#peek();
    if (first === "{" || first === "[" || first === "(") return this.#nested(first);
    if (first === "'" || first === '"') return this.#string(first);
    const word = /^[\w.+-]+/.exec(this.#text.slice(this.#at, this.#at + 40))?.[0] ?? "";
    this.#at += word.length;
    const known = WORDS.get(word);
    if (known !== undefined) return known;
    const number = Number(word);
    if (word === "" || Number.isNaN(number)) throw new SyntaxError("neither a word nor a number");
    return number;
  }

  #nested(first: "{" | "[" | "("): Literal {
    if (this.#depth === MAX_DEPTH) throw new SyntaxError("nested too deep");
    this.#depth += 1;
    const value = first === "{" ? this.#dict() : this.#list(first === "[" ? "]" : ")");
    this.#depth -= 1;
    return value;
  }

  #list(end: string): Literal[] {
    const items: Literal[] = [];
    this.#at += 1;
    while (this.#peek() !== end) {
      items.push(this.#value());
      this.#separator(end);
    }
    this.#at += 1;
    return items;
  }

  #dict(): Map<string | number, Literal> {
    const entries = new Map<string | number, Literal>();
    this.#at += 1;
    while (this.#peek() !== "}") {
      const key = this.#value();
      if (typeof key !== "string" && typeof key !== "number") throw new SyntaxError("a key is a string or a number");
      if (this.#peek() !== ":") throw new SyntaxError("a colon is missing");
      this.#at += 1;
      entries.set(key, this.#value());
      this.#separator("}");
    }
    this.#at += 1;
    return entries;
  }

  /** A comma, also a trailing one, or the end that is left for the caller. */
  #separator(end: string): void {
    const next = this.#peek();
    if (next === ",") this.#at += 1;
    else if (next !== end) throw new SyntaxError("a comma is missing");
  }

  #string(quote: string): string {
    let value = "";
    for (this.#at += 1; ; this.#at += 1) {
      const char = this.#text[this.#at];
      if (char === undefined) throw new SyntaxError("a string does not end");
      if (char === quote) {
        this.#at += 1;
        return value;
      }
      value += char === "\\" ? this.#escape() : char;
    }
  }

  /** Called at the backslash; leaves the position at the last character of the escape. */
  #escape(): string {
    this.#at += 1;
    const char = this.#text[this.#at] ?? "";
    const digits = HEX_LENGTH[char];
    if (digits === undefined) return ESCAPES[char] ?? char;
    const hex = this.#text.slice(this.#at + 1, this.#at + 1 + digits);
    const code = Number.parseInt(hex, 16);
    if (!/^[\da-f]+$/i.test(hex) || hex.length !== digits || code > 0x10ffff) throw new SyntaxError("a bad escape");
    this.#at += digits;
    return digits === 8 ? String.fromCodePoint(code) : String.fromCharCode(code);
  }
}

/**
 * Read a Python literal (dict, list, tuple, string, number, True, False, None) or JSON.
 *
 * @returns `undefined` if the text is neither, or longer than 4 Mi letters
 */
export function parseLiteral(text: string): Literal | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  try {
    return new Reader(text).read();
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
