/** @module Detector: a model on a machine, from an image to the objects in it. */

import { openBackends } from "../accelerators/accelerator.ts";
import { OptionError } from "../core/errors.ts";
import type { ModelSpec } from "../heads/head.ts";
import { OBJECT_TASKS } from "../heads/traits.ts";
import type { ImageSource } from "../image/source.ts";
import type { DetectionBlock } from "../model/rows.ts";
import type { Backend } from "../runtime/backend.ts";
import { DetectTask } from "../tasks/detect/detect-task.ts";
import { type DetectionResult, resultOf } from "../tasks/detect/detection.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";
import { DetectingModel } from "./detecting-model.ts";
import { type DetectorConfig, type DetectorOptions, parseDetectorOptions } from "./detector-config.ts";
import { owning } from "./loaded-model.ts";
import { modelSource } from "./model-source.ts";
import { StagedBatch } from "./staged-batch.ts";

type DetectBackend = Backend<ModelSpec, NmsOptions, DetectionBlock>;

/**
 * Finds objects in images. Loading is the expensive step: keep the detector, and close it when done.
 *
 * @example Boxes in one image
 * ```ts
 * await using detector = await Detector.load("yolo11n");
 * const { detections } = await detector.detect("street.jpg");
 * for (const { label, score, box } of detections) console.log(label, score.toFixed(2), box);
 * ```
 */
export class Detector extends DetectingModel<ModelSpec, DetectionResult> {
  /** What the model is for. */
  readonly task = "detect";

  private constructor(backends: readonly DetectBackend[], config: DetectorConfig, name: string) {
    const { labels } = backends[0]!.task.spec;
    super(backends, config, name, {
      label: "Detector",
      read: (frame, startedAt) => resultOf(frame, startedAt, labels),
    });
  }

  /**
   * Load a model and make it ready to run.
   *
   * @param model path or `file:` URL of an ONNX file, its bytes, or a name of the catalogue, which is fetched once
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {UnavailableError} If an option asks for a GPU, or for something of it, that this machine does not have
   * @throws {ModelError} If the file is missing, no model, or its outputs fit no known head
   * @throws {LibraryLoadError} If ONNX Runtime is not found, where the model runs on the CPU
   * @throws {TensorRtError} If TensorRT cannot build or load the engine; `PlanMismatchError` for another version's or GPU's
   * @throws {CudaError} If the GPU fails, or has not enough memory
   * @throws {CatalogueError} If the name's file cannot be fetched
   * @throws the reason of `options.signal`, while an engine is built
   */
  static async load(model: string | URL | Uint8Array, options: DetectorOptions = {}): Promise<Detector> {
    const config = parseDetectorOptions(options);
    if (config.task !== undefined && config.task !== "detect") {
      const hint = `load it with \`${OBJECT_TASKS[config.task].facade}\`, or give \`task: "detect"\` for what a detector finds in it`;
      throw new OptionError(
        `Option "task" must be "detect" for a detector, got "${config.task}"\nHint: ${hint}`,
        "task",
      );
    }
    const { source, name } = await modelSource(model);
    const backends = await openBackends(source, new DetectTask(config), config, config.devices);
    return Detector.over(backends, config, name);
  }

  /** @internal A detector over a model that was loaded as one; the backends are closed if it cannot be made. */
  static over(backends: readonly DetectBackend[], config: DetectorConfig, name: string): Detector {
    return owning(backends, () => new Detector(backends, config, name));
  }

  /**
   * Hold a batch of images and run the stages one by one: for experiments, and to look at the tensors between them.
   *
   * @param sources 1 to `backend.maxBatch` images
   * @returns owns a slot until it is closed: bind it with `using`
   */
  staged(sources: readonly ImageSource[]): Promise<StagedBatch> {
    this.assertOpen("detect");
    return StagedBatch.open(this.pipeline, sources, (options) => this.selectionFor(options));
  }
}
