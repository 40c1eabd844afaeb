/** @module MapRecognition: models that say something of every pixel: what they are, and what goes into them. */

import { ModelError, message } from "../../core/errors.ts";
import type { TensorInfo } from "../../core/tensor.ts";
import { findImageInput, type ImageInput, ownLevels, preprocessingFor } from "../../heads/image-input.ts";
import { evidentFacade } from "../../heads/object-reading.ts";
import {
  exportedSize,
  findMap,
  isOfCrops,
  loadHint,
  MAP_TASKS,
  type MapTaskName,
  OF_CROPS,
  readTraits,
  taskOf,
} from "../../heads/traits.ts";
import type { DecodingLimits } from "../../image/decode-limits.ts";
import { roundHalfEven, type Size } from "../../image/geometry.ts";
import {
  IMAGENET_MEAN,
  IMAGENET_STD,
  type Preprocessing,
  type PreprocessingOptions,
  withOptions,
  YOLO_PREPROCESSING,
} from "../../image/preprocessing.ts";
import { formatModelInfo, type ModelInfo } from "../../model/model-info.ts";
import type { EngineShapes, OpenedModel } from "../../runtime/task.ts";
import { isSide, type Json, levelsOf, type ModelFiles, sizeOf } from "../model-files.ts";

/** What a caller says of the pre-processing; the rest stays as it was found. */
export interface MapPreprocessingOptions extends Omit<PreprocessingOptions, "resize"> {
  /**
   * `"bilinear"` as OpenCV's, without antialias; `"antialias"`, `"bicubic"` and `"lanczos"` as Pillow's; `"lanczos4"` as OpenCV's,
   * on the CPU only.
   */
  readonly resize?: Preprocessing["resize"] | undefined;
}

/** What a caller may say of such a model. */
export interface MapTaskOptions extends DecodingLimits {
  readonly preprocessing?: MapPreprocessingOptions | undefined;
  /** Of the input of a model with dynamic height and width. */
  readonly size?: Size | undefined;
  /** Of a tile in pixels of the image; `undefined`: the model sees the whole image at once. */
  readonly tile?: Size | undefined;
  /** Least pixels that tiles share; `undefined` for an eighth of a tile. */
  readonly overlap?: number | undefined;
  /** Name of the output. */
  readonly output?: string | undefined;
  /** What lies beside the model. */
  readonly files?: ModelFiles | undefined;
  /** Images or tiles of a run. */
  readonly batch?: number | undefined;
}

/** What a model was recognised by. Plain data. */
export interface MapSpec {
  readonly task: MapTaskName;
  /** Why, in one clause. */
  readonly reason: string;
  readonly imageInput: string;
  /** Name of the output that holds the map. */
  readonly output: string;
  /** Of the input in pixels. */
  readonly size: Size;
  /** The same where the model fixes it. */
  readonly fixedSize: Size | undefined;
  /** Of a model whose input keeps the ratio of the image: its sides are multiples of it, one of them that of `size`. */
  readonly multiple: number | undefined;
  readonly preprocessing: Preprocessing;
  /** What was assumed because nothing tells. */
  readonly assumptions: readonly string[];
}

/** A way of a family of models. */
type Recipe = Pick<MapSpec, "reason" | "multiple" | "assumptions"> &
  Pick<Preprocessing, "fit" | "resize" | "colour" | "scale" | "mean" | "std"> & { readonly size: Size | undefined };

/** Sides of the input where nothing tells. */
const USUAL_SIDE: Readonly<Record<MapTaskName, number>> = { semantic: 512, depth: 518 };

const ASSUMED = [
  "that an image is stretched, with ImageNet's mean and deviation; where it is another, say the `preprocessing`",
];
const ASSUMED_OF_LEVELS = ["that an image is stretched; where it is another, say the `preprocessing`"];

const IMAGENET = { scale: 1 / 255, mean: IMAGENET_MEAN, std: IMAGENET_STD };

/** Of transformers' `preprocessor_config.json`; `undefined` where it does not say the size of an image. */
function recipeOfTransformers(file: Json, task: MapTaskName): Recipe | undefined {
  const { size, crop_size, do_center_crop, ensure_multiple_of, keep_aspect_ratio, do_flip_channel_order } = file;
  const short = isObjectWithEdge(size) ? size.shortest_edge : undefined;
  const crop = do_center_crop === true ? sizeOf(crop_size) : undefined;
  const found = crop ?? sizeOf(size) ?? sizeOf(short);
  if (found === undefined) return undefined;
  const isCut = crop !== undefined || short !== undefined;
  // Depth Anything's and DPT's files may leave out their filter.
  const { assumptions, ...levels } = levelsOf(file, task === "depth" ? 3 : 2);
  return {
    reason: "preprocessor_config.json",
    size: found,
    multiple: keep_aspect_ratio === true ? (isSide(ensure_multiple_of) ? ensure_multiple_of : 1) : undefined,
    fit: "stretch",
    colour: do_flip_channel_order === true ? "BGR" : "RGB",
    ...levels,
    assumptions: isCut
      ? [...assumptions, `that an image is stretched to ${found.join("x")}, and nothing cut off`]
      : assumptions,
  };
}

function isObjectWithEdge(size: unknown): size is { readonly shortest_edge: unknown } {
  return typeof size === "object" && size !== null && "shortest_edge" in size;
}

/** How images go into a model: by Ultralytics' metadata, the files beside it, or as most are trained. */
function recipeOf(metadata: ModelInfo["metadata"], task: MapTaskName, files: ModelFiles | undefined): Recipe {
  const size = exportedSize(metadata);
  if (taskOf(metadata) === task) {
    const { scale, mean, std } = YOLO_PREPROCESSING;
    const fit = task === "depth" ? "stretch" : "letterbox";
    const values = { fit, resize: "bilinear", colour: "RGB", scale, mean, std } as const;
    return { reason: "its metadata", size, multiple: undefined, ...values, assumptions: [] };
  }
  const found = files?.preprocessor && recipeOfTransformers(files.preprocessor, task);
  if (found !== undefined) return found;
  const values = { fit: "stretch", resize: "bilinear", colour: "RGB", ...IMAGENET } as const;
  return { reason: "its tensors", size, multiple: undefined, ...values, assumptions: ASSUMED };
}

/** What is known of a model of any map, and its output. */
interface FoundMap {
  readonly spec: MapSpec;
  readonly info: TensorInfo;
  readonly names: readonly string[] | undefined;
}

const FINDS_OUT = "`Model.load` finds out what a model is for";

/**
 * Say how a model of maps is run.
 *
 * @throws {ModelError} If it is of another task, or has no such output
 */
export async function recogniseMap(
  { model, source, described }: Pick<OpenedModel, "model" | "source" | "described">,
  task: MapTaskName,
  options: MapTaskOptions,
): Promise<FoundMap> {
  const { facade, noun } = MAP_TASKS[task];
  const refuse = (found: string, hint: string): never => {
    throw new ModelError(message(`use ${source} as ${noun}`, `${found}\n${formatModelInfo(model)}`, hint), source);
  };
  const image = findImageInput(model);
  if (image === undefined || model.inputs.length > 1) {
    return refuse(
      "it must have one input, of images [N, 3, height, width]",
      "export it with what else it takes built in",
    );
  }
  const traits = readTraits(model);
  if (isOfCrops(model)) refuse(OF_CROPS.found, OF_CROPS.hint);
  const other = evidentFacade(model);
  const evident = other?.task ?? traits?.task;
  if (evident !== undefined && evident !== task) {
    refuse(`its task is ${JSON.stringify(evident)}`, other === undefined ? FINDS_OUT : loadHint(other.facade));
  }
  const info = findMap(model, task, options.output);
  if (info === undefined) {
    const forms =
      task === "depth" ? "[N, height, width]" : "logits [N, classes, height, width], or integers [N, height, width]";
    const named = options.output === undefined ? "" : ` named ${JSON.stringify(options.output)}`;
    return refuse(
      `it must have one output${named} with ${forms}`,
      model.outputs.length > 1 ? `name it: ${facade}'s \`output\`` : FINDS_OUT,
    );
  }
  const before = recipeOf(model.metadata, task, options.files);
  const own = ownLevels(before, options.files?.levelsIn, image);
  const recipe = { ...before, ...own };
  const usual: Size = [USUAL_SIDE[task], USUAL_SIDE[task]];
  const size = sizeFor(image, options.size ?? recipe.size ?? usual);
  const { reason, multiple, size: _, ...values } = recipe;
  const assumptions = own !== undefined && before.assumptions === ASSUMED ? ASSUMED_OF_LEVELS : before.assumptions;
  const { resize = values.resize, ...said } = options.preprocessing ?? {};
  const preprocessing = withOptions(preprocessingFor(image, { ...YOLO_PREPROCESSING, ...values }), said);
  const isOpen = info.shape.slice(1).some((side) => side < 0) && info.shape.length === 4 && info.shape[1]! < 0;
  const found = isOpen ? findMap(await described(size), task, info.name) : info;
  return {
    info: found ?? info,
    names: traits?.names,
    spec: {
      task,
      reason: `output ${JSON.stringify(info.name)}; pre-processing by ${reason}`,
      imageInput: image.name,
      output: info.name,
      size,
      fixedSize: image.fixedSize,
      multiple: options.size === undefined && image.sides.every((side) => side < 0) ? multiple : undefined,
      preprocessing: { ...preprocessing, resize },
      assumptions: options.preprocessing === undefined ? assumptions : [],
    },
  };
}

function sizeFor({ fixedSize, sides }: ImageInput, [width, height]: Size): Size {
  return fixedSize ?? [sides[0] > 0 ? sides[0] : width, sides[1] > 0 ? sides[1] : height];
}

/** Size of the input of an image whose ratio is kept, as DPT's pre-processing has it: scaled as little as possible. */
export function keptSize([width, height]: Size, [wantedWidth, wantedHeight]: Size, multiple: number): Size {
  const [across, down] = [wantedWidth / width, wantedHeight / height];
  const scale = Math.abs(1 - across) < Math.abs(1 - down) ? across : down;
  const side = (length: number): number => Math.max(multiple, roundHalfEven((length * scale) / multiple) * multiple);
  return [side(width), side(height)];
}

/** Sizes of the input that an engine is built for: where it keeps the ratio of the image, those of 2:1 to 1:2. */
export function engineSize(
  metadata: ModelInfo["metadata"],
  task: MapTaskName,
  { size, files }: Pick<MapTaskOptions, "size" | "files">,
): EngineShapes["size"] {
  const recipe = recipeOf(metadata, task, files);
  const usual: Size = size ?? recipe.size ?? [USUAL_SIDE[task], USUAL_SIDE[task]];
  const { multiple } = recipe;
  if (size !== undefined || multiple === undefined) return usual;
  const times = (factor: number): Size => {
    const side = (length: number): number => Math.max(1, Math.round((length * factor) / multiple)) * multiple;
    return [side(usual[0]), side(usual[1])];
  };
  return { min: times(1 / 2), opt: times(1), max: times(2) };
}
