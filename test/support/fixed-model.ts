/** @module Fixed model: an ONNX model whose outputs are the same for every image: a head of any form, small enough to be read. */

import type { TypedArray } from "../../src/core/tensor.ts";
import { type NodeSpec, onnxModel } from "./onnx-writer.ts";

/** An output, and what is in it. */
export interface FixedOutput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

/** How the model is declared. */
export interface FixedModelOptions {
  /** Of the input in pixels; a text makes it dynamic. Default 32. */
  readonly side?: number | string;
  /** Of the input and the outputs. Default f32. */
  readonly dtype?: "f32" | "f16";
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A model of one input [1, 3, side, side]. */
export function fixedModel(outputs: readonly FixedOutput[], options: FixedModelOptions = {}): Uint8Array<ArrayBuffer> {
  const { side = 32, dtype = "f32", metadata } = options;
  const dataOf = (values: readonly number[]): TypedArray =>
    dtype === "f32" ? Float32Array.from(values) : Float16Array.from(values);
  const sums = outputs.map(
    ({ name }): NodeSpec => ({ op: "Add", inputs: ["nothing", `${name}_values`], outputs: [name] }),
  );
  return onnxModel({
    nodes: [
      { op: "ReduceMean", inputs: ["images"], outputs: ["mean"], attributes: { keepdims: 0 } },
      { op: "Mul", inputs: ["mean", "zero"], outputs: ["nothing"] },
      ...sums,
    ],
    inputs: [{ name: "images", dtype, shape: [1, 3, side, side] }],
    outputs: outputs.map(({ name, shape }) => ({
      name,
      dtype,
      shape: typeof side === "string" ? shape.map((_, at) => `${name}_${at}`) : shape,
    })),
    initializers: [
      { name: "zero", dtype, shape: [], data: dataOf([0]) },
      ...outputs.map(({ name, shape, values }) => ({ name: `${name}_values`, dtype, shape, data: dataOf(values) })),
    ],
    ...(metadata === undefined ? {} : { metadata }),
  });
}

/** A raw grid, [1, channels, anchors], of which some anchors have values and the others are 0. */
export function rawGrid(
  channels: number,
  rows: readonly (readonly [anchor: number, values: readonly number[]])[],
  anchors = 21,
): FixedOutput {
  const values = new Array<number>(channels * anchors).fill(0);
  for (const [anchor, row] of rows) for (const [at, value] of row.entries()) values[at * anchors + anchor] = value;
  return { name: "output0", shape: [1, channels, anchors], values };
}

/** Final rows, [1, count, columns], the last ones 0. */
export function finalRows(columns: number, rows: readonly (readonly number[])[], count = 60): FixedOutput {
  const values = new Array<number>(columns * count).fill(0);
  for (const [at, row] of rows.entries())
    for (const [column, value] of row.entries()) values[at * columns + column] = value;
  return { name: "output0", shape: [1, count, columns], values };
}
