/**
 * @module ClassifierRecipe: what a classifier wants done to an image, by where it comes from, the files of Hugging Face beside it,
 * and what its caller says.
 */

import { type ImageInput, ownLevels, preprocessingFor } from "../../heads/image-input.ts";
import { exportedSize, isNamedClassifier } from "../../heads/traits.ts";
import { type CropRounding, isSize, type Resized, roundHalfEven, type Size } from "../../image/geometry.ts";
import {
  IMAGENET_MEAN,
  IMAGENET_STD,
  type Preprocessing,
  type PreprocessingOptions,
  withOptions,
  YOLO_PREPROCESSING,
} from "../../image/preprocessing.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import {
  filterOf,
  isNumber,
  isObject,
  isSide,
  type Json,
  levelsOf,
  type ModelFiles,
  sizeOf,
  tripleOf,
} from "../model-files.ts";

/** ConvNeXt's share of the shorter side, where its file does not say. */
const CONVNEXT_CROP = 224 / 256;

/** From this side on ConvNeXt stretches. */
const CONVNEXT_STRETCHED = 384;

/** How an image of {@linkcode Recipe} is resized: its shorter side, the size it is stretched to, and the input's size. */
function sizesOf(file: Json): Pick<Recipe, "size" | "resized"> | undefined {
  const { size, crop_size, do_center_crop, crop_pct } = file;
  const crop = do_center_crop === true ? sizeOf(crop_size) : undefined;
  // An old file has one number for either; with a crop it is the shorter side.
  const short =
    isObject(size) && isSide(size.shortest_edge)
      ? size.shortest_edge
      : isSide(size) && (crop !== undefined || isNumber(crop_pct))
        ? size
        : undefined;
  if (short === undefined) {
    const stretched = sizeOf(size);
    if (stretched === undefined) return undefined;
    const input = crop ?? stretched;
    return { size: input, resized: ([width, height]) => scaled(stretched, input, [width, height]) };
  }
  if (crop !== undefined) {
    return { size: crop, resized: ([width]) => Math.floor((short * width) / crop[0]) };
  }
  const isWhole = crop_pct === undefined && !/convnext/i.test(String(file.image_processor_type ?? ""));
  const share = isNumber(crop_pct) && crop_pct > 0 ? crop_pct : isWhole ? 1 : CONVNEXT_CROP;
  const isStretched = !isWhole && short >= CONVNEXT_STRETCHED;
  return { size: [short, short], resized: (input) => (isStretched ? input : Math.floor(input[0] / share)) };
}

/** A size in the ratio of another input's. */
function scaled([width, height]: Size, from: Size, to: Size): Size {
  return [Math.round((width * to[0]) / from[0]), Math.round((height * to[1]) / from[1])];
}

/** Of transformers' `preprocessor_config.json`; `undefined` where it does not say the size of an image. */
function recipeOfTransformers(file: Json): Recipe | undefined {
  const sizes = sizesOf(file);
  if (sizes === undefined) return undefined;
  return { reason: "preprocessor_config.json", ...sizes, ...levelsOf(file), rounding: "floor" };
}

/** Of timm's `pretrained_cfg` in its `config.json`. */
function recipeOfTimm({ input_size, interpolation, crop_pct, crop_mode, mean, std }: Json): Recipe | undefined {
  const [, height, width] = tripleOf(input_size) ?? [];
  if (!isSide(height) || !isSide(width)) return undefined;
  const share = isNumber(crop_pct) && crop_pct > 0 ? crop_pct : 0.875;
  const resized = (input: Size): Resized => {
    const size = input.map((side) => Math.floor(side / share)) as unknown as Size;
    if (crop_mode === "squash") return size;
    if (crop_mode === "border") return { fit: "contain", size };
    return size[0] === size[1] ? size[0] : { fit: "cover", size };
  };
  const known = { bilinear: "antialias", bicubic: "bicubic", lanczos: "lanczos" } as const;
  const levels = tripleOf(mean) ?? IMAGENET_MEAN;
  return {
    reason: "the pretrained_cfg of config.json",
    size: [width, height],
    resized,
    ...filterOf(known[interpolation as keyof typeof known], interpolation),
    // Bars of the mean's colour beside an image that is kept whole.
    ...(crop_mode === "border" ? { pad: tripleOf(levels.map((level) => roundHalfEven(255 * level)))! } : {}),
    scale: 1 / 255,
    mean: levels,
    std: tripleOf(std) ?? IMAGENET_STD,
  };
}

/** What the files say of an image. */
export function recipeOfFiles(files: ModelFiles | undefined): Recipe | undefined {
  if (files === undefined) return undefined;
  const { preprocessor, config } = files;
  const found = preprocessor === undefined ? undefined : recipeOfTransformers(preprocessor);
  const timm = config?.pretrained_cfg;
  return found ?? (isObject(timm) ? recipeOfTimm(timm) : undefined);
}

/** True if the files say that an image may be of several classes. */
export function isMultiLabel(files: ModelFiles | undefined): boolean {
  return files?.config?.problem_type === "multi_label_classification";
}

/** What is done to an image: it is resized, its middle is cut out, and its levels become values. */
export interface ClassifierPreprocessing extends Omit<Preprocessing, "fit"> {
  /**
   * The shorter side after the resize, in pixels, the longer in the image's ratio; the size that it is stretched to; or a size that
   * it covers or lies within, in its ratio.
   */
  readonly resized: Resized;
  /** How the middle is rounded to whole pixels: torchvision's way, transformers', or PaddleClas's. */
  readonly rounding: CropRounding;
}

/**
 * What a caller says of a classifier's pre-processing; the rest stays as it was found. Values for channels are in the order of
 * the tensor's channels: blue first where `colour` is `"BGR"`.
 */
export interface ClassifierPreprocessingOptions
  extends Pick<PreprocessingOptions, "colour" | "scale" | "mean" | "std" | "pad"> {
  /**
   * `"shorter-side"` keeps the image's ratio, and what is beside the middle is cut off; `"longer-side"` keeps it as well, and pads;
   * `"stretch"` does not keep it.
   */
  readonly fit?: "shorter-side" | "longer-side" | "stretch" | undefined;
  /**
   * `"antialias"` as Pillow's and torchvision's bilinear, `"bicubic"` and `"lanczos"` as Pillow's, `"bilinear"` as OpenCV's, without
   * antialias, and `"lanczos4"` as OpenCV's INTER_LANCZOS4, without it too, on the CPU only.
   */
  readonly resize?: Preprocessing["resize"] | undefined;
  /** Share of the resized image that is cut out, 0–1: 0.875 resizes to 256 for an input of 224. */
  readonly crop?: number | undefined;
  /**
   * How the resized image and its middle are rounded to whole pixels: `"half-even"` as torchvision, which truncates the longer side
   * and rounds the middle's place, halves to even; `"floor"` as transformers, which rounds that place down; `"nearest"` as
   * PaddleClas, which rounds the longer side and that place down.
   */
  readonly rounding?: CropRounding | undefined;
}

/** A way of a family of models. */
interface Recipe
  extends Pick<Preprocessing, "resize" | "scale" | "mean" | "std">,
    Partial<Pick<ClassifierPreprocessing, "pad" | "rounding">> {
  /** Where it is from. */
  readonly reason: string;
  /** Of the input, where the model leaves it open. */
  readonly size?: Size | undefined;
  /** What an image is resized to for an input of a size. */
  readonly resized: (size: Size) => Resized;
  /** What was assumed because nothing tells. */
  readonly assumptions: readonly string[];
}

/** torchvision's share of the resized image: 224 of 256. */
const USUAL_CROP = 224 / 256;

/** Side of the input where nothing tells. */
export const USUAL_SIDE = 224;

/** How an image is resized so that the input is a share of it. */
function cropped(share: number): Recipe["resized"] {
  // 255.99999 of a share that is no binary fraction is 256.
  const of = (side: number): number => Math.floor(side / share + 1e-6);
  return ([width, height]) => (width === height ? of(width) : [of(width), of(height)]);
}

const ULTRALYTICS: Recipe = {
  reason: "Ultralytics' metadata",
  resize: "antialias",
  resized: (size) => (size[0] === size[1] ? size[0] : size),
  scale: 1 / 255,
  mean: [0, 0, 0],
  std: [1, 1, 1],
  assumptions: [],
};

const EFFICIENTNET_LITE: Recipe = {
  reason: "its name",
  resize: "bicubic",
  resized: ([width, height]) => (width === height ? width + 32 : [width + 32, height + 32]),
  scale: 1,
  mean: [127, 127, 127],
  std: [128, 128, 128],
  assumptions: ["the pre-processing of EfficientNet-Lite, by its name"],
};

const TORCHVISION: Recipe = {
  reason: "its tensors",
  resize: "antialias",
  resized: cropped(USUAL_CROP),
  scale: 1 / 255,
  mean: IMAGENET_MEAN,
  std: IMAGENET_STD,
  assumptions: [
    "torchvision's pre-processing: the middle 7/8, ImageNet's mean and deviation; where it is another, say the `preprocessing`",
  ],
};

const KERAS: Recipe = {
  ...TORCHVISION,
  scale: 1 / 127.5,
  mean: [1, 1, 1],
  std: [1, 1, 1],
  assumptions: ["values from -1 to 1, as most Keras models want; where it is another, say the `preprocessing`"],
};

const BYTES: Recipe = { ...TORCHVISION, assumptions: ["the middle 7/8; where it is another, say the `preprocessing`"] };

/**
 * The way of a model: Ultralytics' metadata, then the files beside it, then what its name and its input tell.
 *
 * @param source the model as messages call it
 */
export function recipeOf(model: ModelInfo, source: string, image: ImageInput, files: ModelFiles | undefined): Recipe {
  const found = recipeBefore(model, source, image, recipeOfFiles(files));
  const own = ownLevels(found, files?.levelsIn, image);
  if (own === undefined) return found;
  const isAssumed = found === KERAS || found === TORCHVISION;
  return { ...found, ...own, assumptions: isAssumed ? BYTES.assumptions : found.assumptions };
}

function recipeBefore(model: ModelInfo, source: string, image: ImageInput, files: Recipe | undefined): Recipe {
  if (isNamedClassifier(model)) return { ...ULTRALYTICS, size: exportedSize(model.metadata) };
  if (files !== undefined) return files;
  if (/efficientnet[-_]?lite/i.test(source)) return EFFICIENTNET_LITE;
  if (image.dtype === "u8") return BYTES;
  return image.layout === "NHWC" ? KERAS : TORCHVISION;
}

/** Size of the input: the model's where it is fixed, else the caller's, else the recipe's. */
export function inputSize({ fixedSize, sides }: ImageInput, { size }: Recipe, wanted: Size | undefined): Size {
  const [width, height] = wanted ?? size ?? [USUAL_SIDE, USUAL_SIDE];
  return fixedSize ?? [sides[0] > 0 ? sides[0] : width, sides[1] > 0 ? sides[1] : height];
}

/** A recipe for an input, with what the caller says in its place. */
export function classifierPreprocessing(
  image: ImageInput,
  recipe: Recipe,
  size: Size,
  options: ClassifierPreprocessingOptions = {},
): ClassifierPreprocessing {
  // What lies beside an image that is smaller than the input is black before it is normalised, where nobody says otherwise.
  const { resize, scale, mean, std, pad = [0, 0, 0] } = recipe;
  const { fit = fitOf(recipe.resized(size)), crop, resize: wanted = resize, ...said } = options;
  const { rounding = recipe.rounding ?? "half-even", ...values } = said;
  const found = preprocessingFor(image, { ...YOLO_PREPROCESSING, scale, mean, std, pad });
  const { fit: _, ...rest } = withOptions(found, values);
  const resized = crop === undefined ? recipe.resized(size) : cropped(crop)(size);
  return { ...rest, resize: wanted, rounding, resized: fit === undefined ? resized : fitted(resized, fit, size) };
}

/** How a recipe's own size is kept where a caller says another share of it. */
function fitOf(resized: Resized): ClassifierPreprocessingOptions["fit"] {
  return typeof resized === "object" && "fit" in resized && resized.fit === "contain" ? "longer-side" : undefined;
}

/** The size of a resize, of an input of a size. */
function targetOf(resized: Resized, size: Size): Size {
  if (typeof resized !== "number") return isSize(resized) ? resized : resized.size;
  const share = resized / Math.min(...size);
  return [Math.round(size[0] * share), Math.round(size[1] * share)];
}

function fitted(resized: Resized, fit: NonNullable<ClassifierPreprocessingOptions["fit"]>, size: Size): Resized {
  if (fit === "shorter-side" && typeof resized === "number") return resized;
  const target = targetOf(resized, size);
  if (fit === "stretch") return target;
  if (fit === "longer-side") return { fit: "contain", size: target };
  return target[0] === target[1] ? target[0] : { fit: "cover", size: target };
}
