/** @module Image input: which input of a model takes the picture, and what its shape and dtype ask for. */

import type { TensorInfo } from "../core/tensor.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import type { ModelInfo } from "./model-info.ts";

/** The input that takes the picture. */
export interface ImageInput {
  readonly name: string;
  readonly layout: Preprocessing["layout"];
  readonly dtype: Preprocessing["dtype"];
  /** In pixels, where the model fixes both; else `undefined`. */
  readonly fixedSize: readonly [width: number, height: number] | undefined;
  /** In pixels; -1 for a side that is open. */
  readonly sides: readonly [width: number, height: number];
}

/** Names of picture inputs, for models with several inputs of rank 4. */
const NAMES: readonly string[] = ["images", "image", "input", "pixel_values", "data", "x"];

function asImageInput(info: TensorInfo): ImageInput | undefined {
  const { name, dtype, shape } = info;
  if (shape.length !== 4 || (dtype !== "f32" && dtype !== "f16" && dtype !== "u8")) return undefined;
  // A dynamic channel axis is read as NCHW, unless the last axis says 3.
  const layout = shape[1] !== 3 && shape[3] === 3 ? "NHWC" : "NCHW";
  const [channels, height, width] = (layout === "NCHW" ? [shape[1], shape[2], shape[3]] : [3, shape[1], shape[2]]) as [
    number,
    number,
    number,
  ];
  if (channels !== 3 && channels >= 0) return undefined;
  return {
    name,
    layout,
    dtype,
    sides: [width, height],
    fixedSize: width > 0 && height > 0 ? [width, height] : undefined,
  };
}

/** Find the input of rank 4 with three channels; of several, the one that is named like one. */
export function findImageInput(model: ModelInfo): ImageInput | undefined {
  const found = model.inputs.map(asImageInput).filter((input) => input !== undefined);
  if (found.length <= 1) return found[0];
  return NAMES.map((name) => found.find((input) => input.name === name)).find((input) => input !== undefined);
}

/**
 * A family's pre-processing, for this model's input. A u8 input takes the levels as they are: such a model scales and
 * normalises them itself.
 */
export function preprocessingFor(image: ImageInput, family: Preprocessing): Preprocessing {
  const { layout, dtype } = image;
  if (dtype !== "u8") return { ...family, layout, dtype };
  return { ...family, layout, dtype, scale: 1, mean: [0, 0, 0], std: [1, 1, 1] };
}
