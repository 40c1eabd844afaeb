/** @module Own head: a head that a caller defined, as the built-in ones are. */

import { inShort, ModelError, message } from "../core/errors.ts";
import { formatTensorInfo, type Shape, type Tensor } from "../core/tensor.ts";
import { withOptions, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { Candidates, RowExtra } from "../model/rows.ts";
import { type DecodeInput, type Head, specOf } from "./head.ts";
import type { OwnPlan, PlaneRule } from "./host-plan.ts";
import { NumberSlice, refuseOutput } from "./outputs.ts";
import {
  checkReading,
  type FoundObjects,
  type HeadDefinition,
  type HeadModel,
  type HeadOutputs,
  type HeadReading,
} from "./own-head-options.ts";
import type { ModelTraits, ObjectTaskName } from "./traits.ts";

/** Every rule of masks that are there as they are. */
const PLANE_RULES: readonly PlaneRule[] = ["logits", "mask2former", "torchvision", "mmdeploy", "tensorflow"];

/** Numbers of an oriented box. */
const ORIENTED = 5;

/** Numbers that come with every object. */
function extraLength(task: ObjectTaskName | undefined, { keypoints, masks }: HeadReading): number {
  if (task === "pose") return keypoints === undefined ? 0 : keypoints.count * keypoints.numbers;
  if (task === "segment") return masks !== undefined && "coefficients" in masks ? masks.coefficients : 0;
  return task === "obb" ? ORIENTED : 0;
}

/** Where the planes are that objects name one of. */
function planesOf({ masks }: HeadReading): OwnPlan["planes"] {
  if (masks === undefined || "coefficients" in masks) return undefined;
  return { output: masks.output, axis: masks.rule === "torchvision" ? 0 : 1 };
}

/** What is fetched of them. */
function extrasOf(task: ObjectTaskName | undefined, channels: number): readonly RowExtra[] {
  if (task === undefined || channels === 0) return [];
  const pushed = { output: "", order: "pushed", channels } as const;
  if (task !== "obb")
    return [{ ...pushed, name: task === "pose" ? "keypoints" : "coefficients", first: 0, length: channels }];
  return [
    { ...pushed, name: "sides", first: 0, length: 4 },
    { ...pushed, name: "angles", first: 4, length: 1 },
  ];
}

/** The heads that definitions stand for. */
export function ownHeads(definitions: readonly HeadDefinition[]): readonly Head[] {
  return definitions.map(ownHead);
}

function ownHead(definition: HeadDefinition): Head<OwnPlan> {
  const { name, summary = "a head of the caller's", task } = definition;
  const image = new OwnOutputs();
  const objects = new OwnObjects();
  return {
    name,
    summary,
    task,
    recognise(traits) {
      const reading = readingOf(definition, traits);
      if (reading === undefined) return undefined;
      const { outputs, classes, labels, masks, keypoints, needsNms = true, reason, ...given } = reading;
      // A wrong number of names is what is wrong then, and is told as such.
      if (classes !== undefined && traits.classes !== undefined && classes !== traits.classes) return undefined;
      const length = extraLength(task, reading);
      const { outputs: all } = traits.model;
      const spec = specOf(name, traits, {
        outputs: outputs === undefined ? all : all.filter((info) => outputs.includes(info.name)),
        auxiliary: all,
        preprocessing: withOptions(YOLO_PREPROCESSING, given.preprocessing),
        needsNms,
        ...(classes === undefined ? {} : { classes }),
        ...(labels === undefined ? {} : { names: labels }),
        ...(given.preferredSize === undefined ? {} : { preferredSize: given.preferredSize }),
        ...(given.sizeInputs === undefined ? {} : { sizeInputs: given.sizeInputs }),
        ...(given.stride === undefined ? {} : { stride: given.stride }),
        isImageSized: given.isImageSized,
        usualIou: given.usualIou,
        ...(task === undefined ? {} : { extras: extrasOf(task, length) }),
        keypoints: keypoints && { names: [], ...keypoints },
        masks: masks && { output: masks.output, rule: masks.rule ?? "ultralytics" },
        plan: {
          kind: "own",
          classes: classes ?? (traits.names ?? labels)?.length,
          outputs: outputs && [...new Set([...outputs, ...(masks ? [masks.output] : [])])],
          length,
          planes: task === "segment" ? planesOf(reading) : undefined,
          plan: given.plan,
        },
      });
      return reason === undefined ? spec : { ...spec, reason };
    },
    decode(plan, input, candidates) {
      image.take(plan, input);
      objects.take(plan, input, candidates);
      let result: unknown;
      try {
        result = definition.decode(image, objects) as unknown;
      } catch (error) {
        refuseDecode(name, input, error);
      }
      if (result instanceof Promise) {
        result.catch(() => {});
        refuseDecode(name, input, new TypeError("decode gave a promise, and nothing waits for it"));
      }
    },
  };
}

/** @throws {ModelError} If `recognise` fails, or says what cannot be */
function readingOf(definition: HeadDefinition, { model, image, names, forced }: ModelTraits): HeadReading | undefined {
  const { name, task } = definition;
  const refuse = (found: string, hint: string, cause?: unknown): never => {
    throw new ModelError(message(`recognise a model by the head "${name}"`, found, hint), name, { cause });
  };
  let reading: HeadReading | undefined;
  try {
    const shown: HeadModel = { ...model, image, labels: names, isNamed: forced };
    reading = definition.recognise === undefined ? (forced ? {} : undefined) : definition.recognise(shown);
  } catch (error) {
    return refuse(told(error), "`cause` has the error that its `recognise` threw", error);
  }
  if (reading === undefined || reading === null) return undefined;
  if (typeof reading !== "object" || reading instanceof Promise)
    return refuse("its `recognise` gave no reading", "return an object, or undefined where the model is another one");
  checkReading(reading, refuse);
  const { outputs = [], masks, keypoints } = reading;
  const unknown = [...outputs, ...(masks ? [masks.output] : [])].find(
    (output) => !model.outputs.some((info) => info.name === output),
  );
  if (unknown !== undefined) {
    const known = model.outputs.map((info) => JSON.stringify(info.name)).join(", ");
    return refuse(`the model has no output ${JSON.stringify(unknown)}`, `its outputs are ${known}`);
  }
  if (task === "pose" && keypoints === undefined)
    return refuse(
      'its task is "pose", and its reading has no `keypoints`',
      "return `keypoints: { count: 17, numbers: 3 }`",
    );
  if (task === "segment" && masks === undefined)
    return refuse(
      'its task is "segment", and its reading has no `masks`',
      "return `masks: { output, coefficients }`, or `masks: { output, rule }` of planes",
    );
  const isUntold = masks !== undefined && !("coefficients" in masks) && !PLANE_RULES.includes(masks.rule);
  if (isUntold) {
    return refuse(
      `its masks have neither \`coefficients\` nor a \`rule\` of planes, got ${JSON.stringify(masks.rule)}`,
      `of planes and patches \`rule\` is ${PLANE_RULES.join(", ")}`,
    );
  }
  return reading;
}

function told(error: unknown): string {
  return error instanceof Error ? `${error.name}, ${inShort(error)}` : String(error);
}

function refuseDecode(name: string, { outputs }: DecodeInput, error: unknown): never {
  const tensors = [...outputs].map(([output, { dtype, shape }]) => formatTensorInfo({ name: output, dtype, shape }));
  const found = `${told(error)}; the outputs are ${tensors.join(", ").replaceAll(": ", " ")}`;
  const hint = "`cause` has the error that its `decode` threw";
  throw new ModelError(message(`decode an image by the head "${name}"`, found, hint), name, { cause: error });
}

/** The numbers of one image in an output, and a view of exactly those. */
class OwnValues {
  readonly #slice = new NumberSlice();
  #view: Float32Array = new Float32Array(0);

  load(tensor: Tensor, start: number, length: number): Float32Array {
    this.#slice.load(tensor, start, length);
    const { data, offset } = this.#slice;
    const view = this.#view;
    const isSame =
      view.buffer === data.buffer && view.byteOffset === data.byteOffset + offset * 4 && view.length === length;
    if (!isSame) this.#view = data.subarray(offset, offset + length);
    return this.#view;
  }
}

const NONE: ReadonlyMap<string, Tensor> = new Map();

/** The same object for every image. */
class OwnOutputs implements HeadOutputs {
  plan: unknown;
  index = 0;
  inputWidth = 0;
  inputHeight = 0;
  threshold = 0;
  outputs: ReadonlyMap<string, Tensor> = NONE;
  readonly #values = new Map<string, OwnValues>();
  readonly #shapes = new Map<Shape, Shape>();

  take({ plan }: OwnPlan, input: DecodeInput): void {
    this.plan = plan;
    this.index = input.index;
    this.inputWidth = input.inputWidth;
    this.inputHeight = input.inputHeight;
    this.threshold = input.threshold;
    this.outputs = input.outputs;
  }

  // Arrow functions: they are taken out of the object, `decode({ values }, objects)`.
  readonly values = (output: string): Float32Array => {
    const tensor = this.#tensor(output);
    const rows = tensor.shape[0] ?? 0;
    if (rows <= this.index) refuseOutput(output, `of more than ${this.index} rows`, tensor);
    const length = tensor.data.length / rows;
    let values = this.#values.get(output);
    if (values === undefined) {
      values = new OwnValues();
      this.#values.set(output, values);
    }
    return values.load(tensor, this.index * length, length);
  };

  readonly shape = (output: string): Shape => {
    const { shape } = this.#tensor(output);
    const known = this.#shapes.get(shape);
    if (known !== undefined) return known;
    // Of a runtime that makes a new one for every run none is kept.
    this.#shapes.clear();
    const rest = shape.slice(1);
    this.#shapes.set(shape, rest);
    return rest;
  };

  #tensor(output: string): Tensor {
    const tensor = this.outputs.get(output);
    return tensor ?? refuseOutput(output, `one of ${[...this.outputs.keys()].join(", ")}`, undefined);
  }
}

/** Puts objects among the candidates. */
class OwnObjects implements FoundObjects {
  #length = 0;
  /** How many planes there are to name one of; 0 where objects name none. */
  #planes = 0;
  #threshold = 0;
  #candidates!: Candidates;
  #classes = Number.POSITIVE_INFINITY;
  readonly #oriented = new Float64Array(ORIENTED);

  take(
    { length, planes, classes = Number.POSITIVE_INFINITY }: OwnPlan,
    { threshold, outputs }: DecodeInput,
    candidates: Candidates,
  ): void {
    this.#length = length;
    this.#planes = planes === undefined ? 0 : (outputs.get(planes.output)?.shape[planes.axis] ?? 0);
    this.#threshold = Math.fround(threshold);
    this.#classes = classes;
    this.#candidates = candidates;
  }

  readonly push: FoundObjects["push"] = (x1, y1, x2, y2, score, classId, extras, first = 0, step = 1) => {
    if (Math.fround(score) < this.#threshold) return;
    if (!(Number.isInteger(classId) && classId >= 0 && classId <= 0x7fffffff) && !Number.isNaN(score)) {
      throw new RangeError(`class ids are whole numbers from 0 on, got ${classId}`);
    }
    if (classId >= this.#classes)
      throw new RangeError(`class ids of ${this.#classes} classes are 0 to ${this.#classes - 1}, got ${classId}`);
    const row = this.#candidates.count;
    const planes = this.#planes;
    if (planes > 0) {
      const plane = extras?.[first] ?? -1;
      if (!Number.isInteger(plane) || plane < 0 || plane >= planes)
        throw new RangeError(
          `an object comes with the number of its plane, 0 to ${planes - 1}, got ${plane === -1 ? "none" : plane}`,
        );
      this.#candidates.push(x1, y1, x2, y2, score, classId, plane);
      return;
    }
    this.#candidates.push(x1, y1, x2, y2, score, classId, row);
    const length = this.#length;
    if (length === 0 || this.#candidates.count === row) return;
    if (extras === undefined || first + (length - 1) * step >= extras.length) {
      throw new RangeError(
        `an object comes with ${length} numbers, got ${extras === undefined ? "none" : extras.length - first}`,
      );
    }
    this.#candidates.setExtras(row, length, extras, first, step);
  };

  readonly pushCentre: FoundObjects["pushCentre"] = (cx, cy, width, height, score, classId, extras, first, step) => {
    const [halfWidth, halfHeight] = [width / 2, height / 2];
    this.push(cx - halfWidth, cy - halfHeight, cx + halfWidth, cy + halfHeight, score, classId, extras, first, step);
  };

  readonly pushOriented: FoundObjects["pushOriented"] = (cx, cy, width, height, angle, score, classId) => {
    const oriented = this.#oriented;
    oriented[0] = cx;
    oriented[1] = cy;
    oriented[2] = width;
    oriented[3] = height;
    oriented[4] = angle;
    this.pushCentre(cx, cy, width, height, score, classId, oriented);
  };
}
