/** @module TopDownPoseEstimator: the second stage of a pose: the points of people that a detector has found. */

import { ArgumentError, message, OptionError } from "../core/errors.ts";
import { type DecodingLimits, decodeLimits } from "../image/decode-limits.ts";
import { checked, isImage } from "../image/image.ts";
import { decodeImage } from "../image/image-file.ts";
import { type ImageSource, isReadOnce } from "../image/source.ts";
import { formsFor } from "../tasks/objects/object-forms.ts";
import type { ObjectsOf } from "../tasks/objects/objects.ts";
import { type CropRule, type PersonImage, personImages } from "../tasks/pose/person-image.ts";
import {
  type PersonBox,
  type PersonPoints,
  personPoints,
  poseResult,
  type TopDownSpec,
  TopDownTask,
} from "../tasks/pose/top-down.ts";
import { type Drawable, drawable } from "../tasks/task-result.ts";
import { CallParser } from "./call-options.ts";
import { LoadedModel, type Opened, openModel, owned } from "./loaded-model.ts";
import type { ModelSource } from "./model-source.ts";
import { parseTopDownOptions, type TopDownConfig, type TopDownPoseOptions } from "./top-down-config.ts";

/** The people of one image with their points, which draw themselves. */
export type TopDownResult = ObjectsOf<"pose"> & Drawable;
type OpenedTopDown = Opened<TopDownSpec, undefined, Float32Array, TopDownConfig>;

/**
 * Finds the points of people whose boxes are known, by models of crops: RTMPose, DWPose, ViTPose, HRNet. All people of all images
 * of a call share runs of the model. Loading is the expensive step: keep the estimator, and close it when done.
 *
 * @example A detector, then the points of each person it finds
 * ```ts
 * import { Detector, decodeImage, TopDownPoseEstimator } from "bun-tensorrt";
 *
 * await using detector = await Detector.load("yolo11n", { classes: ["person"] });
 * await using estimator = await TopDownPoseEstimator.load("rtmpose-m.onnx");
 * const image = await decodeImage("street.jpg");
 * const { detections } = await detector.detect(image);
 * const { objects } = await estimator.estimate(image, detections);
 * for (const { box, keypoints } of objects) console.log(box, keypoints.length);
 * ```
 */
export class TopDownPoseEstimator extends LoadedModel<TopDownSpec, undefined, Float32Array, PersonPoints> {
  /** What the model is for. */
  readonly task = "pose";
  readonly #rule: CropRule;
  readonly #limits: DecodingLimits;

  /** @internal */
  constructor(opened: OpenedTopDown) {
    const { backends, config } = opened;
    const { size, isUnbiased } = backends[0]!.task.spec;
    // So many people at most: a smaller batch of the model is no misfit.
    const batch = Math.min(config.batch, ...backends.map(({ maxBatch }) => maxBatch));
    super(
      { ...opened, config: { ...config, batch } },
      {
        facade: "TopDownPoseEstimator",
        params: undefined,
        calls: new CallParser("estimate a pose"),
        paramsOf: () => undefined,
        read: personPoints,
      },
    );
    this.#rule = { size, padding: config.padding, isUnbiased };
    this.#limits = decodeLimits(config);
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or address of an ONNX file or a plan, or its bytes: [N, 3, height, width] in; two rows of bins for each point out
   * (SimCC), or a heat map
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {ModelError} If the file is missing, no model, or takes whole images
   * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   */
  static async load(model: ModelSource, options: TopDownPoseOptions = {}): Promise<TopDownPoseEstimator> {
    const config = parseTopDownOptions(options);
    const opened = await openModel(model, config, () => new TopDownTask(config));
    return owned(TopDownPoseEstimator, opened);
  }

  /**
   * Find the points of people in one image.
   *
   * @param source path, URL, Blob, body (`Response`, `Request`, stream), bytes, or decoded pixels, which must not change until the promise settles
   * @param people boxes in pixels of the image: detections, or `{ box }`
   * @returns one object a box, in order; points are pixels of the image, and are not moved onto its edge
   * @throws {ImageError} If it is missing or not an image
   * @throws {ArgumentError} If there are no boxes, or one has no area, or lies outside the image
   * @throws {ClosedError} If the estimator has been closed
   * @throws {NativeError} If the model itself fails
   * @throws the reason of `options.signal`
   */
  async estimate(
    source: ImageSource,
    people: readonly PersonBox[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<TopDownResult> {
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
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<TopDownResult[]> {
    if (!(Array.isArray(people) && people.every(Array.isArray))) {
      const hint = "give the detections of a detector, or `{ box: [x1, y1, x2, y2] }` for each person";
      throw new ArgumentError(message("estimate a pose", "the boxes of the people are missing", hint));
    }
    if (sources.length !== people.length) {
      const found = `there are ${sources.length} images and ${people.length} lists of boxes`;
      throw new OptionError(message("estimate poses", found, "give one list of boxes for each image"), "people");
    }
    const started = performance.now();
    const call = async (submitAll: (seen: PersonImage[]) => Promise<PersonPoints[]>): Promise<TopDownResult[]> => {
      const images = await Promise.all(
        sources.map((source) =>
          isImage(source) ? checked(source) : decodeImage(source, { ...this.#limits, signal: options.signal }),
        ),
      );
      const decode = performance.now() - started;
      const found = await submitAll(images.flatMap((image, at) => personImages(image, people[at]!, this.#rule)));
      return images.map((image, at) => {
        const own = found.splice(0, people[at]!.length);
        const result = poseResult(image, people[at]!, own, this.recognition, { decode, started });
        return drawable(result, formsFor("pose") as never, isReadOnce(sources[at]!) ? image : sources[at]!);
      });
    };
    return await this.admit(call, options);
  }
}
