/** @module Detect task: objects in images: which head a model has, and what goes into it. */

import { ModelError, message } from "../../core/errors.ts";
import { formatShape } from "../../core/tensor.ts";
import type { ModelSpec, RecogniseOptions } from "../../heads/head.ts";
import { hostReason } from "../../heads/host-plan.ts";
import { evidentTask, recogniseAny } from "../../heads/object-reading.ts";
import { ownHeadFor, recogniseModel, refuseClassifier } from "../../heads/recognition.ts";
import { evidentMap, exportedSize, facadeOf, isMapTask, type ObjectTaskName } from "../../heads/traits.ts";
import { type DecodingLimits, decodeLimits } from "../../image/decode-limits.ts";
import { rectangularSize, type Size } from "../../image/geometry.ts";
import type { ImageDecodeOptions } from "../../image/image-decoder.ts";
import { channelsOf, hasFourth, type Preprocessing } from "../../image/preprocessing.ts";
import { type ModelInfo, needsShapes } from "../../model/model-info.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import {
  assertDeviceResize,
  type DeclaredModel,
  type EngineShapes,
  noDevicePart,
  type OpenedModel,
  type PixelSize,
  type RecognisedModel,
  type Task,
  type TaskModel,
} from "../../runtime/task.ts";
import { seemsClassifier } from "../classify/classifier-recognition.ts";
import { declaresImages } from "../image/image-recognition.ts";
import { type SlicePlan, slicesOf } from "../image-grid.ts";
import type { RotatedSuppression } from "../obb/rotated.ts";
import type { MaskSize } from "../segment/mask-plan.ts";
import type { CudaObjects } from "./device-batch.ts";
import { type NmsOptions, sameNmsOptions, USUAL_SELECTION } from "./nms.ts";
import { PlausibilityGuard } from "./plausibility.ts";

/** What a caller may say of a detector. */
export interface DetectTaskOptions
  extends Pick<
      RecogniseOptions,
      | "head"
      | "heads"
      | "labels"
      | "labelsBeside"
      | "anchors"
      | "anchorsBeside"
      | "exporterBeside"
      | "namesBeside"
      | "weightsOf"
      | "levelsIn"
      | "preprocessing"
      | "keypointShape"
    >,
    DecodingLimits {
  /** `detect`: take a model of another task for its boxes only. */
  readonly task?: "detect" | ObjectTaskName | undefined;
  /** Let JPEG files come at 1/2, 1/4 or 1/8 of their size where that is still no smaller than the input needs. */
  readonly scaledDecoding: boolean;
  /** Input size of a model with dynamic height and width; `undefined` for the model's preferred one. */
  readonly size: Size | undefined;
  /** Whether such a model will be given the images' own ratio, up to that size. */
  readonly rectangular: boolean;
  /** Size of the masks of a segmentation model. */
  readonly maskSize: MaskSize;
  /** Which oriented boxes are suppressed; `any` where it is left out. */
  readonly rotatedNms?: RotatedSuppression | undefined;
  /** The slices that an image is cut into; `undefined` for none. Those without a size are as large as the input. */
  readonly slices?: SlicePlan | undefined;
  /** Most images in a batch of a model that leaves it open; of slices, most slices. */
  readonly batch: number;
}

/** What holds where the caller says nothing. */
export const DEFAULT_DETECT_TASK_OPTIONS: DetectTaskOptions = {
  scaledDecoding: false,
  size: undefined,
  rectangular: false,
  maskSize: "image",
  batch: 1,
};

/** A model that finds objects. */
export type DetectModel = TaskModel<ModelSpec, NmsOptions, DetectionBlock>;

/** Finds objects in images: one region an image, the whole of it. */
export class DetectTask implements Task<ModelSpec, NmsOptions, DetectionBlock> {
  readonly name = "detect";
  readonly action = "load a detector";
  readonly #options: DetectTaskOptions;

  constructor(options: DetectTaskOptions) {
    this.#options = options;
  }

  /** @throws {ModelError} If its outputs fit no known head */
  async recognise(opened: OpenedModel): Promise<DetectModel> {
    const model = await opened.described(this.#options.size);
    await this.#refuseOther(opened, model);
    const { source, former } = opened;
    const recognition = this.#read(model, { ...this.#options, source, isSilent: former !== undefined });
    return new RecognisedDetector(recognition, opened, this.#options);
  }

  async check(opened: OpenedModel): Promise<void> {
    const model = await opened.described(this.#options.size);
    if (needsShapes(model)) return;
    await this.#refuseOther(opened, model);
    const spec = this.#read(model, { ...this.#options, source: opened.source, isSilent: true });
    assertDevicePart(spec, this.action);
  }

  forShaping(opened: OpenedModel): Promise<RecognisedModel | undefined> {
    // Of a model that says more than boxes what it says is kept, so that one engine serves both.
    return forShaping(opened, this.#options, recogniseAny);
  }

  engineShapes({ model }: DeclaredModel): EngineShapes {
    return engineShapes(model.metadata, this.#options);
  }

  /** @throws {ModelError} If its outputs fit no known head; where it makes images of images, with what loads it */
  #read(model: ModelInfo, options: RecogniseOptions): ModelSpec {
    try {
      return recogniseModel(model, options);
    } catch (error) {
      const isOfImages = options.head === undefined && model.outputs.length === 1 && declaresImages(model);
      if (!(error instanceof ModelError) || error.readings.length > 0 || !isOfImages) throw error;
      const { source = "the model" } = options;
      const { name, dtype, shape } = model.outputs[0]!;
      const found = `its output ${JSON.stringify(name)} (${dtype} ${formatShape(shape)}) is an image`;
      const hint = "load it with `ImageModel`; on a command line run `transform`";
      throw new ModelError(message(`use ${source} as a detector`, found, hint), source);
    }
  }

  /** @throws {ModelError} If a model is a classifier or says more than boxes, and neither its task nor its head was named */
  async #refuseOther(opened: OpenedModel, model: ModelInfo): Promise<void> {
    const { source } = opened;
    const { task, head } = this.#options;
    const isOwn = ownHeadFor(model, this.#options) !== undefined;
    if (head === undefined && !isOwn && (await seemsClassifier(opened))) refuseClassifier(model, source);
    const isOpen = task === undefined && head === undefined;
    const otherwise = isOwn ? undefined : evidentMap(model);
    const evident = isOpen ? (evidentTask(model, this.#options) ?? otherwise) : undefined;
    if (evident === undefined) return;
    const facade = facadeOf(evident);
    // A detector's boxes are not turned.
    const boxes = evident === "obb" ? "the upright boxes around its own" : "its boxes only";
    const only = isMapTask(evident)
      ? `; on a command line run \`${evident}\``
      : `, or give \`task: "detect"\` (\`--task detect\`) for ${boxes}`;
    const hint = `load it with \`${facade}\`${only}`;
    throw new ModelError(message(`use ${source} as a detector`, `its task is "${evident}"`, hint), source);
  }
}

/** A model and what it is, if it is one of the task's, and may be run in another form than it was exported in. */
export async function forShaping(
  opened: OpenedModel,
  options: DetectTaskOptions,
  recognise: (model: ModelInfo, options: RecogniseOptions) => ModelSpec,
): Promise<RecognisedModel | undefined> {
  try {
    const model = await opened.described(options.size);
    return { model, spec: recognise(model, { ...options, source: opened.source, isSilent: true }) };
  } catch (error) {
    // Whatever is wrong is said when it is recognised to be run.
    if (!(error instanceof ModelError)) throw error;
    return undefined;
  }
}

/** @throws {UnavailableError} If only the CPU decodes its outputs, or fills its input */
function assertDevicePart({ plan, head, preprocessing }: ModelSpec, action: string): void {
  const reason = hostReason(plan);
  if (reason !== undefined) throw noDevicePart(`the head "${head}"`, action, reason.help);
  assertDeviceResize(preprocessing.resize, action);
  // TensorRT has no such dtype.
  if (preprocessing.dtype === "u16") throw noDevicePart("an input of u16", action);
}

/** What a model of objects, and of nothing else, is run by. */
export class RecognisedDetector<Spec extends ModelSpec = ModelSpec>
  implements TaskModel<Spec, NmsOptions, DetectionBlock>
{
  readonly task: string = "detect";
  readonly spec: Spec;
  readonly input: DetectModel["input"];
  readonly sizeInputs: DetectModel["sizeInputs"];
  readonly outputs: DetectModel["outputs"];
  readonly decodeOptions: DetectModel["decodeOptions"];
  readonly rows: number;
  readonly mostImages: number;
  readonly usualSize: Size;
  readonly idleParams: NmsOptions = this.madeUp(USUAL_SELECTION);
  readonly sameParams: DetectModel["sameParams"] = sameNmsOptions;
  protected readonly options: DetectTaskOptions;
  /** True if inputs are as large as their images. */
  readonly #isImageSized: boolean;
  /** Looks at the kept rows of all slots. */
  readonly guard: PlausibilityGuard;

  constructor(spec: Spec, { source, former }: Pick<OpenedModel, "source" | "former">, options: DetectTaskOptions) {
    const { imageInput: name, preprocessing, sizeInputs, fixedSize, preferredSize } = spec;
    const { dtype, layout, levels } = preprocessing;
    this.spec = spec;
    this.guard = former?.guard instanceof PlausibilityGuard ? former.guard : new PlausibilityGuard(source, spec);
    this.input = { name, dtype, layout, channels: channelsOf(preprocessing), levels };
    this.sizeInputs = sizeInputs;
    this.outputs = spec.plan.kind === "own" ? spec.plan.outputs : undefined;
    this.decodeOptions = decodeOptionsFor(spec, options);
    this.usualSize = fixedSize ?? options.size ?? preferredSize;
    const { slices } = options;
    this.options = { ...options, slices: slices && { ...slices, size: slices.size ?? this.usualSize } };
    this.#isImageSized = isImageSized(spec, options);
    // Images of several sizes have inputs of several sizes; slices of one image are the batch.
    this.mostImages = this.#isImageSized || slices !== undefined ? 1 : Number.POSITIVE_INFINITY;
    this.rows = slices === undefined ? Number.POSITIVE_INFINITY : options.batch;
  }

  madeUp(selection: NmsOptions): NmsOptions {
    return { ...selection, isMadeUp: true };
  }

  mostWith({ slices }: NmsOptions): number {
    return slices ? 1 : this.mostImages;
  }

  sizeFor(images: readonly PixelSize[], params?: NmsOptions): Size {
    const { fixedSize, stride } = this.spec;
    const { rectangular } = this.options;
    const slices = params?.slices ?? this.options.slices;
    const size = this.#isImageSized ? undefined : this.usualSize;
    const seen =
      slices && (rectangular || this.#isImageSized)
        ? slicesOf([images[0]!.width, images[0]!.height], { ...slices, size: slices.size ?? this.usualSize })
        : images;
    return inputSizeFor(seen, { fixedSize, stride, size, rectangular });
  }

  async host(): ReturnType<DetectModel["host"]> {
    const { HostDetect } = await import("./host-detect.ts");
    return { createWork: () => new HostDetect(this.spec, this.guard, this.options) };
  }

  readonly device: DetectModel["device"] = { cuda: () => this.cuda() };

  /** @param objects what is done beside boxes */
  protected async cuda(objects?: CudaObjects): Promise<unknown> {
    assertDevicePart(this.spec, "load the model");
    if (this.spec.plan.kind === "own") {
      const { CudaHostTask } = await import("../cuda-host-task.ts");
      const { createWork } = await this.host();
      return new CudaHostTask(this.spec.preprocessing, createWork);
    }
    const { CudaDetect } = await import("./cuda-detect.ts");
    return new CudaDetect(this.spec, this.guard, objects, this.options.slices);
  }
}

/** Side of the input where neither the caller nor the model says. */
const DEFAULT_SIZE: Size = [640, 640];

/** Least side of a rectangular input: no stride is larger. */
const SMALLEST_SIDE = 32;

/**
 * Ranges for what the model leaves open; they count for nothing where it does not.
 *
 * @param metadata of the ONNX model
 * @param options.batch up to so many images, and best at that
 */
export function engineShapes(
  metadata: Readonly<Record<string, string>>,
  { batch, rectangular, size }: Pick<DetectTaskOptions, "batch" | "size" | "rectangular">,
): EngineShapes {
  const [width, height] = size ?? exportedSize(metadata) ?? DEFAULT_SIZE;
  const longSide = Math.max(width, height);
  const smallest: Size = [SMALLEST_SIDE, SMALLEST_SIDE];
  return {
    batch: { min: 1, opt: batch, max: batch },
    size: rectangular ? { min: smallest, opt: [width, height], max: [longSide, longSide] } : [width, height],
  };
}

/** What every image file of a backend is decoded with, worked out once. */
function decodeOptionsFor(recognition: ModelSpec, options: Omit<DetectTaskOptions, "batch">): ImageDecodeOptions {
  const { scaledDecoding, rectangular } = options;
  const limits = { ...decodeLimits(options), ...decodeChannels(recognition.preprocessing) };
  if (!scaledDecoding || options.slices !== undefined || isImageSized(recognition, options)) return limits;
  const size = recognition.fixedSize ?? options.size ?? recognition.preferredSize;
  // A rectangular input has its longer side where the image has its own.
  const longSide = Math.max(...size);
  const [minWidth, minHeight] = rectangular && recognition.fixedSize === undefined ? [longSide, longSide] : size;
  const needs = recognition.preprocessing.fit === "stretch" ? "both" : "either";
  return { ...limits, minWidth, minHeight, needs };
}

/** What is kept of files for a model of one channel or four. */
function decodeChannels(preprocessing: Preprocessing): Pick<ImageDecodeOptions, "alpha" | "depth"> {
  const isOfFour = hasFourth(preprocessing.colour);
  const isDeep = isOfFour || preprocessing.colour === "luma" || preprocessing.levels !== undefined;
  return { ...(isOfFour ? { alpha: "keep" } : {}), ...(isDeep ? { depth: "keep" } : {}) };
}

/** True if the inputs of a model are as large as their images: its family's way, and the caller says no size. */
export function isImageSized(
  { isImageSized: isFamilys = false, fixedSize }: Pick<ModelSpec, "isImageSized" | "fixedSize">,
  { size }: Pick<DetectTaskOptions, "size">,
): boolean {
  return isFamilys && fixedSize === undefined && size === undefined;
}

/** How the size of a model with dynamic height and width is chosen. */
interface InputSizePolicy {
  /** The model's own size where it has one: it wins. */
  readonly fixedSize: Size | undefined;
  /** The size to use otherwise; the longer side where `rectangular`. `undefined`: that of the images, in whole strides. */
  readonly size: Size | undefined;
  /** Use the images' own ratio. */
  readonly rectangular: boolean;
  /** Both sides of a rectangular size are multiples of it. */
  readonly stride: number;
}

/**
 * The input size of a batch. Rectangular: the smallest that holds each image at its own ratio, so that a batch of
 * mixed images shares one.
 *
 * @param images at least one
 */
export function inputSizeFor(images: readonly PixelSize[], policy: InputSizePolicy): Size {
  const { fixedSize, size, stride } = policy;
  if (fixedSize !== undefined) return fixedSize;
  if (size !== undefined && !policy.rectangular) return size;
  let [width, height] = [stride, stride];
  for (const image of images) {
    const longSide = Math.max(...(size ?? [image.width, image.height]));
    const [w, h] = rectangularSize(image.width, image.height, { longSide, stride });
    width = Math.max(width, w);
    height = Math.max(height, h);
  }
  return [width, height];
}
