/**
 * @module Top-down pose: models that find the points of one person in a crop of an image, as RTMPose, DWPose, ViTPose and
 * HRNet; and the points of all people whose boxes are known as one result.
 */

import { ModelError, message, ShapeError } from "../../core/errors.ts";
import { formatTensorInfo, type TensorInfo } from "../../core/tensor.ts";
import type { DecodeInput, KeypointForm } from "../../heads/head.ts";
import { findImageInput, preprocessingFor } from "../../heads/image-input.ts";
import { outputTensor } from "../../heads/outputs.ts";
import { FLOATS, isFloat, isOfCrops, simccOf } from "../../heads/traits.ts";
import { type DecodingLimits, decodeLimits } from "../../image/decode-limits.ts";
import { placeRectangle, type Region, type Size } from "../../image/geometry.ts";
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
import type { ModelInfo } from "../../model/model-info.ts";
import type { FrameResult } from "../../runtime/backend.ts";
import type {
  EngineShapes,
  HostTensors,
  HostWork,
  OpenedModel,
  PixelSize,
  Task,
  TaskModel,
} from "../../runtime/task.ts";
import type { Detection, DetectionResult } from "../detect/detection.ts";
import { keypointNames, keypointsOf, type ObjectResult, type ObjectsOf, type PoseObject } from "../objects/objects.ts";
import type { Timing } from "../task-result.ts";
import {
  type FoundPoint,
  isPersonImage,
  isWithin,
  type Refinement,
  readHeatmap,
  readSimcc,
  type SimccScore,
} from "./person-image.ts";

/** What a caller may say of a top-down model. */
export interface TopDownTaskOptions extends DecodingLimits {
  readonly preprocessing?: PreprocessingOptions | undefined;
  /** Of the input of a model with dynamic height and width. */
  readonly size?: Size | undefined;
  /** Of SimCC. */
  readonly simccScore: SimccScore;
  /** Of heat maps; `undefined` for `dark` where the model is transformers', else `quarter`. */
  readonly refinement?: Refinement | undefined;
  readonly batch: number;
}

/** Where a model says where the points lie. */
type PointOutput =
  | { readonly kind: "simcc"; readonly x: string; readonly y: string; readonly score: SimccScore }
  | { readonly kind: "heatmap"; readonly map: string; readonly refinement: Refinement };

/** What a top-down model was recognised by, and all that follows from it. */
export interface TopDownSpec {
  /** Why, in one clause. */
  readonly reason: string;
  /** Name of the input that takes the crops. */
  readonly imageInput: string;
  readonly output: PointOutput;
  readonly keypoints: KeypointForm;
  /** Of the input in pixels. */
  readonly size: Size;
  readonly preprocessing: Preprocessing;
  /** True: crop and map are laid by the middles of the first and last pixel, as transformers' ViTPose does. */
  readonly isUnbiased: boolean;
}

/** A top-down model. */
type TopDownModel = TaskModel<TopDownSpec, undefined, Float32Array>;

/** What is seen where nothing tells: two thirds as wide as high. */
const USUAL_SIZE: Size = [192, 256];

/** mmpose's; transformers has the same but for rounding. */
const PREPROCESSING: Preprocessing = {
  ...YOLO_PREPROCESSING,
  fit: "stretch",
  mean: IMAGENET_MEAN,
  std: IMAGENET_STD,
  pad: [0, 0, 0],
};

/** A heat map a point, whose sides are the input's, several times smaller. */
function heatmapOf({ outputs }: ModelInfo, [width, height]: Size): TensorInfo | undefined {
  const [map] = outputs;
  if (outputs.length !== 1 || map === undefined || !isFloat(map) || map.shape.length !== 4) return undefined;
  const [, points = 0, down = 0, across = 0] = map.shape;
  const isSmaller = across > 0 && width % across === 0 && width > across && down * width === across * height;
  return points > 1 && (isSmaller || (map.name === "heatmaps" && across < 0)) ? map : undefined;
}

/**
 * Say what a top-down model is.
 *
 * @throws {ModelError} If it is none
 */
export function recogniseTopDown(model: ModelInfo, source: string, options: TopDownTaskOptions): TopDownSpec {
  const image = findImageInput(model);
  const size = image?.fixedSize ?? options.size ?? USUAL_SIZE;
  const bins = image && simccOf(model, size);
  const map = image && heatmapOf(model, size);
  if (image === undefined || (bins === undefined && map === undefined)) {
    const shapes = model.outputs.map(formatTensorInfo).join(", ");
    const known = "two outputs [N, points, bins] (SimCC), or one [N, points, height, width] (heat maps)";
    const found = `its outputs are ${shapes}, for an input of ${size.join("x")}`;
    const hint = `a model of crops has ${known}; load one that takes whole images with \`PoseEstimator\`; on a command line give it by \`--model\``;
    throw new ModelError(message(`use ${source} as a top-down pose model`, found, hint), source);
  }
  const isUnbiased = map?.name === "heatmaps";
  const { simccScore: score, refinement = isUnbiased ? "dark" : "quarter" } = options;
  const output: PointOutput = bins
    ? { kind: "simcc", x: bins[0].name, y: bins[1].name, score }
    : { kind: "heatmap", map: map!.name, refinement };
  const outputs = bins ?? [map!];
  return {
    reason: `${bins ? "SimCC" : "heat maps"}: ${outputs.map(formatTensorInfo).join(", ")}`,
    imageInput: image.name,
    output,
    keypoints: { count: outputs[0]!.shape[1]!, numbers: 3, names: [] },
    size,
    preprocessing: withOptions(preprocessingFor(image, PREPROCESSING), options.preprocessing),
    isUnbiased,
  };
}

/** True if a model evidently is one, also where its sizes are open: rows of bins, or transformers' heat maps. */
export function declaresCrops(model: ModelInfo): boolean {
  const [output, ...others] = model.outputs;
  return isOfCrops(model) || (others.length === 0 && output?.name === "heatmaps" && output.shape.length === 4);
}

/** Rows of a device's run for so many people, who come and go: powers of two, and halfway between. */
function rowsFor(people: number): number {
  const power = 2 ** Math.ceil(Math.log2(people));
  return people <= power * 0.75 ? power * 0.75 : power;
}

/** Finds the points of one person in each crop of an image. */
export class TopDownTask implements Task<TopDownSpec, undefined, Float32Array> {
  readonly name = "pose";
  readonly action = "load a top-down pose model";
  readonly #options: TopDownTaskOptions;

  constructor(options: TopDownTaskOptions) {
    this.#options = options;
  }

  /** @throws {ModelError} If it is no top-down model */
  async recognise(opened: OpenedModel): Promise<TopDownModel> {
    const model = await opened.described(this.#options.size);
    const spec = recogniseTopDown(model, opened.source, this.#options);
    const { output, preprocessing } = spec;
    const { dtype, layout } = preprocessing;
    const createWork = (): HostTopDown => new HostTopDown(spec);
    return {
      task: this.name,
      spec,
      input: { name: spec.imageInput, dtype, layout, channels: 3 },
      sizeInputs: [],
      outputs: output.kind === "simcc" ? [output.x, output.y] : [output.map],
      decodeOptions: decodeLimits(this.#options),
      rows: Number.POSITIVE_INFINITY,
      rowsFor,
      mostImages: Number.POSITIVE_INFINITY,
      usualSize: spec.size,
      idleParams: undefined,
      sizeFor: () => spec.size,
      sameParams: () => true,
      host: () => Promise.resolve({ createWork }),
      device: {
        async cuda() {
          const { CudaHostTask } = await import("../cuda-host-task.ts");
          return new CudaHostTask(preprocessing, createWork);
        },
      },
    };
  }

  async check(opened: OpenedModel): Promise<void> {
    recogniseTopDown(await opened.described(this.#options.size), opened.source, this.#options);
  }

  engineShapes(): EngineShapes {
    const { batch, size = USUAL_SIZE } = this.#options;
    return { batch: { min: 1, opt: batch, max: batch }, size };
  }
}

/** What one slot needs to find points: a region an image, what is seen of a person; of an image of nobody, all of it. */
class HostTopDown implements HostWork<undefined, Float32Array> {
  readonly placements: Region[] = [];
  readonly #spec: TopDownSpec;
  readonly #preprocessor: Preprocessor;
  readonly #points: Float32Array[] = [];
  readonly #found: FoundPoint = { x: 0, y: 0, score: 0 };
  readonly #input: { -readonly [Key in keyof DecodeInput]: DecodeInput[Key] };
  #images: readonly Image[] = [];

  constructor(spec: TopDownSpec) {
    const [inputWidth, inputHeight] = spec.size;
    this.#spec = spec;
    this.#preprocessor = new Preprocessor(spec.preprocessing);
    this.#input = { outputs: new Map(), index: 0, inputWidth, inputHeight, threshold: 0 };
  }

  begin(images: readonly Image[]): number {
    this.#images = images;
    this.placements.length = images.length;
    return images.length;
  }

  fill(tensors: Pick<HostTensors, "fill">, region: number, row: number): void {
    const image = this.#images[region]!;
    const { width, height } = image;
    const seen = isPersonImage(image) ? image.rectangle : { x: 0, y: 0, width, height };
    const placement = placeRectangle([width, height], seen, this.#spec.size, this.#spec.preprocessing.fit);
    tensors.fill(this.#preprocessor, image, row, placement);
    this.placements[region] = placement;
  }

  finish({ outputs }: Pick<HostTensors, "outputs">, region: number, row: number): void {
    const { output, keypoints, size, isUnbiased } = this.#spec;
    const input = this.#input;
    input.outputs = outputs;
    input.index = row;
    const { count } = keypoints;
    this.#points[region] ??= new Float32Array(count * 3);
    if (output.kind === "simcc") {
      const x = outputTensor(input, output.x, FLOATS, row + 1, count, -1);
      const y = outputTensor(input, output.y, FLOATS, row + 1, count, -1);
      const bins = { x: x.shape[2]!, y: y.shape[2]! };
      const at = { x: row * count * bins.x, y: row * count * bins.y };
      for (let point = 0; point < count; point++, at.x += bins.x, at.y += bins.y) {
        readSimcc(x.data as Float32Array, y.data as Float32Array, at, bins, size, output.score, this.#found);
        this.#place(region, point);
      }
      return;
    }
    const { data, shape } = outputTensor(input, output.map, FLOATS, row + 1, count, -1, -1);
    const [, , height = 0, width = 0] = shape;
    if (width < 2 || height < 2) {
      const expected = "heat maps of at least 2x2";
      throw new ShapeError(
        message("find points", `the output ${JSON.stringify(output.map)} must be ${expected}, got ${width}x${height}`),
        { tensor: output.map, expected, actual: `${width}x${height}` },
      );
    }
    const map = { values: data as Float32Array, at: row * count * height * width, width, height };
    const how = { refinement: output.refinement, isUnbiased };
    for (let point = 0; point < count; point++, map.at += width * height) {
      readHeatmap(map, size, how, this.#found);
      this.#place(region, point);
    }
  }

  /** From an index of the input to one of the image. */
  #place(region: number, point: number): void {
    const { x, y, padX, padY, scaleX, scaleY } = this.placements[region]!;
    const points = this.#points[region]!;
    const found = this.#found;
    points[point * 3] = (found.x + 0.5 - padX) / scaleX + x - 0.5;
    points[point * 3 + 1] = (found.y + 0.5 - padY) / scaleY + y - 0.5;
    points[point * 3 + 2] = found.score;
  }

  end(): readonly Float32Array[] {
    this.#images = [];
    return this.#points;
  }
}

/** A person whose points are wanted: a box, and what a detector says of it. */
export type PersonBox = Pick<Detection, "box"> & Partial<Detection>;

/** The points of one person, f32 [points, 3], in pixels of the whole image; and how long its run took. */
export interface PersonPoints {
  readonly values: Float32Array;
  readonly preprocess: number;
  readonly infer: number;
  readonly postprocess: number;
}

/** Copy what a slot gave for a person. */
export function personPoints({ output, timings }: FrameResult<Float32Array>): PersonPoints {
  return { values: output.slice(), ...timings };
}

/** Make points that are no numbers those that COCO has for what is not there: 0, 0 of score 0. @returns true if there were some */
function clearUnfound(values: Float32Array): boolean {
  let hasUnfound = false;
  for (let at = 0; at < values.length; at += 3) {
    if (Number.isFinite(values[at]! + values[at + 1]! + values[at + 2]!)) continue;
    values.fill(0, at, at + 3);
    hasUnfound = true;
  }
  return hasUnfound;
}

/**
 * Make a result of the points of all people of an image. People may be spread over several runs: the longest counts. Each box has
 * its object: people with points that are no numbers are counted in `implausible`.
 */
export function poseResult(
  { width, height }: PixelSize,
  people: readonly PersonBox[],
  found: readonly PersonPoints[],
  { keypoints: form }: TopDownSpec,
  { decode, started }: { readonly decode: number; readonly started: number },
): ObjectsOf<"pose"> {
  const names = keypointNames(form);
  const implausible = found.filter(({ values }) => clearUnfound(values)).length;
  const objects = people.map(({ label = "person", classId = 0, score = 1, box }, at): PoseObject => {
    return { label, classId, score, box, keypoints: keypointsOf(found[at]!.values, 0, form, names) };
  });
  const longest = (stage: "preprocess" | "infer" | "postprocess"): number =>
    found.reduce((most, times) => Math.max(most, times[stage]), 0);
  const stages = { preprocess: longest("preprocess"), infer: longest("infer"), postprocess: longest("postprocess") };
  const timing = { decode, ...stages, total: performance.now() - started };
  return { task: "pose", width, height, objects, dropped: 0, implausible, timing };
}

/** What a detector has found in an image, whatever else it says of it. */
type Found = DetectionResult | ObjectResult;

/** The people in a result whose boxes hold something of the image: of others there are no points. */
export function peopleIn(found: Found): readonly PersonBox[] {
  const people: readonly Detection[] = "detections" in found ? found.detections : found.objects;
  return people.filter(({ box }) => isWithin(box, found));
}

/** The points of the people in a result, with what else that says of the image. Times are those of both. */
export function withFound<Posed extends ObjectsOf<"pose">>(posed: Posed, found: Found): Posed {
  const { dropped, damage } = found;
  const implausible = found.implausible + posed.implausible;
  const both = (stage: keyof Timing): number => found.timing[stage] + posed.timing[stage];
  const timing: Timing = {
    decode: both("decode"),
    preprocess: both("preprocess"),
    infer: both("infer"),
    postprocess: both("postprocess"),
    total: both("total"),
  };
  return Object.assign(posed, { dropped, implausible, ...(damage === undefined ? {} : { damage }), timing });
}
