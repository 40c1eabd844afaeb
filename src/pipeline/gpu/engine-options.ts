/** @module EngineOptions: how an engine is built for a detector. `bun-tensorrt build` asks here too, so that it makes the same. */

import { readTraits } from "../../model/model-traits.ts";
import type { BuildOptions } from "../../tensorrt/build-options.ts";
import { readOnnxMetadata } from "../../tensorrt/onnx-metadata.ts";
import type { BackendOptions, Size } from "../backend.ts";
import type { ModelFile } from "./model-file.ts";

/** Side of the input where neither the caller nor the model says. */
const DEFAULT_SIZE: Size = [640, 640];

/** Least side of a rectangular input: no stride is larger. */
const SMALLEST_SIDE = 32;

/**
 * Ranges for what the model leaves open; they count for nothing where it does not.
 *
 * @param options.batch up to so many pictures, and best at that
 */
export function engineOptions(
  file: ModelFile,
  options: Pick<BackendOptions, "batch" | "size" | "rectangular" | "build">,
): BuildOptions {
  const { build, batch, rectangular } = options;
  const [width, height] = options.size ?? exportedSize(file) ?? DEFAULT_SIZE;
  const longSide = Math.max(width, height);
  const smallest: Size = [SMALLEST_SIDE, SMALLEST_SIDE];
  return {
    batch: { min: 1, opt: batch, max: batch },
    size: rectangular ? { min: smallest, opt: [width, height], max: [longSide, longSide] } : [width, height],
    ...(build.precision === undefined ? {} : { precision: build.precision }),
  };
}

/** The size a model says it was exported for. */
function exportedSize(file: ModelFile): Size | undefined {
  const metadata = readOnnxMetadata(file.bytes);
  const input = { name: "images", dtype: "f32", shape: [-1, 3, -1, -1] } as const;
  return readTraits({ inputs: [input], outputs: [], metadata }, {})?.preferredSize;
}
