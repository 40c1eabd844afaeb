/** @module Classifiers small enough to be made by a test: scores are values of the input themselves, or means of it. */

import { type NodeSpec, onnxModel, type ValueSpec } from "./onnx-writer.ts";

/** How the toy is declared. */
export interface ToyClassifierOptions {
  readonly batch?: number | string;
  /** Side of the input, or [height, width]. Default 4. */
  readonly side?: number | string | readonly [height: number, width: number];
  readonly layout?: "NCHW" | "NHWC";
  readonly dtype?: "f32" | "f16" | "u8";
  /** `values`: every value of the input in its order, whose side must be fixed. `means`: the mean of each channel. */
  readonly scores?: "values" | "means";
  /** True: a softmax is the model's last step. */
  readonly hasSoftmax?: boolean;
  /** Repeats of the means, 3 classes each. */
  readonly repeats?: number;
  /** Of the output. */
  readonly name?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A classifier. */
export function toyClassifier({
  batch = "batch",
  side = 4,
  layout = "NCHW",
  dtype = "f32",
  scores = "values",
  hasSoftmax = false,
  repeats = 1,
  name = "scores",
  metadata = {},
}: ToyClassifierOptions = {}): Uint8Array<ArrayBuffer> {
  const [height, width] = typeof side === "object" ? side : [side, side];
  const shape: ValueSpec["shape"] = layout === "NCHW" ? [batch, 3, height, width] : [batch, height, width, 3];
  const isMean = scores === "means";
  const classes = isMean ? 3 * repeats : 3 * Number(height) * Number(width);
  const attributes = { axes: layout === "NCHW" ? [2, 3] : [1, 2], keepdims: 0 };
  const isHalf = dtype === "f16";
  const last: NodeSpec = hasSoftmax
    ? { op: "Softmax", inputs: ["flat"], outputs: ["raw"], attributes: { axis: 1 } }
    : { op: "Identity", inputs: ["flat"], outputs: ["raw"] };
  return onnxModel({
    nodes: [
      { op: "Cast", inputs: ["images"], outputs: ["floats"], attributes: { to: 1 } },
      isMean
        ? { op: "ReduceMean", inputs: ["floats"], outputs: ["means"], attributes }
        : { op: "Flatten", inputs: ["floats"], outputs: ["means"] },
      { op: "Concat", inputs: new Array(repeats).fill("means"), outputs: ["flat"], attributes: { axis: 1 } },
      last,
      { op: "Cast", inputs: ["raw"], outputs: [name], attributes: { to: isHalf ? 10 : 1 } },
    ],
    inputs: [{ name: "images", dtype, shape }],
    outputs: [{ name, dtype: isHalf ? "f16" : "f32", shape: [batch, classes] }],
    metadata,
  });
}
