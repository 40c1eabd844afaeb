/** @module TensorRT for the tests: releases that `bun scripts/test-libraries.ts` has fetched, opened without a GPU; and Microsoft's ONNX Runtime. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../../src/core/paths.ts";
import { allocate } from "../../src/core/tensor.ts";
import { type OpenTensorRtOptions, openTensorRt, type TensorRtLibrary } from "../../src/tensorrt/library.ts";
import { onnxModel } from "./onnx-writer.ts";

/** Time for a test that drives a real builder: 3 s on two idle cores, a minute was too little where others kept them busy. */
export const BUILD_TEST_MS = 240_000;

/** Folder of a fetched release, or `undefined` where it is not there: the test is then skipped. */
export function testLibrary(
  name: "rtx" | "rtx-1.4" | "dispatch-10" | "lean-11" | "10.6" | "onnxruntime",
): string | undefined {
  const folder = join(cacheFolder(), "test-libraries", name);
  return existsSync(folder) ? folder : undefined;
}

/** Folder of TensorRT-RTX, which builds engines without a GPU. */
export const RTX: string | undefined = testLibrary("rtx");

/** Run with another value of an environment variable. */
export function withVariable<T>(name: string, value: string, run: () => T): T {
  const former = process.env[name];
  process.env[name] = value;
  try {
    return run();
  } finally {
    if (former === undefined) delete process.env[name];
    else process.env[name] = former;
  }
}

/** Open the release in a folder. */
export function openFrom(folder: string, options: OpenTensorRtOptions = {}): TensorRtLibrary {
  return withVariable("BUN_TENSORRT_TENSORRT", folder, () => openTensorRt(options));
}

/** One convolution and a Relu, `images` [N, 3, H, W] → `features` [N, 4, H, W]; builds in a fraction of a second. */
export function tinyModel(
  options: {
    readonly shape?: readonly (number | string)[];
    readonly dtype?: "f32" | "f16";
    readonly metadata?: Record<string, string>;
  } = {},
): Uint8Array<ArrayBuffer> {
  const { shape = [1, 3, 33, 47], dtype = "f32" } = options;
  const weights = allocate(dtype, 4 * 3 * 3 * 3);
  for (let index = 0; index < weights.length; index++) weights[index] = Math.sin(index);
  return onnxModel({
    nodes: [
      { op: "Conv", inputs: ["images", "weights"], outputs: ["sums"], attributes: { pads: [1, 1, 1, 1] } },
      { op: "Relu", inputs: ["sums"], outputs: ["features"] },
    ],
    inputs: [{ name: "images", dtype, shape }],
    outputs: [{ name: "features", dtype, shape: [shape[0]!, 4, shape[2]!, shape[3]!] }],
    initializers: [{ name: "weights", dtype, shape: [4, 3, 3, 3], data: weights }],
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
  });
}
