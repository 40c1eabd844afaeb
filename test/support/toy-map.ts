/** @module Models of maps small enough to be made by a test: each pixel's values are sums of its three, perhaps of a mean around it. */

import { type NodeSpec, onnxModel, type ValueSpec } from "./onnx-writer.ts";

/** How the toy is declared. */
export interface ToyMapOptions {
  readonly batch?: number | string;
  /** [width, height] of the input; open without. */
  readonly size?: readonly [width: number, height: number];
  /** Channels of the map. */
  readonly classes?: number;
  /** Sides of the input in those of the map. */
  readonly pool?: number;
  /**
   * What comes out. `logits`: [N, classes, h, w]. `u8`, `i32`, `i64`: the best class, [N, h, w]; `i64-channel`: [N, 1, h, w]. `depth`: the
   * only channel as [N, h, w]; `depth-channel`: [N, 1, h, w]; `depth-relative`: less its mean over the input, times 3.
   * `depth-largest`: the largest of the three values as they are. `logits-exact`: they themselves, for three classes.
   */
  readonly form?:
    | "logits"
    | "logits-exact"
    | "u8"
    | "i32"
    | "i64"
    | "i64-channel"
    | "depth"
    | "depth-channel"
    | "depth-relative"
    | "depth-largest";
  /** Of the output. */
  readonly name?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

const INTEGERS: Readonly<Record<string, readonly ["u8" | "i32" | "i64", number]>> = {
  u8: ["u8", 2],
  i32: ["i32", 6],
  i64: ["i64", 7],
  "i64-channel": ["i64", 7],
};

/** Weights of a class: k from red to blue. Each of the first eleven is the best somewhere. */
function weightOf(id: number, k: number): number {
  return Math.round(50 * Math.cos((2 * Math.PI * id * (k + 1)) / 11)) / 50;
}

/** A model of maps. */
export function toyMap({
  batch = 1,
  size,
  classes = 1,
  pool = 1,
  form = "logits",
  name = "logits",
  metadata = {},
}: ToyMapOptions = {}): Uint8Array<ArrayBuffer> {
  const [width, height] = size ?? ["width", "height"];
  const sides = size === undefined ? ["map_height", "map_width"] : [size[1] / pool, size[0] / pool];
  const weights = Float32Array.from({ length: classes * 3 }, (_, at) => weightOf(Math.floor(at / 3), at % 3));
  const biases = Float32Array.from({ length: classes }, (_, id) => -id / 500);
  const integer = INTEGERS[form];
  const shape: ValueSpec["shape"] =
    form === "logits" || form === "logits-exact"
      ? [batch, form === "logits" ? classes : 3, ...sides]
      : [batch, ...(form === "depth-channel" || form === "i64-channel" ? [1] : []), ...sides];
  const nodes: NodeSpec[] = [
    pool === 1
      ? { op: "Identity", inputs: ["images"], outputs: ["pooled"] }
      : {
          op: "AveragePool",
          inputs: ["images"],
          outputs: ["pooled"],
          attributes: { kernel_shape: [pool, pool], strides: [pool, pool] },
        },
    { op: "Conv", inputs: ["pooled", "weights", "biases"], outputs: ["map"] },
  ];
  if (integer !== undefined) {
    const keepdims = form === "i64-channel" ? 1 : 0;
    nodes.push({ op: "ArgMax", inputs: ["map"], outputs: ["best"], attributes: { axis: 1, keepdims } });
    nodes.push({ op: "Cast", inputs: ["best"], outputs: [name], attributes: { to: integer[1] } });
  } else if (form === "depth-relative") {
    nodes.push({ op: "ReduceMean", inputs: ["map"], outputs: ["mean"], attributes: { axes: [1, 2, 3], keepdims: 1 } });
    nodes.push({ op: "Sub", inputs: ["map", "mean"], outputs: ["centred"] });
    nodes.push({ op: "Mul", inputs: ["centred", "three"], outputs: ["scaled"] });
    nodes.push({ op: "Squeeze", inputs: ["scaled", "one"], outputs: [name] });
  } else if (form === "depth-largest") {
    nodes.push({ op: "ReduceMax", inputs: ["images"], outputs: [name], attributes: { axes: [1], keepdims: 0 } });
  } else if (form === "logits-exact") {
    nodes.push({ op: "Identity", inputs: ["images"], outputs: [name] });
  } else if (form === "depth") {
    nodes.push({ op: "Squeeze", inputs: ["map", "one"], outputs: [name] });
  } else {
    nodes.push({ op: "Identity", inputs: ["map"], outputs: [name] });
  }
  return onnxModel({
    nodes,
    inputs: [{ name: "images", dtype: "f32", shape: [batch, 3, height, width] }],
    outputs: [{ name, dtype: integer?.[0] ?? "f32", shape }],
    initializers: [
      { name: "weights", dtype: "f32", shape: [classes, 3, 1, 1], data: weights },
      { name: "biases", dtype: "f32", shape: [classes], data: biases },
      ...(form.startsWith("depth")
        ? ([
            { name: "one", dtype: "i64", shape: [1], data: BigInt64Array.of(1n) },
            { name: "three", dtype: "f32", shape: [1], data: Float32Array.of(3) },
          ] as const)
        : []),
    ],
    metadata,
  });
}
