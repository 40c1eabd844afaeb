/** @module StagedBatch: one batch of images whose stages are run one by one. */

import { ArgumentError, BunTensorRtError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import type { Tensor } from "../core/tensor.ts";
import type { ModelSpec } from "../heads/head.ts";
import type { Region } from "../image/geometry.ts";
import type { Image } from "../image/image.ts";
import type { ImageSource } from "../image/source.ts";
import type { DetectionBlock } from "../model/rows.ts";
import { hostImages, type Slot, type StageTimings } from "../runtime/backend.ts";
import type { Pipeline } from "../runtime/pipeline.ts";
import { type Detection, detectionsOf } from "../tasks/detect/detection.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";
import type { DetectOptions } from "./detector-config.ts";

type DetectPipeline = Pipeline<ModelSpec, NmsOptions, DetectionBlock>;

const STAGES = ["preprocess", "infer", "postprocess"] as const;

/**
 * Images that hold a slot: `preprocess`, `infer` and `postprocess` run one by one, with the tensors between them open
 * to be read. `postprocess` can be called again with other options. A call while a stage runs is refused.
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 *
 * await using detector = await Detector.load("yolo11n");
 * using batch = await detector.staged(["street.jpg"]);
 * await batch.preprocess();
 * await batch.infer();
 * const [detections] = await batch.postprocess({ threshold: 0.1 });
 * console.log(detections?.length);
 * ```
 */
export class StagedBatch extends Resource {
  /** The decoded images; their pixels are the batch's. */
  readonly images: readonly Image[];
  readonly #slot: Slot<NmsOptions, DetectionBlock>;
  readonly #pipeline: DetectPipeline;
  readonly #selectionFor: (options: DetectOptions | undefined) => NmsOptions;
  readonly #giveBack: () => void;
  /** Stages that have run. */
  #done = 0;
  /** Calls that use the slot just now. */
  #inFlight = 0;
  /** The stage among them. */
  #running: (typeof STAGES)[number] | undefined;

  private constructor(
    pipeline: DetectPipeline,
    slot: Slot<NmsOptions, DetectionBlock>,
    images: readonly Image[],
    selectionFor: (options: DetectOptions | undefined) => NmsOptions,
    giveBack: () => void,
  ) {
    super(`StagedBatch of ${images.length}`);
    this.#pipeline = pipeline;
    this.#slot = slot;
    this.images = images;
    this.#selectionFor = selectionFor;
    this.#giveBack = giveBack;
  }

  /** Called by `Detector.staged`: waits for a slot and decodes the images. */
  static async open(
    pipeline: DetectPipeline,
    sources: readonly ImageSource[],
    selectionFor: (options: DetectOptions | undefined) => NmsOptions,
  ): Promise<StagedBatch> {
    const { maxBatch } = pipeline.backend;
    if (sources.length < 1 || sources.length > maxBatch) {
      throw new ArgumentError(message("stage a batch", `it takes 1 to ${maxBatch} images, got ${sources.length}`));
    }
    const { promise: opened, resolve, reject } = Promise.withResolvers<StagedBatch>();
    const hold = async (slot: Slot<NmsOptions, DetectionBlock>): Promise<void> => {
      const images = await hostImages(slot, sources);
      const { promise: closed, resolve: giveBack } = Promise.withResolvers<void>();
      resolve(new StagedBatch(pipeline, slot, images, selectionFor, giveBack));
      await closed;
    };
    pipeline.withSlot(hold).catch(reject);
    return opened;
  }

  /** Fill the input tensor. */
  async preprocess(): Promise<void> {
    await this.#stage(0, () => this.#slot.preprocess(this.images, this.#pipeline.task.sizeFor(this.images)));
  }

  /** Run the model. */
  async infer(): Promise<void> {
    await this.#stage(1, () => this.#slot.infer());
  }

  /** Decode and select: one list an image, best first, in source pixels. */
  async postprocess(options?: DetectOptions): Promise<Detection[][]> {
    const { labels } = this.#pipeline.backend.task.spec;
    return this.#stage(2, async () => {
      const blocks = await this.#slot.postprocess(this.#selectionFor(options));
      return this.images.map((_, index) => detectionsOf(blocks[index]!, labels));
    });
  }

  /** The input tensor after `preprocess`; valid until the batch is closed. */
  input(): Promise<Tensor> {
    this.#begin(1);
    return this.#using(() => this.#slot.readInput());
  }

  /** The model's outputs by name after `infer`; valid until the batch is closed. */
  outputs(): Promise<ReadonlyMap<string, Tensor>> {
    this.#begin(2);
    return this.#using(() => this.#slot.readOutputs());
  }

  /** Where each image lies in the input, after `preprocess`. */
  get placements(): readonly Region[] {
    this.#begin(1);
    return this.#slot.placements;
  }

  /** Milliseconds of each stage so far. */
  get timings(): Readonly<StageTimings> {
    return this.#slot.timings;
  }

  #begin(stagesNeeded: number): void {
    this.assertOpen("run a stage");
    if (this.#running !== undefined) {
      const found = `it takes one call at a time, and ${this.#running} is running`;
      throw new BunTensorRtError(
        message("use a staged batch", found, "await the former call, or stage the images twice"),
      );
    }
    if (this.#done >= stagesNeeded) return;
    const found = `${STAGES[stagesNeeded - 1]} must have run before`;
    throw new BunTensorRtError(message("run a stage", found, `the order is ${STAGES.join(", ")}`));
  }

  /** Run a stage; those after it count as not run from then on, whatever comes of it. */
  async #stage<T>(index: number, work: () => Promise<T>): Promise<T> {
    this.#begin(index);
    this.#running = STAGES[index];
    this.#done = index;
    try {
      const result = await this.#using(work);
      this.#done = index + 1;
      return result;
    } finally {
      this.#running = undefined;
    }
  }

  /** Use the slot. Whoever gets it next must not find it in use: a batch closed meanwhile gives it back afterwards. */
  async #using<T>(work: () => Promise<T>): Promise<T> {
    this.#inFlight += 1;
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
      if (this.closed && this.#inFlight === 0) this.#giveBack();
    }
  }

  protected release(): void {
    if (this.#inFlight === 0) this.#giveBack();
  }
}
