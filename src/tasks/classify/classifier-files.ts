/** @module ClassifierFiles: what Hugging Face's files beside a model say of its pre-processing as a classifier. */

import { type Resized, roundHalfEven, type Size } from "../../image/geometry.ts";
import { IMAGENET_MEAN, IMAGENET_STD } from "../../image/preprocessing.ts";
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
import type { Recipe } from "./classifier-recipe.ts";

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
