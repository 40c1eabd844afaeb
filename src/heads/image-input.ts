/** @module ImageInput: the input of a model that takes the image, what is done to an image for it, and why none does. */

import { formatTensorInfo, type Shape, type TensorInfo } from "../core/tensor.ts";
import { isBlueFirst, type Preprocessing } from "../image/preprocessing.ts";
import type { ModelInfo } from "../model/model-info.ts";

/** The input that takes the image. */
export interface ImageInput {
  readonly name: string;
  readonly layout: Preprocessing["layout"];
  readonly dtype: Preprocessing["dtype"];
  /** 1 for grey: luma, or what a thermal camera gives. 4: the fourth is the image's own, such as depth or infrared. */
  readonly channels: 1 | 3 | 4;
  /** In pixels, where the model fixes both; else `undefined`. */
  readonly fixedSize: readonly [width: number, height: number] | undefined;
  /** In pixels; -1 for a side that is open. */
  readonly sides: readonly [width: number, height: number];
}

/** Of multispectral images; an axis of more is none of channels. */
const MOST_CHANNELS = 16;
/** From 0–255 to 0–65535. */
const SAMPLES_A_LEVEL = 257;

/** Names of image inputs, for models with several inputs of rank 4. */
const NAMES: readonly string[] = ["images", "image", "input", "pixel_values", "data", "x"];

/** True for the shape of one image without a batch, [3, height, width], as torchvision's detectors take it. */
export function isSingleImage(shape: Shape): boolean {
  return shape.length === 3 && shape[0] === 3;
}

/** Dtypes of images. */
const DTYPES: readonly string[] = ["f32", "f16", "u8", "u16"] satisfies Preprocessing["dtype"][];

/** @param wanted channels; a dynamic axis has three, unless the model says how many */
function asImageInput(
  { name, dtype, shape: declared }: TensorInfo,
  wanted: ImageInput["channels"],
  said: number,
): ImageInput | undefined {
  const shape = isSingleImage(declared) ? [1, ...declared] : declared;
  if (shape.length !== 4 || !DTYPES.includes(dtype)) return undefined;
  // A dynamic channel axis is read as NCHW, unless the last axis says how many there are.
  const layout = shape[1] !== wanted && shape[3] === wanted ? "NHWC" : "NCHW";
  const [, second = -1, third = -1, fourth = -1] = shape;
  const [channels, height, width] = layout === "NCHW" ? [second, third, fourth] : [wanted, second, third];
  if (channels !== wanted && (channels >= 0 || wanted !== said)) return undefined;
  return {
    name,
    layout,
    dtype: dtype as Preprocessing["dtype"],
    channels: wanted,
    sides: [width, height],
    fixedSize: width > 0 && height > 0 ? [width, height] : undefined,
  };
}

/** Find the input of rank 4 with so many channels, or of a single image; of several, the one that is named like one. */
export function findImageInput(model: ModelInfo, channels: ImageInput["channels"] = 3): ImageInput | undefined {
  // Ultralytics' metadata.
  const said = Number(model.metadata.channels ?? 3);
  const found = model.inputs.map((info) => asImageInput(info, channels, said)).filter((input) => input !== undefined);
  if (found.length <= 1) return found[0];
  return NAMES.map((name) => found.find((input) => input.name === name)).find((input) => input !== undefined);
}

/**
 * A family's pre-processing, for this model's input. A u8 input takes the levels as they are, one of u16 samples from 0 to 65535:
 * such a model scales and normalises them itself. An input of one channel takes the brightness, Y of BT.601, normalised as the
 * family's first channel. A fourth channel is scaled as the others are, and normalised by the mean of what they are.
 */
export function preprocessingFor(image: ImageInput, family: Preprocessing): Preprocessing {
  const { layout, dtype, channels } = image;
  const isWhole = dtype === "u8" || dtype === "u16";
  const levels: Preprocessing = isWhole ? { ...family, mean: [0, 0, 0], std: [1, 1, 1] } : family;
  const scale = dtype === "u16" ? SAMPLES_A_LEVEL : isWhole ? 1 : family.scale;
  const three = { ...levels, layout, dtype, scale };
  if (channels === 1) return { ...three, colour: "luma" };
  if (channels === 3) return three;
  const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const { mean, std, pad } = levels;
  const fourth = { mean: meanOf(mean), std: meanOf(std), pad: meanOf(pad) };
  return { ...three, colour: isBlueFirst(family.colour) ? "BGRA" : "RGBA", fourth };
}

/** What is done to the levels of an image, and by what it is known. */
type Levels = Pick<Preprocessing, "scale" | "mean" | "std"> & { readonly reason: string };

/**
 * What is done to the levels for an input whose model scales them itself: it gets them as they are. Of a model of bytes that goes without
 * saying.
 *
 * @param levelsIn inputs of such models
 * @returns `undefined` for other inputs
 */
export function ownLevels(
  { reason }: Pick<Levels, "reason">,
  levelsIn: readonly string[] = [],
  { name, dtype }: Pick<ImageInput, "name" | "dtype">,
): Levels | undefined {
  if (!levelsIn.includes(name) || (dtype !== "f32" && dtype !== "f16")) return undefined;
  const own = `${reason}; levels as they are, which the model scales itself`;
  return { reason: own, scale: 1, mean: [0, 0, 0], std: [1, 1, 1] };
}

/** What is assumed of a fourth channel: that of a family which normalises the others is not known. */
export function assumedOfFourth({ channels }: ImageInput, { mean }: Preprocessing): readonly string[] {
  if (channels < 4 || mean.every((value) => value === 0)) return [];
  return ["of the fourth channel the mean of the others' means and deviations: give `mean` and `std` of four numbers"];
}

/** Why no input takes an image, and what to do: of several images, of other channels than an image has, or of another shape. */
export function whyNoImage({ inputs }: ModelInfo): { readonly found: string; readonly hint: string } {
  // As torchvision's detectors have them where several were traced with.
  const images = inputs.filter(({ shape }) => isSingleImage(shape));
  if (images.length > 1) {
    return {
      found: `it takes ${images.length} images as inputs of their own`,
      hint: "export it with one image, as `torch.onnx.export(model, ([image],), …)` does",
    };
  }
  const odd = inputs.find(({ shape }) => shape.length === 4 && Math.min(shape[1]!, shape[3]!) > 4);
  const channels = odd && Math.min(odd.shape[1]!, odd.shape[3]!);
  if (odd !== undefined && channels !== undefined && channels <= MOST_CHANNELS) {
    return {
      found: `its input ${formatTensorInfo(odd)} takes ${channels} channels, and an image has 1, 3 or 4`,
      hint: "fill the input yourself, through `Session` of bun-tensorrt/onnxruntime",
    };
  }
  return {
    found: "no input takes a batch of images of one, three or four channels, in f32, f16, u8 or u16",
    hint: "export it with an input of images, [N, 3, height, width] or [N, height, width, 3]; of grey ones [N, 1, height, width]",
  };
}
