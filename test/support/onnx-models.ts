/** @module ONNX models: the few small graphs the tests run. */

import type { DType } from "../../src/core/tensor.ts";
import { type GraphSpec, onnxModel, type ValueSpec } from "./onnx-writer.ts";

/** `y = x`, of any dtype and shape. */
export function identityModel(dtype: DType, shape: ValueSpec["shape"]): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }],
    inputs: [{ name: "x", dtype, ...(shape === undefined ? {} : { shape }) }],
    outputs: [{ name: "y", dtype, ...(shape === undefined ? {} : { shape }) }],
  });
}

/** `sum = a + b`, `product = a * b`: f32 [N, 3], with metadata. */
export function arithmeticModel(): Uint8Array<ArrayBuffer> {
  const shape = ["N", 3];
  return onnxModel({
    nodes: [
      { op: "Add", inputs: ["a", "b"], outputs: ["sum"] },
      { op: "Mul", inputs: ["a", "b"], outputs: ["product"] },
    ],
    inputs: [
      { name: "a", dtype: "f32", shape },
      { name: "b", dtype: "f32", shape },
    ],
    outputs: [
      { name: "sum", dtype: "f32", shape },
      { name: "product", dtype: "f32", shape },
    ],
    metadata: { names: "{0: 'Fußgänger', 1: '自転車'}", task: "detect", stride: "32", empty: "" },
  });
}

/** `scaled = 2 · x`: f32 [1, 3, 5, 7] in and out, so that the output is bound. */
export function fixedModel(): Uint8Array<ArrayBuffer> {
  const shape = [1, 3, 5, 7];
  return onnxModel({
    nodes: [{ op: "Mul", inputs: ["x", "two"], outputs: ["scaled"] }],
    inputs: [{ name: "x", dtype: "f32", shape }],
    outputs: [{ name: "scaled", dtype: "f32", shape }],
    initializers: [{ name: "two", dtype: "f32", shape: [1], data: Float32Array.of(2) }],
  });
}

/** `rows = NonZero(x)`: i64 [1, count], a shape only the data decide. */
export function nonZeroModel(): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [{ op: "NonZero", inputs: ["x"], outputs: ["rows"] }],
    inputs: [{ name: "x", dtype: "f32", shape: ["N"] }],
    outputs: [{ name: "rows", dtype: "i64", shape: [1, "count"] }],
  });
}

const COUNT_UP: GraphSpec = {
  nodes: [
    { op: "Identity", inputs: ["condition"], outputs: ["again"] },
    { op: "Add", inputs: ["value", "one"], outputs: ["next"] },
  ],
  inputs: [
    { name: "iteration", dtype: "i64", shape: [] },
    { name: "condition", dtype: "bool", shape: [] },
    { name: "value", dtype: "f32", shape: [1] },
  ],
  outputs: [
    { name: "again", dtype: "bool", shape: [] },
    { name: "next", dtype: "f32", shape: [1] },
  ],
  initializers: [{ name: "one", dtype: "f32", shape: [1], data: Float32Array.of(1) }],
};

/** `counted = start + 1 + 1 …`, `rounds` times, at about 0.7 µs a round: a run as long as a test wants. */
export function countingModel(): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [{ op: "Loop", inputs: ["rounds", "", "start"], outputs: ["counted"], attributes: { body: COUNT_UP } }],
    inputs: [
      { name: "rounds", dtype: "i64", shape: [] },
      { name: "start", dtype: "f32", shape: [1] },
    ],
    outputs: [{ name: "counted", dtype: "f32", shape: [1] }],
  });
}
