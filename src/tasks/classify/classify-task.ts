/** @module Classify task: which classes an image is of: what goes into a classifier, and what its values are. */

import { logger } from "../../core/log.ts";
import { findImageInput } from "../../heads/image-input.ts";
import { exportedSize } from "../../heads/traits.ts";
import { decodeLimits } from "../../image/decode-limits.ts";
import {
  assertDeviceResize,
  type DeclaredModel,
  type EngineShapes,
  type OpenedModel,
  type Task,
  type TaskModel,
} from "../../runtime/task.ts";
import { ValueGuard } from "../value-guard.ts";
import type { BestClasses } from "./class-scores.ts";
import { recipeOfFiles, USUAL_SIDE } from "./classifier-recipe.ts";
import {
  type ClassifierSpec,
  type ClassifyParams,
  type ClassifyTaskOptions,
  recogniseClassifier,
} from "./classifier-recognition.ts";

/** A model that classifies images. */
type ClassifierModel = TaskModel<ClassifierSpec, ClassifyParams, BestClasses>;

/** Classifies images: one region an image, its middle. */
export class ClassifyTask implements Task<ClassifierSpec, ClassifyParams, BestClasses> {
  readonly name = "classify";
  readonly action = "load a classifier";
  readonly #options: ClassifyTaskOptions;

  constructor(options: ClassifyTaskOptions) {
    this.#options = options;
  }

  /** @throws {ModelError} If it is no classifier */
  async recognise(opened: OpenedModel): Promise<ClassifierModel> {
    const spec = await recogniseClassifier(opened, this.#options);
    for (const assumption of spec.assumptions) logger.warn(`Assuming for ${opened.source} ${assumption}`);
    return classifierModel(spec, opened, this.#options);
  }

  /** @throws {UnavailableError} If only the CPU resizes as the options say */
  async check(opened: OpenedModel): Promise<void> {
    assertDeviceResize(this.#options.preprocessing?.resize, this.action);
    await recogniseClassifier(opened, this.#options);
  }

  engineShapes({ model }: DeclaredModel): EngineShapes {
    const { batch = 1, size, files } = this.#options;
    const usual = exportedSize(model.metadata) ?? recipeOfFiles(files)?.size ?? [USUAL_SIDE, USUAL_SIDE];
    return { batch: { min: 1, opt: batch, max: batch }, size: size ?? usual };
  }
}

function classifierModel(
  spec: ClassifierSpec,
  { model, source }: OpenedModel,
  options: ClassifyTaskOptions,
): ClassifierModel {
  const guard = new ValueGuard(source, "class scores");
  const { name, dtype, layout } = findImageInput(model)!;
  return {
    task: "classify",
    spec,
    input: { name, dtype, layout, channels: 3 },
    sizeInputs: [],
    outputs: [spec.output],
    decodeOptions: decodeLimits(options),
    rows: Number.POSITIVE_INFINITY,
    mostImages: Number.POSITIVE_INFINITY,
    usualSize: spec.size,
    idleParams: { top: 1 },
    sizeFor: () => spec.size,
    sameParams: (a, b) => a.top === b.top,
    async host() {
      const { HostClassify } = await import("./host-classify.ts");
      return { createWork: () => new HostClassify(spec, guard) };
    },
    device: {
      async cuda() {
        const [{ CudaHostTask }, { HostClassify, regionPreprocessing }] = await Promise.all([
          import("../cuda-host-task.ts"),
          import("./host-classify.ts"),
        ]);
        return new CudaHostTask(regionPreprocessing(spec), () => new HostClassify(spec, guard));
      },
    },
  };
}
