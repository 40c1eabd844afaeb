/** @module Fixed model: an ONNX model whose outputs are the same for every image: a head of any form, small enough to be read. */

import type { TypedArray } from "../../src/core/tensor.ts";
import { type NodeSpec, onnxModel } from "./onnx-writer.ts";

/** An output, and what is in it. */
export interface FixedOutput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
  /** Default: that of the model. */
  readonly dtype?: "i64";
}

/** How the model is declared. */
export interface FixedModelOptions {
  /** Of the input in pixels; a text makes it dynamic. Default 32. */
  readonly side?: number | string;
  /** Of the input and the outputs. Default f32. */
  readonly dtype?: "f32" | "f16";
  /** True: the input is u8 [1, side, side, 3]. */
  readonly isBytes?: boolean;
  /** True: the input is u16, of models that scale samples themselves. */
  readonly isSamples?: boolean;
  /** Of the input; -1 leaves them open. Default 3. */
  readonly channels?: number;
  /** True: the input is [3, side, side], without a batch, and outputs declare their ranks only. */
  readonly isSingle?: boolean;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** TensorProto.DataType of the ONNX format. */
const [FLOAT, INT64, FLOAT16] = [1, 7, 10];

/** A model of one input [1, 3, side, side], unless it is of bytes. */
export function fixedModel(outputs: readonly FixedOutput[], options: FixedModelOptions = {}): Uint8Array<ArrayBuffer> {
  const {
    side = 32,
    dtype = "f32",
    isBytes = false,
    isSamples = false,
    channels = 3,
    isSingle = false,
    metadata,
  } = options;
  const dataOf = (values: readonly number[], of: FixedOutput["dtype"] | typeof dtype = dtype): TypedArray => {
    if (of === "i64") return BigInt64Array.from(values, BigInt);
    return of === "f32" ? Float32Array.from(values) : Float16Array.from(values);
  };
  const sums = outputs.map(
    ({ name, dtype: own }): NodeSpec => ({
      op: "Add",
      inputs: [own === undefined ? "nothing" : "no_integer", `${name}_values`],
      outputs: [name],
    }),
  );
  return onnxModel({
    nodes: [
      { op: "Cast", inputs: ["images"], outputs: ["levels"], attributes: { to: dtype === "f32" ? FLOAT : FLOAT16 } },
      { op: "ReduceMean", inputs: ["levels"], outputs: ["mean"], attributes: { keepdims: 0 } },
      { op: "Mul", inputs: ["mean", "zero"], outputs: ["nothing"] },
      { op: "Cast", inputs: ["nothing"], outputs: ["no_integer"], attributes: { to: INT64 } },
      ...sums,
    ],
    inputs: [
      isBytes
        ? { name: "images", dtype: "u8", shape: [1, side, side, 3] }
        : {
            name: "images",
            dtype: isSamples ? "u16" : dtype,
            shape: isSingle ? [3, side, side] : [1, channels < 0 ? "channels" : channels, side, side],
          },
    ],
    outputs: outputs.map(({ name, shape, dtype: own = dtype }) => ({
      name,
      dtype: own,
      shape: typeof side === "string" || isSingle ? shape.map((_, at) => `${name}_${at}`) : shape,
    })),
    initializers: [
      { name: "zero", dtype, shape: [], data: dataOf([0]) },
      ...outputs.map(({ name, shape, values, dtype: own = dtype }) => ({
        name: `${name}_values`,
        dtype: own,
        shape,
        data: dataOf(values, own),
      })),
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
