/** @module MapTask: models that say something of every pixel: what goes into them, and how images are cut for it. */

import { ModelError, message } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import type { TensorInfo } from "../../core/tensor.ts";
import { evidentFacade } from "../../heads/object-reading.ts";
import {
  exportedSize,
  findImageInput,
  findMap,
  type ImageInput,
  isOfCrops,
  MAP_TASKS,
  type MapTaskName,
  OF_CROPS,
  preprocessingFor,
  readTraits,
} from "../../heads/traits.ts";
import { decodeLimits, type GivenDecodingLimits } from "../../image/decode-limits.ts";
import { placeRectangle, type Rectangle, type Region, roundHalfEven, type Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import {
  IMAGENET_MEAN,
  IMAGENET_STD,
  type Preprocessing,
  type PreprocessingOptions,
  withOptions,
  YOLO_PREPROCESSING,
} from "../../image/preprocessing.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import { formatModelInfo, type ModelInfo } from "../../model/model-info.ts";
import {
  type EngineShapes,
  type HostTensors,
  type HostWork,
  noDevicePart,
  type OpenedModel,
  type PixelSize,
  type Task,
  type TaskModel,
} from "../../runtime/task.ts";
import { isSide, type Json, levelsOf, type ModelFiles, sizeOf } from "../model-files.ts";
import { type Tile, type TileRules, tileGrid } from "./tile-grid.ts";

/** What a caller says of the pre-processing; the rest stays as it was found. */
export interface MapPreprocessingOptions extends Omit<PreprocessingOptions, "resize"> {
  /**
   * `"bilinear"` as OpenCV's, without antialias; `"antialias"`, `"bicubic"` and `"lanczos"` as Pillow's.
   */
  readonly resize?: Preprocessing["resize"];
}

/** What a caller may say of such a model. */
export interface MapTaskOptions extends GivenDecodingLimits {
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
  readonly batch?: number;
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
function recipeOf(model: ModelInfo, task: MapTaskName, files: ModelFiles | undefined): Recipe {
  const size = exportedSize(model.metadata);
  if (readTraits(model)?.task === task) {
    const { scale, mean, std } = YOLO_PREPROCESSING;
    const fit = task === "depth" ? "stretch" : "letterbox";
    const values = { fit, resize: "bilinear", colour: "RGB", scale, mean, std } as const;
    return { reason: "its metadata", size, multiple: undefined, ...values, assumptions: [] };
  }
  const found = files?.preprocessor && recipeOfTransformers(files.preprocessor, task);
  if (found !== undefined) return found;
  const assumed =
    "that an image is stretched, with ImageNet's mean and deviation; where it is another, say the `preprocessing`";
  const values = { fit: "stretch", resize: "bilinear", colour: "RGB", ...IMAGENET } as const;
  return { reason: "its tensors", size, multiple: undefined, ...values, assumptions: [assumed] };
}

/** What is known of a model of any map, and its output. */
export interface FoundMap {
  readonly spec: MapSpec;
  readonly info: TensorInfo;
  readonly names: readonly string[] | undefined;
}

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
    throw new ModelError(`${message(`use ${source} as ${noun}`, found, hint)}\n${formatModelInfo(model)}`, source);
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
    refuse(`its task is ${JSON.stringify(evident)}`, `load it with \`${other?.facade ?? "Model"}\``);
  }
  const info = findMap(model, task, options.output);
  if (info === undefined) {
    const forms =
      task === "depth" ? "[N, height, width]" : "logits [N, classes, height, width], or integers [N, height, width]";
    const named = options.output === undefined ? "" : ` named ${JSON.stringify(options.output)}`;
    return refuse(
      `it must have one output${named} with ${forms}`,
      model.outputs.length > 1 ? `name it: ${facade}'s \`output\`` : "`Model.load` finds out what a model is for",
    );
  }
  const recipe = recipeOf(model, task, options.files);
  const usual: Size = [USUAL_SIDE[task], USUAL_SIDE[task]];
  const size = sizeFor(image, options.size ?? recipe.size ?? usual);
  const { reason, multiple, assumptions, size: _, ...values } = recipe;
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

/** A part of an image that a model sees, and what is kept of what it says. */
export interface View {
  /** Which image of the batch. */
  readonly image: number;
  /** Where it lies in the input. */
  readonly region: Region;
  /** What of it is kept, in pixels of the image. */
  readonly tile: Tile;
}

function rulesOf({ tile, overlap }: Pick<MapTaskOptions, "tile" | "overlap">, { width, height }: PixelSize): TileRules {
  const largest: Size = tile ?? [width, height];
  return { fixedWidth: undefined, fixedHeight: undefined, smallest: [1, 1], largest, multiple: 1, overlap };
}

/** The tiles of an image: all of one size, or the image itself. */
function rectanglesOf(
  options: Pick<MapTaskOptions, "tile" | "overlap">,
  image: PixelSize,
): readonly (readonly [Rectangle, Tile])[] {
  const { size, tiles } = tileGrid(image.width, image.height, rulesOf(options, image));
  return tiles.map((tile) => [{ x: tile.x, y: tile.y, width: size[0], height: size[1] }, tile]);
}

/** What is the own of one kind of map. */
export interface MapForm<Spec extends MapSpec, Map, Options extends MapTaskOptions> {
  readonly name: MapTaskName;
  /** @throws {ModelError} If a model is none of these */
  readonly recognise: (opened: OpenedModel, options: Options) => Promise<Spec>;
  readonly createWork: (spec: Spec, options: Options) => HostWork<undefined, Map>;
}

/** Says something of every pixel of images: a region an image, or one a tile. */
export class MapTask<Spec extends MapSpec, Map, Options extends MapTaskOptions> implements Task<Spec, undefined, Map> {
  readonly name: MapTaskName;
  readonly action: string;
  readonly #form: MapForm<Spec, Map, Options>;
  readonly #options: Options;

  constructor(form: MapForm<Spec, Map, Options>, options: Options) {
    this.name = form.name;
    this.action = `load ${MAP_TASKS[form.name].noun}`;
    this.#form = form;
    this.#options = options;
  }

  /** @throws {ModelError} If it is of another task */
  async recognise(opened: OpenedModel): Promise<TaskModel<Spec, undefined, Map>> {
    const spec = await this.#form.recognise(opened, this.#options);
    for (const assumption of spec.assumptions) logger.warn(`Assuming for ${opened.source} ${assumption}`);
    return mapModel(this.#form, spec, this.#options);
  }

  /** @throws {UnavailableError} If it is one: there is no part for the device that an engine would be built for */
  async check(opened: OpenedModel): Promise<void> {
    await this.#form.recognise(opened, this.#options);
    throw noDevicePart(this.name, this.action);
  }

  engineShapes(): EngineShapes {
    const { batch = 1, size = [USUAL_SIDE[this.name], USUAL_SIDE[this.name]] } = this.#options;
    return { batch: { min: 1, opt: batch, max: batch }, size };
  }
}

function mapModel<Spec extends MapSpec, Map, Options extends MapTaskOptions>(
  { createWork }: MapForm<Spec, Map, Options>,
  spec: Spec,
  options: Options,
): TaskModel<Spec, undefined, Map> {
  const { task, imageInput: name, size, multiple, output } = spec;
  const { layout, dtype } = spec.preprocessing;
  return {
    task,
    spec,
    input: { name, dtype, layout, channels: 3 },
    sizeInputs: [],
    outputs: [output],
    decodeOptions: decodeLimits(options),
    rows: options.batch ?? 1,
    // Images of several ratios have inputs of several sizes.
    mostImages: multiple === undefined ? Number.POSITIVE_INFINITY : 1,
    usualSize: size,
    idleParams: undefined,
    sizeFor([image]) {
      if (multiple === undefined) return size;
      const [[{ width, height }]] = rectanglesOf(options, image!) as [readonly [Rectangle, Tile]];
      return keptSize([width, height], size, multiple);
    },
    sameParams: () => true,
    host: async () => ({ createWork: () => createWork(spec, options) }),
    device: {},
  };
}

/** What one slot needs for maps: the views of every image, one after the other. */
export abstract class HostMap<Map> implements HostWork<undefined, Map> {
  readonly placements: readonly Region[] = [];
  /** Of the batch. */
  protected images: readonly Image[] = [];
  protected readonly maps: Map[] = [];
  readonly #preprocessor: Preprocessor;
  readonly #fit: Preprocessing["fit"];
  readonly #output: string;
  readonly #options: MapTaskOptions;
  readonly #views: View[] = [];

  constructor({ preprocessing, output }: MapSpec, options: MapTaskOptions) {
    this.#preprocessor = new Preprocessor(preprocessing);
    this.#fit = preprocessing.fit;
    this.#output = output;
    this.#options = options;
  }

  /** Make room for what is said of an image. @param tiles it is cut into */
  protected abstract start(image: Image, tiles: number): Map;
  /** True if the whole image is looked at before its tiles. */
  protected abstract readonly looksAtWhole: boolean;
  /** Take what the model said of a view. @param isWhole it is the whole image of one that is cut into tiles */
  protected abstract place(
    outputs: HostTensors["outputs"],
    name: string,
    row: number,
    view: View,
    isWhole: boolean,
  ): void;

  begin(images: readonly Image[], size: Size): number {
    this.images = images;
    this.#views.length = 0;
    for (const [at, image] of images.entries()) {
      const source: Size = [image.width, image.height];
      const parts = rectanglesOf(this.#options, image);
      if (parts.length > 1 && this.looksAtWhole) {
        const [rectangle, tile] = rectanglesOf({}, image)[0]!;
        this.#views.push({ image: at, tile, region: placeRectangle(source, rectangle, size, this.#fit) });
      }
      for (const [rectangle, tile] of parts) {
        this.#views.push({ image: at, tile, region: placeRectangle(source, rectangle, size, this.#fit) });
      }
      this.maps[at] = this.start(image, parts.length);
    }
    return this.#views.length;
  }

  fill(tensors: HostTensors, region: number, row: number): void {
    const view = this.#views[region]!;
    tensors.fill(this.#preprocessor, this.images[view.image]!, row, view.region);
  }

  finish({ outputs }: HostTensors, region: number, row: number): void {
    const view = this.#views[region]!;
    const isFirst = region === 0 || this.#views[region - 1]!.image !== view.image;
    const isCut = this.#views[region + 1]?.image === view.image;
    this.place(outputs, this.#output, row, view, this.looksAtWhole && isFirst && isCut);
  }

  end(): readonly Map[] {
    this.images = [];
    return this.maps;
  }
}
