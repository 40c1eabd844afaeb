/** @module A detector small enough to be made by a test: fixed boxes, whose scores are the image's brightness. */

import { type InitializerSpec, type NodeSpec, onnxModel } from "./onnx-writer.ts";

/** One box of the toy: corners in pixels of its 64x64 input. */
export interface ToyBox {
  readonly box: readonly [x1: number, y1: number, x2: number, y2: number];
  readonly classId: number;
  /** Score for a white image; a grey one gets its share. */
  readonly score: number;
}

/** How the toy is declared. */
export interface ToyOptions {
  /** Rows of a batch; a text makes it dynamic. Default `"batch"`. */
  readonly batch?: number | string;
  /** Side of the input in pixels; a text makes it dynamic. Default 64. */
  readonly side?: number | string;
  /** Of the input: 1 takes grey images. Default 3. */
  readonly channels?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Adds nothing to every value by way of a NonZero, whose shape only the data decide: no CUDA graph can hold it. */
  readonly hasDataShape?: boolean;
  /** Every run goes on for days, in a `Loop`. */
  readonly isEndless?: boolean;
  /** What is done to the input first, from `images` to `scaled`. */
  readonly before?:
    | { readonly nodes: readonly NodeSpec[]; readonly initializers?: readonly InitializerSpec[] }
    | undefined;
}

/** `same = sum + 0 + 0 …`, for days. */
const ENDLESS: NodeSpec = {
  op: "Loop",
  inputs: ["rounds", "", "sum"],
  outputs: ["same"],
  attributes: {
    body: {
      nodes: [
        { op: "Identity", inputs: ["condition"], outputs: ["again"] },
        { op: "Add", inputs: ["value", "nothing"], outputs: ["next"] },
      ],
      inputs: [
        { name: "iteration", dtype: "i64", shape: [] },
        { name: "condition", dtype: "bool", shape: [] },
        { name: "value", dtype: "f32" },
      ],
      outputs: [
        { name: "again", dtype: "bool", shape: [] },
        { name: "next", dtype: "f32" },
      ],
      initializers: [{ name: "nothing", dtype: "f32", shape: [1], data: Float32Array.of(0) }],
    },
  },
};

/** `same = sum + 0 · (the places where images is not 0)`. */
const NOTHING_OF_DATA_SHAPE: readonly NodeSpec[] = [
  { op: "NonZero", inputs: ["images"], outputs: ["places"] },
  { op: "Cast", inputs: ["places"], outputs: ["numbers"], attributes: { to: 1 } },
  { op: "Mul", inputs: ["numbers", "zero"], outputs: ["zeros"] },
  { op: "ReduceSum", inputs: ["zeros"], outputs: ["nothing"], attributes: { keepdims: 1 } },
  { op: "Add", inputs: ["sum", "nothing"], outputs: ["same"] },
];

/** What a 64x64 input has with strides 8, 16 and 32. */
const ANCHORS = 84;

/** Two boxes of class 0 that overlap by 0.73, one of class 1 in the same place, one elsewhere. */
export const TOY_BOXES: readonly ToyBox[] = [
  { box: [8, 8, 40, 40], classId: 0, score: 0.9 },
  { box: [12, 10, 44, 40], classId: 0, score: 0.8 },
  { box: [8, 8, 40, 40], classId: 1, score: 0.7 },
  { box: [44, 20, 60, 52], classId: 1, score: 0.6 },
];

/**
 * An ONNX detector with the head [N, 4 + 2, 84] with the classes `cat` and `dog`: `TOY_BOXES`, with every score
 * multiplied by the mean of the input, which is 1 for a white image.
 */
export function toyDetector(options: ToyOptions = {}): Uint8Array<ArrayBuffer> {
  const { batch = "batch", side = 64, channels = 3, hasDataShape = false, isEndless = false, before } = options;
  // Value = mean × slope + offset: boxes are all offset, scores all slope.
  const slope = new Float32Array(6 * ANCHORS);
  const offset = new Float32Array(6 * ANCHORS);
  for (const [anchor, { box, classId, score }] of TOY_BOXES.entries()) {
    const [x1, y1, x2, y2] = box;
    for (const [row, value] of [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1].entries()) {
      offset[row * ANCHORS + anchor] = value;
    }
    slope[(4 + classId) * ANCHORS + anchor] = score;
  }
  return onnxModel({
    inputs: [
      { name: "images", dtype: "f32", shape: [batch, channels, side, typeof side === "string" ? "width" : side] },
    ],
    outputs: [{ name: "output0", dtype: "f32", shape: [batch, 6, ANCHORS] }],
    metadata: { names: "{0: 'cat', 1: 'dog'}", task: "detect", stride: "32", imgsz: "[64, 64]", ...options.metadata },
    initializers: [
      { name: "slope", dtype: "f32", shape: [1, 6 * ANCHORS, 1, 1], data: slope },
      { name: "offset", dtype: "f32", shape: [1, 6 * ANCHORS, 1, 1], data: offset },
      ...(hasDataShape ? [{ name: "zero", dtype: "f32", shape: [1], data: Float32Array.of(0) } as const] : []),
      ...(isEndless
        ? [{ name: "rounds", dtype: "i64", shape: [], data: new BigInt64Array([1n << 50n]) } as const]
        : []),
      { name: "rows", dtype: "i64", shape: [3], data: new BigInt64Array([0n, 6n, BigInt(ANCHORS)]) },
      ...(before?.initializers ?? []),
    ],
    nodes: [
      ...(before?.nodes ?? []),
      { op: "GlobalAveragePool", inputs: [before === undefined ? "images" : "scaled"], outputs: ["channels"] },
      { op: "ReduceMean", inputs: ["channels"], outputs: ["mean"], attributes: { axes: [1], keepdims: 1 } },
      { op: "Mul", inputs: ["mean", "slope"], outputs: ["product"] },
      { op: "Add", inputs: ["product", "offset"], outputs: ["sum"] },
      ...(hasDataShape ? NOTHING_OF_DATA_SHAPE : []),
      ...(isEndless ? [ENDLESS] : []),
      { op: "Reshape", inputs: [hasDataShape || isEndless ? "same" : "sum", "rows"], outputs: ["output0"] },
    ],
  });
}
