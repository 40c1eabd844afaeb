/** @module ImageModelSpec: what a model makes of images, worked out from its input and outputs. */

import { ImageError, ModelError, message, ShapeError } from "../../core/errors.ts";
import {
  type DType,
  formatShape,
  formatTensorInfo,
  isDynamic,
  type Shape,
  sameShape,
  type TensorInfo,
} from "../../core/tensor.ts";
import { formatBytes } from "../../core/units.ts";
import type { Size } from "../../image/geometry.ts";
import { bytesPerPixel, type PackedImage } from "../../image/image.ts";
import { type Line, type Preprocessing, triple } from "../../image/preprocessing.ts";
import { formatModelInfo, type ModelInfo } from "../../model/model-info.ts";
import { inputShape } from "../../runtime/task.ts";
import type { TileRules } from "../image-grid.ts";

/** What the caller knows better than the shapes tell; `undefined` is worked out. */
export interface ImageHints {
  readonly layout: TensorLayout | undefined;
  readonly outputLayout: TensorLayout | undefined;
  readonly colour: "RGB" | "BGR" | "luma" | undefined;
  readonly outputColour: "RGB" | "BGR" | undefined;
  readonly range: PixelRange | undefined;
  readonly outputRange: PixelRange | undefined;
  /** Name of the output. */
  readonly output: string | undefined;
}

/** The input of a model, before its outputs are looked at. */
export interface ImageInput {
  readonly form: PixelTensor;
  /** `undefined` where the model takes any. */
  readonly fixedWidth: number | undefined;
  readonly fixedHeight: number | undefined;
  readonly fixedBatch: number | undefined;
}

/** What a model makes of images. */
export interface ImageModelSpec extends Omit<ImageInput, "form"> {
  readonly input: PixelTensor;
  readonly output: PixelTensor;
  /** Sides of the output in those of the input: 1, 2, 3, … */
  readonly scale: number;
}

/** A model that enlarges more is a mistake or an attack: what it makes of a single pixel is over 700 MiB. */
const LARGEST_SCALE = 16384;

const DTYPES: readonly DType[] = ["f32", "f16", "u8"];

function refuse(source: string, found: string, hint: string, model: ModelInfo): never {
  throw new ModelError(
    message(`use ${source} to transform images`, `${found}\n${formatModelInfo(model)}`, hint),
    source,
  );
}

function isChannelCount(dim: number | undefined): boolean {
  return dim === 1 || dim === 3;
}

/** The layouts whose axis of channels holds 1 or 3. */
function layoutsOf(shape: Shape): TensorLayout[] {
  return [
    ...(isChannelCount(shape[1]) ? (["NCHW"] as const) : []),
    ...(isChannelCount(shape[3]) ? (["NHWC"] as const) : []),
  ];
}

/** The other two axes, in pixels. */
function sizeIn(shape: Shape, layout: TensorLayout): Size {
  const [, second = -1, third = -1, fourth = -1] = shape;
  return layout === "NCHW" ? [fourth, third] : [third, second];
}

function isImageTensor({ shape, dtype }: TensorInfo): boolean {
  return shape.length === 4 && DTYPES.includes(dtype);
}

function positive(dim: number): number | undefined {
  return dim > 0 ? dim : undefined;
}

function rangeOf(wanted: PixelRange | undefined, dtype: DType): PixelRange {
  return wanted ?? (dtype === "u8" ? "0-255" : "0-1");
}

function pixelTensor(info: TensorInfo, layout: TensorLayout, channels: PixelChannels, range: PixelRange): PixelTensor {
  const dtype = info.dtype as PixelTensor["dtype"];
  return { name: info.name, layout, channels, dtype, ...normalisation(range) };
}

function channelsOf(count: number, colour: ImageHints["colour"]): PixelChannels | undefined {
  if (count === 1) return colour === undefined || colour === "luma" ? "luma" : undefined;
  if (count === 3) return colour === "luma" ? undefined : (colour ?? "RGB");
  return count < 0 ? colour : undefined;
}

/**
 * What a model takes: one tensor of four axes, with 1 or 3 channels, of f32, f16 or u8.
 *
 * @param source the model as messages call it: its path in quotes
 * @throws {ModelError} If it takes no image, or the layout cannot be told
 */
export function recogniseInput(model: ModelInfo, source: string, hints: ImageHints): ImageInput {
  const [info, ...others] = model.inputs;
  if (info === undefined || others.length > 0) {
    const found = `it must have one input, the image: it has ${model.inputs.length}`;
    return refuse(source, found, "export it with what else it takes built in", model);
  }
  const { shape, dtype } = info;
  if (!isImageTensor(info)) {
    const found = `its input must be f32, f16 or u8 with 4 axes: ${formatTensorInfo(info)}`;
    return refuse(source, found, "export it with an image of shape [N, 3, H, W] or [N, H, W, 3] as input", model);
  }
  const layouts = layoutsOf(shape);
  const layout = hints.layout ?? (layouts.length === 1 ? layouts[0] : undefined);
  if (layout === undefined) {
    const found = `1 or 3 channels must lie on one of its axes: ${formatTensorInfo(info)}`;
    return refuse(source, found, 'say where: `layout: "NCHW"` or "NHWC"', model);
  }
  const [batch, second, third, fourth] = shape as [number, number, number, number];
  const [count, height, width] = layout === "NCHW" ? [second, third, fourth] : [fourth, second, third];
  const channels = channelsOf(count, hints.colour);
  if (channels === undefined) {
    const wanted = hints.colour === undefined ? "" : `, and ${hints.colour} was asked for`;
    const found = `an image has 1 or 3 channels: the input has ${count < 0 ? "any number of" : count}${wanted}`;
    return refuse(source, found, '`colour` is "RGB" or "BGR" for 3 channels, "luma" for 1', model);
  }
  return {
    form: pixelTensor(info, layout, channels, rangeOf(hints.range, dtype)),
    fixedWidth: positive(width),
    fixedHeight: positive(height),
    fixedBatch: positive(batch),
  };
}

/** True if what comes out for a size cannot be told from what the model declares. */
export function needsProbe(model: ModelInfo): boolean {
  return model.outputs.some(({ shape }) => shape.length === 0 || isDynamic(shape.slice(1)));
}

/** An output as an image: where its channels lie, and how much larger it is. */
interface Candidate {
  readonly info: TensorInfo;
  readonly layout: TensorLayout;
  readonly count: number;
  readonly scale: number;
}

function candidatesOf(
  info: TensorInfo,
  size: Size,
  hints: { readonly outputLayout?: ImageHints["outputLayout"] },
): Candidate[] {
  const { shape } = info;
  if (!isImageTensor(info)) return [];
  return layoutsOf(shape).flatMap((layout): Candidate[] => {
    const count = shape[layout === "NCHW" ? 1 : 3]!;
    const [width, height] = sizeIn(shape, layout);
    const scale = width / size[0];
    const fits = Number.isInteger(scale) && scale >= 1 && height === size[1] * scale;
    return fits && layout === (hints.outputLayout ?? layout) ? [{ info, layout, count, scale }] : [];
  });
}

/** True if a model evidently makes images of images: an image goes in, and what comes out has channels and sides of one. */
export function declaresImages(model: ModelInfo): boolean {
  const [input, ...others] = model.inputs;
  if (input === undefined || others.length > 0 || !isImageTensor(input)) return false;
  const inputSizes = layoutsOf(input.shape).map((layout) => sizeIn(input.shape, layout));
  return model.outputs.filter(isImageTensor).some((info) =>
    inputSizes.some((size) => {
      if (Math.min(...size) > 0) return candidatesOf(info, size, {}).length > 0;
      return layoutsOf(info.shape).some((layout) => Math.max(...sizeIn(info.shape, layout)) < 0);
    }),
  );
}

/**
 * What a model makes: of its outputs, the one that is an image of 1 or 3 channels, a whole number of times as large.
 *
 * @param size    of the input in pixels that the outputs' shapes are for
 * @param outputs with the shapes they have for that size
 * @throws {ModelError} If none is such an image, or several are and none was named
 */
export function recogniseOutput(
  model: ModelInfo,
  source: string,
  input: ImageInput,
  size: readonly [width: number, height: number],
  outputs: readonly TensorInfo[],
  hints: ImageHints,
): ImageModelSpec {
  const named = outputs.filter(({ name }) => hints.output === undefined || name === hints.output);
  if (named.length === 0) {
    const names = outputs.map(({ name }) => name).join(", ");
    return refuse(source, `it has no output ${JSON.stringify(hints.output)}`, `its outputs are ${names}`, model);
  }
  const found = named.flatMap((info) => candidatesOf(info, size, hints));
  const [best, ...others] = found;
  const shapes = named.map(({ name, shape }) => `${name} ${formatShape(shape)}`).join(", ");
  const given = `an input of ${formatShape(pixelShape(input.form, 1, size))} gives ${shapes}`;
  if (best === undefined) {
    const rule = "an output must be f32, f16 or u8 with 1 or 3 channels, a whole number of times as large as the input";
    return refuse(
      source,
      `${rule}: ${given}`,
      "export it so that it ends in an image; detectors are for `Detector`, classifiers for `Classifier`",
      model,
    );
  }
  if (others.length > 0) {
    const hint =
      new Set(found.map(({ info }) => info.name)).size > 1
        ? `name one: \`output: ${JSON.stringify(best.info.name)}\``
        : 'say where the channels lie: `outputLayout: "NCHW"` or "NHWC"';
    return refuse(source, `more than one reading of its outputs is an image: ${given}`, hint, model);
  }
  if (best.scale > LARGEST_SCALE) {
    const rule = `it may enlarge ${LARGEST_SCALE} times at most`;
    return refuse(source, `${rule}: ${given}`, "export it with the output it really makes", model);
  }
  const single: PixelChannels = input.form.channels === "luma" ? "luma" : "grey";
  const sourceOrder = input.form.channels === "BGR" ? "BGR" : "RGB";
  const channels = best.count === 1 ? single : (hints.outputColour ?? sourceOrder);
  const output = pixelTensor(best.info, best.layout, channels, outputRange(best.info, input, hints));
  const { form, ...rest } = input;
  return { ...rest, input: form, output, scale: best.scale };
}

/** The input's own range, unless the caller says, it was normalised by mean and deviation, or one of the two is u8. */
function outputRange({ dtype }: TensorInfo, { form }: ImageInput, hints: ImageHints): PixelRange {
  const same = typeof hints.range === "string" && dtype !== "u8" && form.dtype !== "u8" ? hints.range : undefined;
  return rangeOf(hints.outputRange ?? same, dtype);
}

/**
 * What the values stand for. `"0-1"`, `"0-255"`, `"-1-1"`: the darkest and the brightest level; or the mean and the standard
 * deviation, in 0–1 units by tensor channel, of values that were normalised with them.
 */
export type PixelRange = "0-1" | "0-255" | "-1-1" | { readonly mean: PerChannel; readonly std: PerChannel };

/** A number for all channels, or one a tensor channel. */
export type PerChannel = number | readonly [number, number, number];

/**
 * What the channels are. `luma`: Y of BT.601, full range; chroma is carried over from the source. `grey`: one channel of an
 * output whose input has colour, such as a depth map; it becomes R, G and B.
 */
export type PixelChannels = "RGB" | "BGR" | "luma" | "grey";

/** Where the channels lie. */
export type TensorLayout = Preprocessing["layout"];

/** An input or output that holds images: value = (level × scale − mean) / std. */
export interface PixelTensor extends Pick<Preprocessing, "layout" | "dtype" | "scale" | "mean" | "std"> {
  readonly name: string;
  readonly channels: PixelChannels;
}

/** Number of channels. */
export function channelCount(channels: PixelChannels): 1 | 3 {
  return channels === "luma" || channels === "grey" ? 1 : 3;
}

/** Scale, mean and standard deviation of a range. */
export function normalisation(range: PixelRange): Pick<Preprocessing, "scale" | "mean" | "std"> {
  if (range === "0-255") return { scale: 1, mean: [0, 0, 0], std: [1, 1, 1] };
  if (range === "0-1") return { scale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] };
  if (range === "-1-1") return { scale: 1 / 255, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
  return { scale: 1 / 255, mean: triple(range.mean), std: triple(range.std) };
}

/** Shape of the tensor. @param size in pixels */
export function pixelShape(
  { layout, channels }: Pick<PixelTensor, "layout" | "channels">,
  batch: number,
  size: readonly [width: number, height: number],
): number[] {
  return inputShape({ layout, channels: channelCount(channels) }, batch, size);
}

/** @throws {ShapeError} If an output is not what was recognised. @param size that it must have, in pixels */
export function checkOutput(
  { dtype, shape }: Pick<TensorInfo, "dtype" | "shape">,
  form: PixelTensor,
  batch: number,
  size: readonly [width: number, height: number],
): void {
  const wanted = pixelShape(form, batch, size);
  if (dtype === form.dtype && sameShape(shape, wanted)) return;
  const expected = `${form.dtype} ${formatShape(wanted)}`;
  const actual = `${dtype} ${formatShape(shape)}`;
  const found = `output ${JSON.stringify(form.name)} must be ${expected}, got ${actual}`;
  const hint =
    batch === shape[0]
      ? "say what the sides of an input are multiples of: `multiple: 8`, 16 or 32"
      : "it does not make an image of each of several: load it with `batch: 1`";
  throw new ShapeError(message("make an image", found, hint), { tensor: form.name, expected, actual });
}

/** From the values of an output's channel to levels 0–255. */
export function levelLine({ scale, mean, std }: Pick<PixelTensor, "scale" | "mean" | "std">, channel: number): Line {
  return { slope: Math.fround(std[channel]! / scale), offset: Math.fround(mean[channel]! / scale) };
}

/** The values that become black and white, in the channels where they reach furthest. */
export function levelRange(form: PixelTensor): readonly [lowest: number, highest: number] {
  const lines = [0, 1, 2].map((channel) => levelLine(form, channel));
  return [
    Math.min(...lines.map(({ slope, offset }) => -offset / slope)),
    Math.max(...lines.map(({ slope, offset }) => (255 - offset) / slope)),
  ];
}

/** What is done to tiles, whose pixels are taken as they are, on their way into an input. */
export function tilePreprocessing({ layout, dtype, scale, mean, std, channels }: PixelTensor): Preprocessing {
  const colour = channels === "grey" ? "luma" : channels;
  return { fit: "stretch", resize: "bilinear", colour, layout, dtype, scale, mean, std, pad: [0, 0, 0] };
}

/** What a model makes of images, and how they are cut for it. */
export interface TiledImageSpec extends ImageModelSpec {
  readonly tiling: TileRules;
}

/** What is made of one image, over memory of its own. */
export interface MadeImage {
  /** Of the image's format, as many times as large as the model says. */
  readonly image: PackedImage;
  /** How many tiles the image was cut into. */
  readonly tiles: number;
}

/** No larger image is made: more bytes do not fit into what the encoders and most programs take. */
const MAX_BYTES = 2 ** 31 - 1;

/** What is made of an image, without its memory. @throws {ImageError} If it would be larger than what images can be */
export function imageFormFor(
  { width, height, format }: Pick<PackedImage, "width" | "height" | "format">,
  scale: number,
): Omit<PackedImage, "data"> {
  const pitchBytes = width * scale * bytesPerPixel(format);
  const byteLength = pitchBytes * height * scale;
  if (byteLength > MAX_BYTES) {
    const size = `${width * scale}x${height * scale} pixels, ${formatBytes(byteLength)}`;
    const found = `what is made of it may have at most ${formatBytes(MAX_BYTES)}: it would have ${size}`;
    const name = `an image of ${width}x${height} pixels`;
    throw new ImageError(message(`transform ${name}`, found, "transform parts of it"), name);
  }
  return { width: width * scale, height: height * scale, pitchBytes, format };
}

/** Memory for an image without gaps between its rows. */
export function withMemory(form: Omit<PackedImage, "data">): PackedImage {
  return { ...form, data: new Uint8Array(new ArrayBuffer(form.pitchBytes * form.height)) };
}
