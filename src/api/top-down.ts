/** @module TopDownPoseEstimator: the second stage of a pose: the points of people whose boxes a detector has found. */

import { z } from "zod";
import { type OpenOptions, openBackends, refuseStrays } from "../accelerators/accelerator.ts";
import { message, OptionError } from "../core/errors.ts";
import { numberWithin, wholeWithin } from "../core/number-options.ts";
import { type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { decodeImage } from "../image/decode.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import type { Image } from "../image/image.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import { PREPROCESSING_OPTIONS } from "../image/preprocessing-options.ts";
import type { ImageSource } from "../image/source.ts";
import type { Backend } from "../runtime/backend.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import type { ObjectsOf, PoseObject } from "../tasks/objects/objects.ts";
import { keypointNames, keypointsOf } from "../tasks/pose/keypoints.ts";
import { type CropRule, type PersonCrop, personCrop } from "../tasks/pose/person-crop.ts";
import type { Refinement, SimccScore } from "../tasks/pose/point-maps.ts";
import { type TopDownSpec, TopDownTask, type TopDownTaskOptions } from "../tasks/pose/top-down.ts";
import { type Drawable, drawable } from "../tasks/task-result.ts";
import { CLASSIFIER_OPTIONS } from "./classifier-config.ts";
import { LoadedModel, owning, tellBatchMisfits } from "./loaded-model.ts";
import { MACHINE_OPTIONS, type MachineChoice, machineOf, withAccelerators } from "./machine-options.ts";
import { modelSource } from "./model-source.ts";

/** Options of `TopDownPoseEstimator.load`. */
export interface TopDownPoseOptions extends DecodingLimits, MachineChoice {
  /** Sides of what the model sees of a person in those of the box. Default 1.25, as the models are trained. */
  readonly padding?: number;
  /** What a score is of the largest values for x and y, where a model has SimCC: `"min"` as mmpose, `"mean"` as rtmlib. Default `"min"`. */
  readonly simccScore?: SimccScore;
  /**
   * How points are found between the pixels of a heat map: `"quarter"` moves them a quarter of a pixel towards the larger
   * neighbour, as HRNet does, `"dark"` by a parabola through the neighbours. Default: `"dark"` for ViTPose as transformers exports
   * it, else `"quarter"`.
   */
  readonly refinement?: Refinement;
  /**
   * What the model wants done to a crop. Default: RGB by ImageNet's mean and deviation, black beyond the image. rtmlib gives its
   * models BGR by the same numbers: `{ colour: "BGR" }`.
   */
  readonly preprocessing?: PreprocessingOptions;
  /** Input size in pixels of a model with dynamic height and width. Default: the model's, else 192x256. */
  readonly size?: number | readonly [width: number, height: number];
  /** Most people in a run of a model whose batch is open. Default 32; at most the model's own batch. */
  readonly batch?: number;
  /** With `batch` above 1: most milliseconds that people wait for others. Default 0: those of one call share runs. */
  readonly batchWaitMs?: number;
  /** Batches in flight: each owns its buffers. Default 1. */
  readonly inFlight?: number;
  /** Number of the GPU, from 0 on. Default 0. */
  readonly device?: number;
}

/** A person whose points are wanted: a box, and what a detector says of it. */
export type PersonBox = Pick<Detection, "box"> & Partial<Detection>;

const { size, batchWaitMs, inFlight, device, maxPixels, decodeTimeoutMs, damaged, vectors } = CLASSIFIER_OPTIONS;

const loadTable = {
  padding: { schema: numberWithin(0.1, 10, "a number from 0.1 to 10").default(1.25) },
  simccScore: { schema: z.enum(["min", "mean"], "min or mean").default("min") },
  refinement: { schema: z.enum(["quarter", "dark"], "quarter or dark").optional() },
  preprocessing: { schema: z.strictObject(shapeOf(PREPROCESSING_OPTIONS)).optional(), options: PREPROCESSING_OPTIONS },
  batch: { schema: wholeWithin(1, 1024).default(32), aliases: ["batchSize"] },
  ...{ size, batchWaitMs, inFlight, device, maxPixels, decodeTimeoutMs, damaged, vectors },
  ...MACHINE_OPTIONS,
} satisfies OptionsOf<TopDownPoseOptions>;
const loadSchema = z.strictObject(shapeOf(loadTable));

interface TopDownConfig extends OpenOptions, TopDownTaskOptions {
  readonly padding: number;
  readonly batchWaitMs: number;
  readonly device: number;
}

function parse(options: TopDownPoseOptions): TopDownConfig {
  const parsed = parseOptions(withAccelerators(loadSchema), options, "load a top-down pose model", loadTable);
  const config = { ...machineOf(parsed as never), ...(parsed as unknown as TopDownConfig) };
  if (config.preprocessing?.fit !== undefined) {
    const found = "a crop has the ratio of the input already";
    throw new OptionError(message("fit a crop", found, "leave out `fit`"), "preprocessing.fit");
  }
  refuseStrays(config, [config.device]);
  return config;
}

/** The points of one person, in pixels of the image. */
interface PersonPoints {
  readonly values: Float32Array;
  readonly infer: number;
  readonly preprocess: number;
  readonly postprocess: number;
}

type TopDownBackend = Backend<TopDownSpec, undefined, Float32Array>;

/**
 * Finds the points of people whose boxes are known, by models of crops: RTMPose, DWPose, ViTPose, HRNet. All people of all images
 * of a call share runs of the model. Loading is the expensive step: keep the estimator, and close it when done.
 *
 * @example A detector, then the points of each person it finds
 * ```ts
 * await using detector = await Detector.load("yolo11n", { classes: ["person"] });
 * await using estimator = await TopDownPoseEstimator.load("rtmpose-m.onnx");
 * const image = await decodeImage("street.jpg");
 * const { detections } = await detector.detect(image);
 * const { objects } = await estimator.estimate(image, detections);
 * for (const { box, keypoints } of objects) console.log(box, keypoints);
 * ```
 */
export class TopDownPoseEstimator extends LoadedModel<TopDownSpec, undefined, Float32Array, PersonPoints> {
  /** What the model is for. */
  readonly task = "pose";
  readonly #rule: CropRule;
  readonly #limits: DecodingLimits;
  readonly #names: readonly string[];

  private constructor(backends: readonly TopDownBackend[], config: TopDownConfig, name: string) {
    const { spec } = backends[0]!.task;
    const { batch, batchWaitMs: wait, inFlight: slots, maxPixels: most } = config;
    // So many people at most: a smaller batch of the model is no misfit.
    tellBatchMisfits({ batch: 1, batchWaitMs: batch === 1 ? wait : 0 }, backends, name);
    super(backends, {
      label: `TopDownPoseEstimator ${name}`,
      ...{ inFlight: slots, batch, batchWaitMs: wait, maxPixels: most!, params: undefined },
      read: ({ output, timings }, _, source) => {
        const { left = 0, top = 0 } = source as Partial<PersonCrop>;
        const values = output.slice();
        for (let at = 0; at < values.length; at += 3) {
          values[at]! += left;
          values[at + 1]! += top;
        }
        return { values, ...timings };
      },
    });
    const { maxPixels: pixels, damaged: take, vectors: svg, decodeTimeoutMs: time } = config;
    this.#rule = { size: spec.size, padding: config.padding, isUnbiased: spec.isUnbiased };
    this.#limits = given({ maxPixels: pixels, damaged: take, vectors: svg, decodeTimeoutMs: time });
    this.#names = keypointNames(spec.keypoints);
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file, or its bytes: [N, 3, height, width] in; two rows of bins for each point out
   * (SimCC), or a heat map
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or takes whole images
   * @throws {UnavailableError} If a GPU was asked for
   * @throws {LibraryLoadError} If ONNX Runtime is not found
   */
  static async load(model: string | URL | Uint8Array, options: TopDownPoseOptions = {}): Promise<TopDownPoseEstimator> {
    const config = parse(options);
    const { source, name } = await modelSource(model);
    const backends = await openBackends(source, new TopDownTask(config), config, [config.device]);
    return owning(backends, () => new TopDownPoseEstimator(backends, config, name));
  }

  /**
   * Find the points of people in one image.
   *
   * @param source path, URL, Blob, bytes, or decoded pixels, which must not change until the promise settles
   * @param people boxes in pixels of the image: detections, or `{ box }`
   * @returns one object a box, in order; points are pixels of the image, and are not moved onto its edge
   * @throws {ImageError} If it is missing or not an image
   * @throws {ArgumentError} If a box has no area, or lies outside the image
   * @throws {ClosedError} If the estimator has been closed
   * @throws {NativeError} If the model itself fails
   * @throws the reason of `options.signal`
   */
  async estimate(
    source: ImageSource,
    people: readonly PersonBox[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<ObjectsOf<"pose"> & Drawable> {
    const [result] = await this.estimateBatch([source], [people], options);
    return result!;
  }

  /**
   * Find the points of people in several images, in as few runs of the model as its batch allows.
   *
   * @param people boxes of each image
   * @returns one result an image, in order
   * @throws as `estimate`
   */
  async estimateBatch(
    sources: readonly ImageSource[],
    people: readonly (readonly PersonBox[])[],
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<(ObjectsOf<"pose"> & Drawable)[]> {
    if (sources.length !== people.length) {
      const found = `there are ${sources.length} images and ${people.length} lists of boxes`;
      throw new OptionError(message("estimate poses", found, "give one list of boxes for each image"), "people");
    }
    const started = performance.now();
    this.assertOpen("estimate a pose");
    const images = await Promise.all(sources.map((source) => decodeImage(source, this.#limits)));
    const decode = performance.now() - started;
    const crops = images.flatMap((image, at) => people[at]!.map(({ box }) => personCrop(image, box, this.#rule)));
    const found = await this.submitAll(crops, undefined, "estimate a pose", signal);
    return images.map((image, at) => {
      const own = found.splice(0, people[at]!.length);
      return this.#resultOf(image, sources[at]!, people[at]!, own, { decode, total: performance.now() - started });
    });
  }

  #resultOf(
    { width, height }: Image,
    source: ImageSource,
    people: readonly PersonBox[],
    found: readonly PersonPoints[],
    times: { readonly decode: number; readonly total: number },
  ): ObjectsOf<"pose"> & Drawable {
    const { keypoints: form } = this.recognition;
    const objects = people.map(({ label = "person", classId = 0, score = 1, box }, at): PoseObject => {
      const keypoints = keypointsOf(found[at]!.values, 0, form, this.#names);
      return { label, classId, score, box, keypoints };
    });
    // People of one image may be spread over several runs: those of the longest count.
    const longest = (stage: "preprocess" | "infer" | "postprocess"): number =>
      found.reduce((most, times) => Math.max(most, times[stage]), 0);
    const timing = {
      ...times,
      preprocess: longest("preprocess"),
      infer: longest("infer"),
      postprocess: longest("postprocess"),
    };
    const result: ObjectsOf<"pose"> = { task: "pose", width, height, objects, dropped: 0, implausible: 0, timing };
    return drawable(result, formsFor("pose") as never, source);
  }
}

/** What is given of some limits. */
function given(limits: { readonly [Name in keyof DecodingLimits]: DecodingLimits[Name] | undefined }): DecodingLimits {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}
