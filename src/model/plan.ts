/** @module Decode plan: what a decoder needs to know of a model's outputs, as plain data, one shape of data a `kind`. */

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
  /** Boxes are in `pixels` of the model's input, or a `fraction` of its width and height. */
  readonly boxUnit: "pixels" | "fraction";
  /** `centre`: cx, cy, w, h; `corners`: x1, y1, x2, y2. Left out: `centre`. */
  readonly boxForm?: BoxForm;
  /** Output with the boxes, [N, anchors, 4] or [N, anchors, 1, 4] of the same dtype, where an anchor-major output has none. */
  readonly boxes?: string;
}

/** What the four numbers of a box are: its centre, width and height, or its left, upper, right and lower side. */
export type BoxForm = "centre" | "corners";

/**
 * One tensor with finished rows: a box, a score and a class id in columns. Candidate index: the row.
 */
export interface RowsPlan {
  readonly kind: "rows";
  /** f32 or f16: [N, rows, columns], or [rows of all pictures, columns] where `batchColumn` or `counts` is set. */
  readonly output: string;
  readonly columns: number;
  /** Column of the box's first number; the other three follow. */
  readonly boxColumn: number;
  readonly scoreColumn: number;
  readonly classColumn: number;
  /** Column that says which picture of the batch a row belongs to. */
  readonly batchColumn: number | undefined;
  /** Name of an i32 or i64 [N] tensor with the number of rows of each picture, whose rows follow one another. */
  readonly counts: string | undefined;
  /** `centre`: cx, cy, w, h; `corners`: x1, y1, x2, y2. Left out: `corners`. */
  readonly boxForm?: BoxForm;
  /** Boxes are in `pixels` of the model's input, or a `fraction` of its width and height. Left out: `pixels`. */
  readonly boxUnit?: "pixels" | "fraction";
}

/**
 * Boxes, scores and class ids in tensors of their own. Boxes are x1, y1, x2, y2 in input pixels. Candidate index: the row.
 */
export interface ColumnsPlan {
  readonly kind: "columns";
  /** f32 or f16 [N, rows, 4]. */
  readonly boxes: string;
  /** f32 or f16 [N, rows]. */
  readonly scores: string;
  /** i64, i32, f32 or f16 [N, rows]. */
  readonly classes: string;
  /** i32 or i64 [N] or [N, 1]: number of valid rows; `undefined` if all are. */
  readonly counts: string | undefined;
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

/** What a decoder needs to know: the CPU decodes by it, the GPU chooses and fills its kernel by it. */
export type DecodePlan =
  | DensePlan
  | RowsPlan
  | ColumnsPlan
  | QueriesPlan
  | GridPlan
  | DistanceBinsPlan
  | FastestDetPlan;
