/**
 * @module Plans: what decoders that have a kernel need to know of outputs: of rows, and of the maps that heads end in, before boxes are
 * worked out. `host-plan.ts` has those that the CPU alone decodes by.
 */

import type { HostPlan, OwnPlan } from "./host-plan.ts";

/**
 * One tensor with a row an anchor: four box channels, perhaps objectness, then one probability a class, then channels
 * that are not read. Candidate index: the anchor. Class: the first of the best.
 */
export interface DensePlan {
  readonly kind: "dense";
  /** f32 or f16, [N, channels, anchors] if channel-major, [N, anchors, channels] if anchor-major. */
  readonly output: string;
  readonly order: "channel-major" | "anchor-major";
  /** Channels of the tensor. */
  readonly channels: number;
  readonly classes: number;
  /** Channel of the first class: 4, or 5 after objectness; 0 where the boxes are a tensor of their own. */
  readonly classChannel: number;
  /**
   * `class`: the best class's probability. `product`: that times channel 4, objectness. `objectness`: channel 4 alone.
   * Channel-major tensors have no objectness.
   */
  readonly score: "class" | "product" | "objectness";
  /** True if objectness is 1 in every row, as YOLOv6 writes it: where it is not, the head is another. */
  readonly isObjectnessOne?: true;
  /** Boxes are in `pixels` of the model's input, or a `fraction` of its width and height. */
  readonly boxUnit: "pixels" | "fraction";
  /** `centre`: cx, cy, w, h; `corners`: x1, y1, x2, y2. Left out: `centre`. */
  readonly boxForm?: RawBoxForm;
  /** Output with the boxes, [N, anchors, 4] or [N, anchors, 1, 4] of the same dtype, where an anchor-major output has none. */
  readonly boxes?: string;
}

/** What the four numbers of a box are: its centre, width and height, or its left, upper, right and lower side. */
export type RawBoxForm = "centre" | "corners";

/** One tensor with finished rows: a box, a score and a class id in columns. Candidate index: the row. */
export interface RowsPlan {
  readonly kind: "rows";
  /** f32 or f16: [N, rows, columns], or [rows of all images, columns] where `batchColumn` or `counts` is set. */
  readonly output: string;
  readonly columns: number;
  /** Column of the box's first number; the other three follow. */
  readonly boxColumn: number;
  readonly scoreColumn: number;
  readonly classColumn: number;
  /** Column that says which image of the batch a row belongs to. */
  readonly batchColumn?: number | undefined;
  /** Name of an i32 or i64 [N] tensor with the number of rows of each image, whose rows follow one another. */
  readonly counts?: string | undefined;
  /** `centre`: cx, cy, w, h; `corners`: x1, y1, x2, y2. Left out: `corners`. */
  readonly boxForm?: RawBoxForm;
  /** Boxes are in `pixels` of the model's input, or a `fraction` of its width and height. Left out: `pixels`. */
  readonly boxUnit?: "pixels" | "fraction";
}

/**
 * Boxes, scores and class ids in tensors of their own. Boxes are x1, y1, x2, y2. Candidate index: the row.
 */
export interface ColumnsPlan {
  readonly kind: "columns";
  /** f32 or f16 [N, rows, 4]. */
  readonly boxes: string;
  /** f32 or f16 [N, rows]. */
  readonly scores: string;
  /** i64, i32, f32 or f16 [N, rows]. */
  readonly classes: string;
  /** i32 or i64 [N] or [N, 1]: number of valid rows; left out if all are. */
  readonly counts?: string | undefined;
  /** Boxes are in `pixels` of the model's input, or a `fraction` of its width and height. Left out: `pixels`. */
  readonly boxUnit?: "pixels" | "fraction";
}

/**
 * Logits and boxes of object queries; boxes are cx, cy, w, h as fractions of the input.
 *
 * `sigmoid`: every class of every query is a candidate of its own, index query × classes + class.
 * `softmax`: the last class means "no object"; a query is one candidate, of its first best other class.
 */
export interface QueriesPlan {
  readonly kind: "queries";
  /** f32 or f16 [N, queries, classes]. */
  readonly logits: string;
  /** f32 or f16 [N, queries, 4]. */
  readonly boxes: string;
  /** Classes of the logits, "no object" included. */
  readonly classes: number;
  readonly activation: "sigmoid" | "softmax";
}

/**
 * YOLOX's undecoded grid: tx, ty, tw, th, objectness and one probability a class, for each cell of each stride's grid,
 * row by row, finest grid first. Centre (t + cell) × stride, size exp(t) × stride, score objectness × class.
 * Candidate index: the row.
 */
export interface GridPlan {
  readonly kind: "grid";
  /** f32 or f16 [N, cells, 5 + classes]. */
  readonly output: string;
  readonly classes: number;
  /** Input pixels a cell, finest first. */
  readonly strides: readonly number[];
}

/**
 * FastestDet's one grid: objectness, tx, ty, tw, th and one probability a class. Centre (cell + tanh t) / cells, size
 * sigmoid t, both as fractions of the input; score objectness^0.6 × class^0.4. Candidate index: the cell, row by row.
 */
export interface FastestDetPlan {
  readonly kind: "fastestdet";
  /** f32 or f16 [N, 5 + classes, rows, columns]. */
  readonly output: string;
  readonly classes: number;
}

/** One stride's map of a {@linkcode AnchorMapsPlan}. */
export interface AnchorLevel {
  /** Input pixels a cell. */
  readonly stride: number;
  /** Of all numbers of its anchors, or of their x, y, w and h where objectness and classes are maps of their own. */
  readonly output: string;
  /** [N, anchors, height, width], of a plan in the order `channels`. Together with `classMap`, or left out. */
  readonly objectnessMap?: string;
  /** [N, anchors × classes, height, width]. */
  readonly classMap?: string;
  /** Width and height of each of a cell's anchors, in input pixels, in the order of the map. */
  readonly anchors: readonly (readonly [width: number, height: number])[];
  /** How far a centre may leave its cell: YOLOv4's scale of x and y. Left out: 1. */
  readonly centreScale?: number;
}

/**
 * What a head of anchors gave before its boxes were decoded: x, y, w, h, objectness and the classes of each anchor of each cell,
 * a map for each stride. Score objectness × best class. Candidate index: as `counted` says, through the levels.
 */
export interface AnchorMapsPlan {
  readonly kind: "anchor-maps";
  /** Finest first. */
  readonly levels: readonly AnchorLevel[];
  readonly classes: number;
  /** Numbers an anchor, where there are more than 5 + classes: coefficients of masks follow. */
  readonly numbers?: number;
  /**
   * Where the numbers lie, f32 or f16. `channels`: [N, anchors × numbers, height, width]; `anchors`:
   * [N, anchors, height, width, numbers]; `cells`: [N, height, width, anchors, numbers], or the last two as one axis.
   */
  readonly order: "channels" | "anchors" | "cells";
  /** How candidates are counted within a level. `cells`: cell × anchors + anchor; `anchors`: anchor × cells + cell. Left out: `cells`. */
  readonly counted?: "cells" | "anchors";
  /**
   * `darknet`: centre sigmoid, size e^t × anchor. `yolov2`: likewise, and the classes by softmax. `yolov5`: centre 2 × sigmoid − 0.5,
   * size (2 × sigmoid)² × anchor; of one class objectness alone is the score. `yolox`: centre as it is, size e^t × anchor.
   * `custom-vision`: that, and the classes by softmax.
   */
  readonly form: "darknet" | "yolov2" | "yolov5" | "yolox" | "custom-vision";
  /** What the model has put through the sigmoid itself. */
  readonly activated: "nothing" | "scores" | "all";
  /** True: the maps are those of a model that was cut, and proved. Scores need not show that they are logits. Left out: they must. */
  readonly isProved?: boolean;
}

/** One stride's maps of a {@linkcode DistanceMapsPlan}. */
export interface DistanceLevel {
  /** Input pixels a cell. */
  readonly stride: number;
  readonly classMap: string;
  /** May be the class map, where a channel each says where the numbers begin. */
  readonly distanceMap: string;
  /** One channel a cell: the angle of its box. Of a plan with `angle`. */
  readonly angleMap?: string;
}

/**
 * Scores of the classes and distances to the sides, left, up, right and down, in strides, of each cell: the mean of the bins 0, 1,
 * 2, … by the softmax of their logits, or of one bin the distance itself. Candidate index and source: the cell, counted through the
 * levels, row by row.
 */
export interface DistanceMapsPlan {
  readonly kind: "distance-maps";
  /** Finest first. */
  readonly levels: readonly DistanceLevel[];
  readonly classes: number;
  readonly bins: number;
  /**
   * f32 or f16. `NCHW` and `NHWC`: a map of classes and one of 4 × bins for each level. `rows`: one tensor [N, cells of all levels,
   * classes + 4 × bins].
   */
  readonly order: "NCHW" | "NHWC" | "rows";
  /** The first channel of the classes in a class map of more channels, NCHW. Left out: the map has those of the classes only. */
  readonly classChannel?: number;
  /** The first channel of the distances in a distance map of more channels, NCHW. Left out: the map has 4 × bins. */
  readonly distanceChannel?: number;
  /** True: the sigmoid of the classes is yet to be taken. */
  readonly areLogits: boolean;
  /** Where distances are measured from, in cells, from the cell's corner. */
  readonly centre: 0 | 0.5;
  /**
   * True: every class of every cell is a candidate of its own, index cell × classes + class, source the cell, as in the rows that
   * YOLOv10 and YOLO26 choose themselves (without NMS: `needsNms` of the spec is false). Left out: a cell's first best class.
   */
  readonly isMultiLabel?: boolean;
  /** Most candidates of an image that stay, the best: as many as the model's own rows were. Left out: all. */
  readonly most?: number;
  /**
   * Boxes are oriented, NCHW: distances are those of a box turned round its cell. `sigmoid`: the angle in radians is (sigmoid − 0.25) × π
   * of the map (YOLOv8, 11); `radians`: the map has it (YOLO26). The decoder pushes five numbers with each candidate, centre x, y, width
   * and height in input pixels and the angle: extras of the order `pushed`, of five channels, read them by the source.
   */
  readonly angle?: "sigmoid" | "radians";
  /** True: the maps are those of a model that was cut, and proved. Scores need not show that they are logits. Left out: they must. */
  readonly isProved?: boolean;
}

/** One stride's maps of an {@linkcode OffsetMapsPlan}. */
export interface OffsetLevel {
  /** Input pixels a cell. */
  readonly stride: number;
  readonly classMap: string;
  readonly boxMap: string;
  /** Width and height of each of a cell's anchors, in input pixels, in the order of the maps. */
  readonly anchors: readonly (readonly [width: number, height: number])[];
}

/**
 * Probabilities and offsets from anchors, maps for each stride: a centre's offset in sizes of its anchor, the logarithm of a size in
 * the same. Boxes are cut to the cells. Every class of every anchor is a candidate. Candidate index: source × classes + class; source:
 * cell × anchors + anchor, counted through the levels.
 */
export interface OffsetMapsPlan {
  readonly kind: "offset-maps";
  /** Finest first. f32 or f16: classes [N, anchors × classes, height, width], boxes [N, anchors × 4, height, width]. */
  readonly levels: readonly OffsetLevel[];
  readonly classes: number;
  /** How far in pixels the anchors' centres lie from their cells'. */
  readonly centre: 0 | 0.5;
}

/** One stride's maps of a {@linkcode DistanceBinsPlan}. */
export interface DistanceBinsLevel {
  /** Input pixels a cell. */
  readonly stride: number;
  /** f32 or f16 [N, cells, classes], probabilities. */
  readonly classMap: string;
  /** f32 or f16 [N, cells, 4 × bins], logits of the distance left, up, right, down. */
  readonly distanceMap: string;
}

/**
 * NanoDet's maps: a side's distance is the mean of the softmaxed bins 0, 1, 2, … times the stride, from the cell's
 * centre (cell + 0.5) × stride. Candidate index: the cell, counted through the levels.
 */
export interface DistanceBinsPlan {
  readonly kind: "distance-bins";
  /** Finest first. */
  readonly levels: readonly DistanceBinsLevel[];
  readonly classes: number;
  readonly bins: number;
}

/** Plans of maps as the last convolutions give them. */
export type MapPlan = AnchorMapsPlan | DistanceMapsPlan | OffsetMapsPlan;

/** Those of them that models are cut to. */
export type CutPlan = DistanceMapsPlan | AnchorMapsPlan;

/** What a decoder needs to know: the CPU decodes by it, the GPU chooses and fills its kernel by it. */
export type DecodePlan =
  | HostPlan
  | MapPlan
  | OwnPlan
  | DensePlan
  | RowsPlan
  | ColumnsPlan
  | QueriesPlan
  | GridPlan
  | DistanceBinsPlan
  | FastestDetPlan;
