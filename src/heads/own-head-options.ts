/** @module Own head options: what callers say of a head of their own, what it is given, and what it may say of a model, checked as options are. */

import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import { parseOptions, shapeOf } from "../core/options.ts";
import type { Shape, Tensor } from "../core/tensor.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { KeypointForm, SizeInput } from "./head.ts";
import type { PlaneRule, PrototypeRule } from "./host-plan.ts";
import type { ImageInput } from "./image-input.ts";
import type { ObjectTaskName } from "./traits.ts";

/** What a head is shown of a model. */
export interface HeadModel extends ModelInfo {
  /** The input that takes the image. */
  readonly image: ImageInput;
  /** The caller's class names, else the model's; `undefined` where neither tells any. */
  readonly labels: readonly string[] | undefined;
  /** True if the caller named this head: what the shapes leave open may then be settled in its favour. */
  readonly isNamed: boolean;
}

/** What a head makes of a model that is its own. Plain data: `inspect` prints it. */
export interface HeadReading<Plan = unknown> {
  /** Why it is its own, in one clause. Default: its outputs, and how many class names there are. */
  readonly reason?: string | undefined;
  /** What `decode` needs to know of this model, such as the names of the outputs: it is handed over as it is. */
  readonly plan?: Plan;
  /** Names of the outputs that `decode` reads: the others are not computed, and not copied from a GPU. Default: all. */
  readonly outputs?: readonly string[] | undefined;
  /** Number of classes; a wrong number of class names is then refused. Default: as many as there are names. */
  readonly classes?: number | undefined;
  /** Class names of the family, where neither the caller nor the model gives any. Default: COCO's where the number fits. */
  readonly labels?: readonly string[] | undefined;
  /** What is done to an image, where it is not what most YOLO exports want: centred letterbox on 114, RGB in 0–1. */
  readonly preprocessing?: PreprocessingOptions | undefined;
  /** False: the rows are final, only the threshold and the maximum count apply. Default true: NMS of each class. */
  readonly needsNms?: boolean | undefined;
  /** IoU threshold of the family's own NMS. Default 0.7. */
  readonly usualIou?: number | undefined;
  /** Size that models of the family with a dynamic input are made for. Default: the model's `imgsz`, else 640. */
  readonly preferredSize?: readonly [width: number, height: number] | undefined;
  /** Both sides of a dynamic input are multiples of it. Default: the model's `stride`, else 32. */
  readonly stride?: number | undefined;
  /** True: a dynamic input is as large as the image, unless the caller says a size. */
  readonly isImageSized?: boolean | undefined;
  /** Further inputs that are filled with the size of the image's. */
  readonly sizeInputs?: readonly SizeInput[] | undefined;
  /** Of the task `pose`: the points that come with every object, x, y and perhaps a score each. */
  readonly keypoints?: (Omit<KeypointForm, "names"> & Partial<Pick<KeypointForm, "names">>) | undefined;
  /** Of the task `segment`: the output with the prototypes, and how many coefficients come with every object; or that with the masks. */
  readonly masks?: HeadMasks | HeadPlanes | undefined;
}

/** Masks that are sums of prototypes, an output [N, coefficients, height, width]; of `yolact` [N, height, width, coefficients]. */
export interface HeadMasks {
  /** f32 or f16. */
  readonly output: string;
  readonly coefficients: number;
  /**
   * How sums become masks. Default `"ultralytics"`: above 0, cut to the box. `"yolov5"` and `"yolact"`: their sigmoid above one half,
   * cells cut to the box.
   */
  readonly rule?: PrototypeRule | undefined;
}

/**
 * Masks that are there as they are: an output [N, masks, height, width], of `torchvision` [masks, 1, height, width]. An object comes
 * with one number: which of them is its own.
 */
export interface HeadPlanes {
  /** f32 or f16. */
  readonly output: string;
  /**
   * Planes as large as the image, of any resolution: `"logits"`, above 0; `"mask2former"`: likewise, enlarged to 384 × 384 first.
   * Probabilities, above one half, in patches as large as the box: `"mmdeploy"` lays cells under it, `"torchvision"` under its whole
   * pixels, `"tensorflow"` has the middles of the outer cells on its sides; these may be pasted into the input already.
   */
  readonly rule: PlaneRule;
}

/** What `decode` is given of one image: the outputs, in host memory also where a GPU computed them. */
export interface HeadOutputs<Plan = unknown> {
  /** What `recognise` handed over. */
  readonly plan: Plan;
  /** Which image of the batch it is. */
  readonly index: number;
  /** Size of the model's input in pixels. */
  readonly inputWidth: number;
  readonly inputHeight: number;
  /** Objects with a lower score are dropped by `push`; to look at no more of them saves time. */
  readonly threshold: number;
  /** Every output as the model gave it, with the images of the whole batch. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  /**
   * The numbers of this image in an output whose first axis is the batch, f16 and integers as f32. Valid until `decode` returns.
   *
   * @throws {ShapeError} If there is no such output, or it has no row for this image
   */
  values(output: string): Float32Array;
  /** The shape of an output without its first axis, the batch. @throws {ShapeError} If there is no such output */
  shape(output: string): Shape;
}

/**
 * Takes the objects of one image. What comes with an object beside its box is given as numbers: of the task `pose` its points, of
 * `segment` its coefficients or the number of its plane, `step` elements of `extras` from one to the next. Objects whose score is below the threshold are
 * dropped, those with a NaN or an infinity are counted and dropped.
 */
export interface FoundObjects {
  /** A box by its left, upper, right and lower side, in pixels of the model's input. */
  push(
    x1: number,
    y1: number,
    x2: number,
    y2: number,
    score: number,
    classId: number,
    extras?: ArrayLike<number>,
    first?: number,
    step?: number,
  ): void;
  /** A box by its centre, width and height. */
  pushCentre(
    cx: number,
    cy: number,
    width: number,
    height: number,
    score: number,
    classId: number,
    extras?: ArrayLike<number>,
    first?: number,
    step?: number,
  ): void;
  /** Of the task `obb`: a box by its centre, width and height, and the angle in radians, clockwise on the screen. */
  pushOriented(
    cx: number,
    cy: number,
    width: number,
    height: number,
    angle: number,
    score: number,
    classId: number,
  ): void;
}

/** A head of one's own: how a model is told to be its own, and how objects are read out of its outputs. */
export interface HeadDefinition<Plan = unknown> {
  /** kebab-case, and no built-in head's; `head` and `--head` take it. */
  readonly name: string;
  /** The outputs it wants, in one line, for messages. */
  readonly summary?: string | undefined;
  /** What its objects have beside box, score and class. Left out: nothing. */
  readonly task?: ObjectTaskName | undefined;
  /**
   * Tell if a model is its own, by metadata, names and shapes, never by the order of the tensors. Without it, the head is for
   * models whose head the caller names.
   *
   * @returns how it is read; `undefined` if the model is another one
   */
  recognise?(model: HeadModel): HeadReading<Plan> | undefined;
  /** Push the objects of one image. Runs once an image, in its turn: nothing may be awaited in it. */
  decode(image: HeadOutputs<Plan>, objects: FoundObjects): void;
}

const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;

/** True for what {@linkcode defineHead} takes, of whichever copy of the package. */
export function isHeadDefinition(value: unknown): value is HeadDefinition {
  const { name, decode, recognise, task } = (value ?? {}) as Partial<Record<keyof HeadDefinition, unknown>>;
  const isTask = task === undefined || task === "obb" || task === "pose" || task === "segment";
  const isRecognised = recognise === undefined || typeof recognise === "function";
  return typeof name === "string" && NAME.test(name) && typeof decode === "function" && isRecognised && isTask;
}

/**
 * Define a head of one's own, for models whose outputs no built-in head reads. Give it to `load` as `heads: [head]`, or on a command
 * line as `--head ./my-head.ts`. NMS, class filters, mapping to the image, drawing and files are as for the built-in ones.
 *
 * @throws {OptionError} If the name is no kebab-case, or something is missing
 *
 * @example Boxes as x, y, width, height of a grid of cells
 * ```ts
 * import { defineHead } from "bun-tensorrt";
 *
 * export default defineHead({
 *   name: "corner-size",
 *   recognise({ outputs: [output, ...others] }) {
 *     if (output?.name !== "boxes_and_scores" || others.length > 0 || output.shape[2] !== 6) return undefined;
 *     return { reason: "one output boxes_and_scores [N, rows, 6]", plan: { output: output.name } };
 *   },
 *   decode({ plan, values }, objects) {
 *     const rows = values(plan.output);
 *     for (let at = 0; at < rows.length; at += 6) {
 *       const [x = 0, y = 0, width = 0, height = 0, score = 0, classId = 0] = rows.subarray(at, at + 6);
 *       objects.push(x, y, x + width, y + height, score, classId);
 *     }
 *   },
 * });
 * ```
 */
export function defineHead<Plan>(definition: HeadDefinition<Plan>): HeadDefinition<Plan> {
  if (isHeadDefinition(definition)) return definition;
  const { name } = (definition ?? {}) as { readonly name?: unknown };
  const hint =
    "give a `name` in kebab-case and a `decode`; `recognise` and a `task`, obb, pose or segment, are optional";
  throw new OptionError(`Cannot define the head ${JSON.stringify(name)}: it is no head\nHint: ${hint}`, "heads");
}

const { fit, colour, scale, mean, std, pad, levels } = shapeOf(PREPROCESSING_OPTIONS);

/** Heads may want filters of the CPU as well, as built-in ones do. */
const PREPROCESSING = z.strictObject({
  ...{ fit, colour, scale, mean, std, pad, levels },
  resize: z.enum(["bilinear", "antialias", "bicubic", "lanczos", "lanczos4"]).optional(),
} satisfies Record<keyof PreprocessingOptions, z.ZodType>);

const FROM_ONE = z.int("a whole number from 1 on").min(1, "a whole number from 1 on");
const NAMES = z.array(z.string());

/** A reading as it is checked: no key but those of {@linkcode HeadReading}. */
const READING: z.ZodType = z.strictObject({
  reason: z.string().optional(),
  plan: z.unknown().optional(),
  outputs: NAMES.optional(),
  classes: FROM_ONE.optional(),
  labels: NAMES.optional(),
  preprocessing: PREPROCESSING.optional(),
  needsNms: z.boolean().optional(),
  usualIou: z.number().min(0).max(1).optional(),
  preferredSize: z.tuple([FROM_ONE, FROM_ONE], "a width and a height in pixels").optional(),
  stride: FROM_ONE.optional(),
  isImageSized: z.boolean().optional(),
  sizeInputs: z
    .array(
      z.strictObject({
        name: z.string(),
        dtype: z.enum(["i64", "i32", "f32"]),
        content: z.enum(["width-height", "height-width", "ones", "mask"]),
      }),
    )
    .optional(),
  keypoints: z
    .strictObject({
      count: FROM_ONE,
      numbers: z.union([z.literal(2), z.literal(3)], "2, x and y, or 3, these and a score"),
      names: NAMES.optional(),
      isClipped: z.boolean().optional(),
    })
    .optional(),
  masks: z
    .strictObject({ output: z.string(), coefficients: FROM_ONE.optional(), rule: z.string().optional() })
    .optional(),
} satisfies Record<keyof HeadReading, z.ZodType>);

/**
 * Check a reading: a misspelt key would do nothing, and a wrong value show nowhere but in what is found.
 *
 * @param refuse throws, with the name of the head
 */
export function checkReading(
  reading: HeadReading,
  refuse: (found: string, hint: string, cause?: unknown) => never,
): void {
  try {
    parseOptions(READING, reading, "read a model");
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    const [found = "", hint = "docs/models.md and the type `HeadReading` have what its `recognise` may return"] =
      error.message.split("\nHint: ");
    refuse(`its reading is not one. ${found}`, hint, error);
  }
}
