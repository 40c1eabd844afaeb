/** @module Host plan: what decoders need to know that run on the CPU alone, and where masks come from. */

import type { TensorInfo } from "../core/tensor.ts";
import type { ModelInfo } from "../model/model-info.ts";

/** Columns of an output that has some numbers a row. */
export interface RowColumns {
  /** [N, rows, width], the last axis split or, of one number, left out; [rows of all images, width] where images are numbered. */
  readonly output: string;
  readonly width: number;
  /** The first column. */
  readonly first: number;
}

/** Columns of an output. */
export function columnsOf({ name }: TensorInfo, width: number, first = 0): RowColumns {
  return { output: name, width, first };
}

/** Rows whose parts are columns of one or several outputs, f32 or f16. Candidate index: the row. Points are read on the CPU only. */
export interface PartsPlan {
  readonly kind: "parts";
  readonly boxes: RowColumns;
  readonly scores: RowColumns;
  /** Class ids, of any dtype. Left out: there is one class. */
  readonly classes?: RowColumns;
  /** x and y of each point, and its score if there are no `pointScores`. */
  readonly points?: RowColumns;
  /** How many points a row has; 0 where it is left out. */
  readonly pointCount?: number;
  readonly pointScores?: RowColumns;
  /** True: the sigmoid of these is yet to be taken, and each point has a third number beside, which is not read. */
  readonly arePointLogits?: boolean;
  /** [N] or [N, 1] of any dtype: number of valid rows; left out if all are. */
  readonly counts?: string | undefined;
  /** True: the first column of the boxes' output is the number of the image. */
  readonly isNumbered?: boolean;
  /** True: outputs are [rows, width], of the only image that the model takes. */
  readonly isSingle?: boolean;
  /** True: the model declares no number of rows, which may be another for each image. */
  readonly hasOpenRows?: boolean;
  /** Left out: `corners`. */
  readonly boxForm?: "centre" | "corners";
  /** Left out: x before y. */
  readonly axes?: "yx";
  /** Boxes and points are in `pixels` of the model's input, or a `fraction` of its width and height. Left out: `pixels`. */
  readonly boxUnit?: "pixels" | "fraction";
}

/** One stride's outputs of a {@linkcode FacesPlan}, f32 or f16. */
export interface FaceLevel {
  /** Input pixels a cell. */
  readonly stride: number;
  /** Of each of a cell's anchors, in input pixels: what offsets are multiplied by. */
  readonly sizes: readonly number[];
  readonly scores: string;
  /** Multiplied by the score, if it is there. */
  readonly objectness?: string;
  readonly boxes: string;
  /** Offsets of the centres from the cells, if they are not among the boxes. */
  readonly offsets?: string;
  /** Of models that have none left out. */
  readonly points?: string;
}

/**
 * Faces with five points, or number plates with four, beside the anchors of grids: what the numbers mean is a matter of the form. Outputs are
 * [N, anchors, numbers], of `scrfd` also [anchors, numbers]; of `centerface` maps [N, numbers, height, width]; those of
 * `retinaface` have the anchors of all levels. Candidate index: the anchor, counted through the levels. On the CPU only.
 */
export interface FacesPlan {
  readonly kind: "faces";
  readonly form: "centerface" | "retinaface" | "scrfd" | "yunet";
  /** Points of an object. */
  readonly pointCount: number;
  /** Finest first. */
  readonly levels: readonly FaceLevel[];
}

/**
 * YOLACT's offsets from priors, cx, cy, w, h as fractions of the input, and a probability a class, the background first. Every
 * class of every prior is a candidate. Candidate index: the prior. On the CPU only.
 */
export interface PriorsPlan {
  readonly kind: "priors";
  /** f32 or f16 [N, priors, 4]: offsets of the centre, and logarithms of the size. */
  readonly boxes: string;
  /** f32 or f16 [N, priors, 1 + classes]. */
  readonly scores: string;
  /** f32 or f16 [priors, 4]. */
  readonly priors: string;
  /** Without the background. */
  readonly classes: number;
}

/**
 * Queries of a class, by softmax, "no object" last, and of a mask that says where they are. Every class of every query is a
 * candidate. Candidate index: the query. On the CPU only.
 */
export interface MaskQueriesPlan {
  readonly kind: "mask-queries";
  /** f32 or f16 [N, queries, classes + 1]. */
  readonly logits: string;
  /** f32 or f16 [N, queries, height, width]: logits. */
  readonly masks: string;
  /** Without "no object". */
  readonly classes: number;
}

/** A head of the caller's decodes by it, on the host, also what a GPU computed. */
export interface OwnPlan {
  readonly kind: "own";
  /** Number of classes, where it is known: ids lie below it. */
  readonly classes?: number | undefined;
  /** Names of the outputs it reads; all where it is left out. */
  readonly outputs: readonly string[] | undefined;
  /** Numbers that come with every object. */
  readonly length: number;
  /** Of masks that are planes or patches: their output, of which each object names one; its axis has as many as there are. */
  readonly planes?: { readonly output: string; readonly axis: 0 | 1 } | undefined;
  /** What the head handed over to its own decoder. */
  readonly plan: unknown;
}

/**
 * Boxes y1, x1, y2, x2 in input pixels, the scores of every class, and the triples image, class, box that an NMS inside the model
 * has chosen. Candidate index: class × boxes + box. On the CPU only.
 */
export interface ChosenPlan {
  readonly kind: "chosen";
  /** f32 or f16 [N, boxes, 4]. */
  readonly boxes: string;
  /** f32 or f16 [N, classes, boxes]. */
  readonly scores: string;
  /** i32 or i64 [chosen, 3] or [1, chosen, 3]. */
  readonly indices: string;
}

/** Corners in pixels, and a plane of probabilities a class. Candidate index: the anchor. Class: the first of the best. On the CPU only. */
export interface PlanesPlan {
  readonly kind: "planes";
  /** f32 or f16 [N, anchors, 4]. */
  readonly boxes: string;
  /** f32 or f16 [N, classes, anchors]. */
  readonly scores: string;
  readonly classes: number;
}

/** Families whose masks are sums of prototypes. */
export type PrototypeRule = "ultralytics" | "yolov5" | "yolact";
/** Families with a plane for each object, the first two, or a patch under its box. */
export type PlaneRule = "logits" | "mask2former" | "torchvision" | "mmdeploy" | "tensorflow";
/** Which family's masks they are: see `ProtoMasks`. */
export type MaskRule = PrototypeRule | PlaneRule;

/** Where the masks of kept rows come from. */
export interface MaskSource {
  /**
   * f32 or f16. Prototypes [N, channels, height, width], of `yolact` [N, height, width, channels] or the same without N; a plane a
   * query [N, queries, height, width]; of `torchvision` [rows, 1, height, width], of other patches [N, rows, height, width].
   */
  readonly output: string;
  readonly rule: MaskRule;
}

/** Side of the largest patch; most are 28 cells wide. */
export const LARGEST_PATCH = 64;

/** True for masks that may be patches under boxes, or pasted into the input already; a side may be open. */
export function mayBePatches({ shape }: TensorInfo, [width, height]: readonly [number, number]): boolean {
  const [, , down = -1, across = -1] = shape;
  const isPasted = (down < 0 || down === height) && (across < 0 || across === width);
  return isPasted || (Math.max(down, across) <= LARGEST_PATCH && (down === across || Math.min(down, across) < 0));
}

/** One stride's outputs of an {@linkcode AnchorOffsetsPlan}. */
export interface AnchorOffsetsLevel {
  /** Input pixels a cell; a side that is no multiple has smaller cells. */
  readonly stride: number;
  readonly scores: string;
  readonly boxes: string;
}

/**
 * EfficientDet's scores and offsets y, x, height and width from anchors: a centre's in sizes of its anchor, the logarithm of a size in
 * the same. Candidate index: cell × anchors + anchor, counted through the levels. On the CPU only.
 */
export interface AnchorOffsetsPlan {
  readonly kind: "anchor-offsets";
  /** Finest first. */
  readonly levels: readonly AnchorOffsetsLevel[];
  /** Width and height of each of a cell's anchors, in strides, in the order of the outputs. */
  readonly anchors: readonly (readonly [width: number, height: number])[];
  readonly classes: number;
  /**
   * f32 or f16. `rows`: all levels have the same outputs, probabilities [N, anchors, classes] and [N, anchors, 4]; the best class counts.
   * `maps`: logits [N, anchors × classes, height, width] and [N, anchors × 4, height, width]; every class counts.
   */
  readonly order: "rows" | "maps";
  /** Of `rows`, an output with the anchors, y1, x1, y2, x2 in pixels, [N, anchors, 4]. */
  readonly anchorBoxes?: string;
}

/** Plans that the CPU alone decodes by. */
export type HostPlan =
  | PartsPlan
  | PlanesPlan
  | FacesPlan
  | PriorsPlan
  | MaskQueriesPlan
  | ChosenPlan
  | AnchorOffsetsPlan;

/** A plan that says whether the rows of a model are open. */
export function withOpenRows<Plan extends { readonly kind: string }>(plan: Plan, model: ModelInfo): Plan {
  if (plan.kind !== "parts") return plan;
  const { boxes, isNumbered, isSingle } = plan as unknown as PartsPlan;
  const { shape = [] } = model.outputs.find(({ name }) => name === boxes.output) ?? {};
  const isFound = shape[isNumbered || isSingle ? 0 : 1]! >= 0;
  return isFound && !model.openRows?.includes(boxes.output) ? plan : { ...plan, hasOpenRows: true };
}

/** Why a GPU does not decode by a plan. */
interface HostReason {
  /** What is read: `an open number of rows`. */
  readonly what: string;
  /** Which export a GPU decodes. */
  readonly help?: string;
}

const HOST_KINDS: Readonly<Record<Exclude<HostPlan["kind"], "parts">, HostReason>> = {
  planes: { what: "classes in planes", help: "export it with `exclude_post_process=True`" },
  faces: { what: "faces beside anchors" },
  priors: { what: "offsets from priors" },
  "mask-queries": { what: "boxes that are found in masks" },
  chosen: { what: "rows that an NMS inside the model chose", help: "export the model without its NMS" },
  "anchor-offsets": { what: "offsets from anchors" },
};

/** Why only the CPU decodes by a plan; `undefined` if a GPU does as well. */
export function hostReason(plan: { readonly kind: string } | PartsPlan): HostReason | undefined {
  const { kind } = plan;
  if (kind !== "parts")
    return Object.hasOwn(HOST_KINDS, kind) ? HOST_KINDS[kind as keyof typeof HOST_KINDS] : undefined;
  const { hasOpenRows = false, isNumbered = false, pointCount } = plan as PartsPlan;
  if (pointCount !== undefined) return { what: "points in rows" };
  if (isNumbered) return { what: "rows that number their images" };
  return hasOpenRows ? { what: "an open number of rows", help: "export it with a fixed number of rows" } : undefined;
}

/** True if only the CPU decodes by a plan. */
export function isHostPlan(plan: { readonly kind: string }): boolean {
  return hostReason(plan) !== undefined;
}
