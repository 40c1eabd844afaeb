/** @module ClassifierFiles: what Hugging Face's files beside a model say of its pre-processing and its classes. */

import { basename, dirname, join } from "node:path";
import { logger } from "../../core/log.ts";
import { type Resized, roundHalfEven, type Size } from "../../image/geometry.ts";
import { IMAGENET_MEAN, IMAGENET_STD } from "../../image/preprocessing.ts";
import type { Recipe } from "./classifier-recipe.ts";

type Json = Readonly<Record<string, unknown>>;

/** The files that lie beside a model, as far as they are there and hold an object. */
export interface ClassifierFiles {
  /** Of `preprocessor_config.json`. */
  readonly preprocessor: Json | undefined;
  /** Of `config.json`. */
  readonly config: Json | undefined;
}

/** More than any of these files holds. */
const MOST_BYTES = 2 ** 24;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function readObject(path: string): Promise<Json | undefined> {
  const file = Bun.file(path);
  if (!(await file.exists()) || file.size > MOST_BYTES) return undefined;
  try {
    const value: unknown = await file.json();
    if (isObject(value)) return value;
    logger.warn(`Ignoring ${JSON.stringify(path)}: it holds no object`);
  } catch (error) {
    logger.warn(`Ignoring ${JSON.stringify(path)}: ${(error as Error).message}`);
  }
  return undefined;
}

/**
 * Read the files beside a model, and those above it where its folder is called `onnx`, as Hugging Face's repositories have it.
 *
 * @param source path of the model; bytes have nothing beside them
 */
export async function classifierFiles(source: string | Uint8Array): Promise<ClassifierFiles | undefined> {
  if (typeof source !== "string") return undefined;
  const folder = dirname(source);
  const folders = basename(folder) === "onnx" ? [folder, dirname(folder)] : [folder];
  for (const one of folders) {
    const [preprocessor, config] = await Promise.all(
      ["preprocessor_config.json", "config.json"].map((name) => readObject(join(one, name))),
    );
    if (preprocessor !== undefined || config !== undefined) return { preprocessor, config };
  }
  return undefined;
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isSide(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= 16_384;
}

function triple(value: unknown): readonly [number, number, number] | undefined {
  const isTriple = Array.isArray(value) && value.length === 3 && value.every(isNumber);
  return isTriple ? (value as [number, number, number]) : undefined;
}

/** `{ height, width }`, or one side. */
function sizeOf(value: unknown): Size | undefined {
  if (isSide(value)) return [value, value];
  if (!isObject(value)) return undefined;
  return isSide(value.width) && isSide(value.height) ? [value.width, value.height] : undefined;
}

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

/** Pillow's numbers of its filters. */
const FILTERS: Readonly<Record<number, Recipe["resize"]>> = { 1: "lanczos", 2: "antialias", 3: "bicubic" };

function filterOf(known: Recipe["resize"] | undefined, said: unknown): Pick<Recipe, "resize" | "assumptions"> {
  if (known !== undefined || said === undefined) return { resize: known ?? "antialias", assumptions: [] };
  return { resize: "antialias", assumptions: [`bilinear in place of its own filter ${JSON.stringify(said)}`] };
}

/** Of transformers' `preprocessor_config.json`; `undefined` where it does not say the size of an image. */
function recipeOfTransformers(file: Json): Recipe | undefined {
  const sizes = sizesOf(file);
  if (sizes === undefined) return undefined;
  const { do_rescale, rescale_factor, do_normalize, image_mean, image_std, resample } = file;
  const isNormalised = do_normalize !== false;
  return {
    reason: "preprocessor_config.json",
    ...sizes,
    ...filterOf(FILTERS[resample as number], resample),
    rounding: "floor",
    scale: do_rescale === false ? 1 : isNumber(rescale_factor) ? rescale_factor : 1 / 255,
    mean: isNormalised ? (triple(image_mean) ?? IMAGENET_MEAN) : [0, 0, 0],
    std: isNormalised ? (triple(image_std) ?? IMAGENET_STD) : [1, 1, 1],
  };
}

/** Of timm's `pretrained_cfg` in its `config.json`. */
function recipeOfTimm({ input_size, interpolation, crop_pct, crop_mode, mean, std }: Json): Recipe | undefined {
  const [, height, width] = triple(input_size) ?? [];
  if (!isSide(height) || !isSide(width)) return undefined;
  const share = isNumber(crop_pct) && crop_pct > 0 ? crop_pct : 0.875;
  const resized = (input: Size): Resized => {
    const size = input.map((side) => Math.floor(side / share)) as unknown as Size;
    if (crop_mode === "squash") return size;
    if (crop_mode === "border") return { fit: "contain", size };
    return size[0] === size[1] ? size[0] : { fit: "cover", size };
  };
  const known = { bilinear: "antialias", bicubic: "bicubic", lanczos: "lanczos" } as const;
  const levels = triple(mean) ?? IMAGENET_MEAN;
  return {
    reason: "the pretrained_cfg of config.json",
    size: [width, height],
    resized,
    ...filterOf(known[interpolation as keyof typeof known], interpolation),
    // Bars of the mean's colour beside an image that is kept whole.
    ...(crop_mode === "border" ? { pad: triple(levels.map((level) => roundHalfEven(255 * level)))! } : {}),
    scale: 1 / 255,
    mean: levels,
    std: triple(std) ?? IMAGENET_STD,
  };
}

/** What the files say of an image. */
export function recipeOfFiles(files: ClassifierFiles | undefined): Recipe | undefined {
  if (files === undefined) return undefined;
  const { preprocessor, config } = files;
  const found = preprocessor === undefined ? undefined : recipeOfTransformers(preprocessor);
  const timm = config?.pretrained_cfg;
  return found ?? (isObject(timm) ? recipeOfTimm(timm) : undefined);
}

/** The class names that the files have: transformers' `id2label`, timm's `label_names`; `undefined` if another number. */
export function labelsOfFiles(files: ClassifierFiles | undefined, classes: number): readonly string[] | undefined {
  const { id2label, label_names } = files?.config ?? {};
  const names = isObject(id2label)
    ? Array.from({ length: Object.keys(id2label).length }, (_, id) => id2label[id])
    : label_names;
  if (!Array.isArray(names) || names.length !== classes) return undefined;
  return names.every((name) => typeof name === "string") ? names : undefined;
}

/** True if the files say that an image may be of several classes. */
export function isMultiLabel(files: ClassifierFiles | undefined): boolean {
  return files?.config?.problem_type === "multi_label_classification";
}
