/** @module Map plan: what decoders need to know of the maps that heads end in, before boxes are worked out. */

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
