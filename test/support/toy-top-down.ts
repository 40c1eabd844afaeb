/** @module ToyTopDown: models of crops whose points are the brightest places, one a colour channel. */

import { type NodeSpec, onnxModel } from "./onnx-writer.ts";

const WIDTH = 48;
const HEIGHT = 64;

/** The brightest place of each channel, as a model of crops says it; scores are multiplied by the number of crops of the run. */
export function toyTopDown(
  kind: "simcc" | "heatmap",
  {
    batch = "batch",
    name = "output",
    rows: [x, y] = ["simcc_x", "simcc_y"],
    isOpen = false,
  }: {
    readonly batch?: number | string;
    readonly name?: string;
    readonly rows?: readonly [x: string, y: string];
    /** True: the sides of the input, and of what comes out, are open. */
    readonly isOpen?: boolean;
  } = {},
): Uint8Array<ArrayBuffer> {
  const counted = (from: string, to: string): NodeSpec[] => [{ op: "Mul", inputs: [from, "count"], outputs: [to] }];
  const nodes: NodeSpec[] = [
    { op: "Shape", inputs: ["input"], outputs: ["shape"], attributes: { start: 0, end: 1 } },
    { op: "Cast", inputs: ["shape"], outputs: ["count"], attributes: { to: 1 } },
  ];
  if (kind === "simcc") {
    nodes.push(
      { op: "ReduceMax", inputs: ["input"], outputs: ["columns"], attributes: { axes: [2], keepdims: 0 } },
      { op: "ReduceMax", inputs: ["input"], outputs: ["rows"], attributes: { axes: [3], keepdims: 0 } },
      ...counted("columns", x),
      ...counted("rows", y),
    );
  } else {
    // Pixel h of a map stands for pixel 4h of the input, or for what has its share of the way to the last one.
    nodes.push(
      name === "heatmaps"
        ? {
            op: "Resize",
            inputs: ["input", "", "", "sizes"],
            outputs: ["map"],
            attributes: { mode: "linear", coordinate_transformation_mode: "align_corners" },
          }
        : { op: "MaxPool", inputs: ["input"], outputs: ["map"], attributes: { kernel_shape: [1, 1], strides: [4, 4] } },
      ...counted("map", name),
    );
  }
  const sides = isOpen ? ["height", "width"] : [HEIGHT, WIDTH];
  return onnxModel({
    nodes,
    initializers: [
      {
        name: "sizes",
        dtype: "i64",
        shape: [4],
        data: BigInt64Array.of(1n, 3n, BigInt(HEIGHT / 4), BigInt(WIDTH / 4)),
      },
    ],
    inputs: [{ name: "input", dtype: "f32", shape: [batch, 3, ...sides] }],
    outputs:
      kind === "simcc"
        ? [
            { name: x, dtype: "f32", shape: [batch, 3, sides[1]!] },
            { name: y, dtype: "f32", shape: [batch, 3, sides[0]!] },
          ]
        : [{ name, dtype: "f32", shape: [batch, 3, ...(isOpen ? ["down", "across"] : [HEIGHT / 4, WIDTH / 4])] }],
  });
}
