/** @module A detector whose output declares no number: its shape is worked out from the image's, as dynamic exports do. */

import { type NodeSpec, onnxModel } from "./onnx-writer.ts";

/** How the detector is declared. */
export interface OpenDetectorOptions {
  /** Every row: a box and scores. */
  readonly row: readonly number[];
  /** Rows for each cell of the grids of strides 8, 16 and 32. Default 1. */
  readonly perCell?: 1 | 3;
  /** True: [N, channels, rows]. Default false: [N, rows, channels]. */
  readonly isTransposed?: boolean;
  /** Channels that the output is spread over; other than the row has, every run fails. Default: as many. */
  readonly columns?: number;
  /** What is declared of the output. Default: no side is a number. */
  readonly declared?: readonly (number | string)[];
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Cells of the three grids, for each pixel. */
const CELLS_OF_1024_PIXELS = 21n;

/**
 * An ONNX detector with an open input `images` [batch, 3, height, width], whose sides are multiples of 32, and an output
 * `output0` with the same row for each cell.
 */
export function openDetector(options: OpenDetectorOptions): Uint8Array<ArrayBuffer> {
  const { row, perCell = 1, isTransposed = false, metadata = {} } = options;
  const { declared = ["batch", "open_1", "open_2"] } = options;
  const integer = (name: string, value: bigint) =>
    ({ name, dtype: "i64", shape: [1], data: BigInt64Array.of(value) }) as const;
  const side = (name: string, axis: string, next: string): NodeSpec => ({
    op: "Slice",
    inputs: ["sizes", axis, next],
    outputs: [name],
  });
  return onnxModel({
    inputs: [{ name: "images", dtype: "f32", shape: ["batch", 3, "height", "width"] }],
    outputs: [{ name: "output0", dtype: "f32", shape: declared }],
    metadata: { imgsz: "[64, 64]", ...metadata },
    initializers: [
      {
        name: "row",
        dtype: "f32",
        shape: isTransposed ? [1, row.length, 1] : [1, 1, row.length],
        data: Float32Array.from(row),
      },
      { name: "nothing", dtype: "f32", shape: [1], data: Float32Array.of(0) },
      integer("far", 1_000_000n),
      integer("zero", 0n),
      integer("one", 1n),
      integer("two", 2n),
      integer("three", 3n),
      integer("four", 4n),
      integer("cells", CELLS_OF_1024_PIXELS * BigInt(perCell)),
      integer("pixels", 1024n),
      integer("length", BigInt(options.columns ?? row.length)),
    ],
    nodes: [
      { op: "Shape", inputs: ["images"], outputs: ["sizes"] },
      side("batch_side", "zero", "one"),
      side("height_side", "two", "three"),
      side("width_side", "three", "four"),
      { op: "Mul", inputs: ["height_side", "width_side"], outputs: ["area"] },
      { op: "Mul", inputs: ["area", "cells"], outputs: ["many"] },
      { op: "Div", inputs: ["many", "pixels"], outputs: ["rows"] },
      // By way of the image's height, so that no shape inference sees the number of channels.
      { op: "Div", inputs: ["height_side", "far"], outputs: ["none"] },
      { op: "Add", inputs: ["none", "length"], outputs: ["channels"] },
      {
        op: "Concat",
        inputs: isTransposed ? ["batch_side", "channels", "rows"] : ["batch_side", "rows", "channels"],
        outputs: ["shape"],
        attributes: { axis: 0 },
      },
      // In two steps, as TensorRT 10.6 fails on a reshape between this and the sum of open sides.
      { op: "ReduceMean", inputs: ["images"], outputs: ["lines"], attributes: { axes: [3], keepdims: 0 } },
      { op: "ReduceMean", inputs: ["lines"], outputs: ["mean"], attributes: { axes: [1, 2], keepdims: 1 } },
      { op: "Mul", inputs: ["mean", "nothing"], outputs: ["added"] },
      { op: "Add", inputs: ["added", "row"], outputs: ["rowed"] },
      { op: "Expand", inputs: ["rowed", "shape"], outputs: ["spread"] },
      { op: "Reshape", inputs: ["spread", "shape"], outputs: ["output0"] },
    ],
  });
}
