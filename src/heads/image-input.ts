/** @module ImageInput: the input of a model that takes the image, what is done to an image for it, and why none does. */

import { formatTensorInfo, type Shape, type TensorInfo } from "../core/tensor.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import type { ModelInfo } from "../model/model-info.ts";

/** The input that takes the image. */
export interface ImageInput {
  readonly name: string;
  readonly layout: Preprocessing["layout"];
  readonly dtype: Preprocessing["dtype"];
  /** 1 for grey: luma, or what a thermal camera gives. */
  readonly channels: 1 | 3;
  /** In pixels, where the model fixes both; else `undefined`. */
  readonly fixedSize: readonly [width: number, height: number] | undefined;
  /** In pixels; -1 for a side that is open. */
  readonly sides: readonly [width: number, height: number];
}

/** Names of image inputs, for models with several inputs of rank 4. */
const NAMES: readonly string[] = ["images", "image", "input", "pixel_values", "data", "x"];

/** True for the shape of one image without a batch, [3, height, width], as torchvision's detectors take it. */
export function isSingleImage(shape: Shape): boolean {
  return shape.length === 3 && shape[0] === 3;
}

/** @param wanted channels; a dynamic axis has three */
function asImageInput({ name, dtype, shape: declared }: TensorInfo, wanted: 1 | 3): ImageInput | undefined {
  const shape = isSingleImage(declared) ? [1, ...declared] : declared;
  if (shape.length !== 4 || (dtype !== "f32" && dtype !== "f16" && dtype !== "u8")) return undefined;
  // A dynamic channel axis is read as NCHW, unless the last axis says how many there are.
  const layout = shape[1] !== wanted && shape[3] === wanted ? "NHWC" : "NCHW";
  const [, second = -1, third = -1, fourth = -1] = shape;
  const [channels, height, width] = layout === "NCHW" ? [second, third, fourth] : [wanted, second, third];
  if (channels !== wanted && (channels >= 0 || wanted === 1)) return undefined;
  return {
    name,
    layout,
    dtype,
    channels: wanted,
    sides: [width, height],
    fixedSize: width > 0 && height > 0 ? [width, height] : undefined,
  };
}

/** Find the input of rank 4 with so many channels, or of a single image; of several, the one that is named like one. */
export function findImageInput(model: ModelInfo, channels: 1 | 3 = 3): ImageInput | undefined {
  const found = model.inputs.map((info) => asImageInput(info, channels)).filter((input) => input !== undefined);
  if (found.length <= 1) return found[0];
  return NAMES.map((name) => found.find((input) => input.name === name)).find((input) => input !== undefined);
}

/**
 * A family's pre-processing, for this model's input. A u8 input takes the levels as they are: such a model scales and
 * normalises them itself. An input of one channel takes the brightness, Y of BT.601, normalised as the family's first channel.
 */
export function preprocessingFor(image: ImageInput, family: Preprocessing): Preprocessing {
  const { layout, dtype, channels } = image;
  const colour = channels === 1 ? "luma" : family.colour;
  if (dtype !== "u8") return { ...family, layout, dtype, colour };
  return { ...family, layout, dtype, colour, scale: 1, mean: [0, 0, 0], std: [1, 1, 1] };
}

/** Why no input takes an image, and what to do: of several images, of more channels than an image has, or of another shape. */
export function whyNoImage({ inputs }: ModelInfo): { readonly found: string; readonly hint: string } {
  // As torchvision's detectors have them where several were traced with.
  const images = inputs.filter(({ shape }) => isSingleImage(shape));
  if (images.length > 1) {
    return {
      found: `it takes ${images.length} images as inputs of their own`,
      hint: "export it with one image, as `torch.onnx.export(model, ([image],), …)` does",
    };
  }
  const deep = inputs.find(({ shape }) => shape.length === 4 && (shape[1] === 4 || shape[3] === 4));
  if (deep !== undefined) {
    return {
      found: `its input ${formatTensorInfo(deep)} takes 4 channels, and an image has 3: nothing says what fills the fourth`,
      hint:
        "make the fourth a constant in the model and export it with 3 channels; or fill the input yourself, " +
        "through `Session` of bun-tensorrt/onnxruntime",
    };
  }
  return {
    found: "no input takes a batch of images of three channels or one, in f32, f16 or u8",
    hint: "export it with an input of images, [N, 3, height, width] or [N, height, width, 3]; of grey ones [N, 1, height, width]",
  };
}
