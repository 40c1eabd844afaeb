/**
 * @module Classify task: which classes an image is of: what goes into a classifier, and what its values are; and its result as
 * text, JSON and tensors, and drawn.
 */

import { BunTensorRtError, message, ShapeError } from "../../core/errors.ts";
import { formatShape, type Tensor } from "../../core/tensor.ts";
import { round } from "../../core/units.ts";
import { findImageInput } from "../../heads/image-input.ts";
import { exportedSize } from "../../heads/traits.ts";
import { decodeLimits } from "../../image/decode-limits.ts";
import { placeCentreCrop, type Region, type Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import { labelOf } from "../../model/model-info.ts";
import type { FrameResult } from "../../runtime/backend.ts";
import {
  assertDeviceResize,
  type DeclaredModel,
  type EngineShapes,
  type HostTensors,
  type HostWork,
  type OpenedModel,
  type Task,
  type TaskModel,
} from "../../runtime/task.ts";
import { drawShapes, type LabelledShape, paintCaptions, paintShapes } from "../detect/draw.ts";
import { type ResultForms, type TaskResult, tensorsOf, timingJson } from "../task-result.ts";
import { ValueGuard } from "../value-guard.ts";
import { recipeOfFiles, USUAL_SIDE } from "./classifier-recipe.ts";
import {
  type BestClasses,
  type ClassifierSpec,
  type ClassifyParams,
  type ClassifyTaskOptions,
  createBestClasses,
  recogniseClassifier,
  selectBest,
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

function classifierModel(spec: ClassifierSpec, opened: OpenedModel, options: ClassifyTaskOptions): ClassifierModel {
  const guard = ValueGuard.begin(opened, "class scores", spec.assumptions);
  const { name, dtype, layout } = findImageInput(opened.model)!;
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
    guard,
    sizeFor: () => spec.size,
    sameParams: (a, b) => a.top === b.top,
    host: async () => ({ createWork: () => new HostClassify(spec, guard) }),
    device: {
      async cuda() {
        const { CudaHostTask } = await import("../cuda-host-task.ts");
        return new CudaHostTask(regionPreprocessing(spec), () => new HostClassify(spec, guard));
      },
    },
  };
}

/** What one slot needs to classify: a region an image, its middle. */
class HostClassify implements HostWork<ClassifyParams, BestClasses> {
  readonly placements: Region[] = [];
  readonly #spec: ClassifierSpec;
  readonly #guard: ValueGuard;
  readonly #preprocessor: Preprocessor;
  readonly #best: BestClasses[] = [];
  #images: readonly Image[] = [];
  #size: Size = [0, 0];

  constructor(spec: ClassifierSpec, guard: ValueGuard) {
    this.#spec = spec;
    this.#guard = guard;
    this.#preprocessor = new Preprocessor(regionPreprocessing(spec));
  }

  begin(images: readonly Image[], size: Size): number {
    this.#images = images;
    this.#size = size;
    this.placements.length = images.length;
    return images.length;
  }

  fill(tensors: Pick<HostTensors, "fill">, region: number, row: number): void {
    const image = this.#images[region]!;
    const { width, height } = image;
    const last = this.placements[region];
    const { resized, rounding } = this.#spec.preprocessing;
    const placement =
      last?.sourceWidth === width && last.sourceHeight === height
        ? last
        : placeCentreCrop([width, height], resized, this.#size, rounding);
    tensors.fill(this.#preprocessor, image, row, placement);
    this.placements[region] = placement;
  }

  finish({ outputs }: Pick<HostTensors, "outputs">, region: number, row: number, { top }: ClassifyParams): void {
    const { output, classes, activation } = this.#spec;
    const scores = outputs.get(output)!;
    checkScores(scores, output, classes, row);
    let best = this.#best[region];
    if (best === undefined || best.scores.length < Math.min(top, classes)) {
      best = createBestClasses(Math.min(top, classes));
      this.#best[region] = best;
    }
    this.#guard.check(scores.data as Float32Array, row * classes, classes);
    selectBest(scores.data as Float32Array, row * classes, classes, activation, top, best);
  }

  end(): readonly BestClasses[] {
    this.#images = [];
    return this.#best;
  }
}

/** Pre-processing as a region of an image is resized by it. */
function regionPreprocessing({ preprocessing }: ClassifierSpec): Preprocessing {
  const { resized: _, rounding: __, ...rest } = preprocessing;
  return { ...rest, fit: "stretch" };
}

/** @throws {ShapeError} If there is no such row, or it has another number of classes */
function checkScores({ dtype, shape }: Tensor, output: string, classes: number, row: number): void {
  if (shape.length === 2 && shape[1] === classes && row < shape[0]! && (dtype === "f32" || dtype === "f16")) return;
  const expected = `f32 or f16 ${formatShape([-1, classes])} with a row ${row}`;
  const actual = `${dtype} ${formatShape(shape)}`;
  throw new ShapeError(
    `Cannot classify an image: the output ${JSON.stringify(output)} must be ${expected}, got ${actual}`,
    {
      tensor: output,
      expected,
      actual,
    },
  );
}

/** A class that an image is of. */
export interface ImageClass {
  /** Name of the class, or `class 7` where the model has no name for it. */
  readonly label: string;
  readonly classId: number;
  /** 0–1. */
  readonly score: number;
}

/** What one image is of. */
export interface ClassificationResult extends TaskResult {
  readonly task: "classify";
  /** The best of the model's classes, best score first. None where no score is a number. */
  readonly classes: readonly ImageClass[];
}

/** Make a result of what a slot gave for an image. @param startedAt when it was asked for, by `performance.now()` */
export function classificationOf(
  { output, width, height, timings, damage }: FrameResult<BestClasses>,
  startedAt: number,
  labels: readonly string[],
): ClassificationResult {
  const { classIds, scores, count } = output;
  return {
    task: "classify",
    classes: Array.from({ length: count }, (_, at) => {
      const classId = classIds[at]!;
      return { label: labelOf(labels, classId), classId, score: scores[at]! };
    }),
    width,
    height,
    timing: { ...timings, total: performance.now() - startedAt },
    ...(damage === undefined ? {} : { damage }),
  };
}

function captions({ classes, width, height }: ClassificationResult): LabelledShape[] {
  return classes.map((found) => ({ ...found, box: [0, 0, width, height] }));
}

/** Results of classifiers. */
export const CLASSIFY_FORMS: ResultForms<ClassificationResult> = {
  noun: "class",
  count: ({ classes }) => classes.length,
  doubts: ({ classes }) => (classes.length === 0 ? ["no score is a number"] : []),
  columns: ["label", "class", "score"],
  rows: ({ classes }) => classes.map(({ label, classId, score }) => [label, String(classId), score.toFixed(4)]),
  csvColumns: ["label", "class", "score"],
  csvRows(result) {
    return this.rows(result);
  },
  json: ({ task, width, height, classes, timing, damage }) => ({
    task,
    width,
    height,
    classes: classes.map(({ label, classId, score }) => ({ label, classId, score: round(score, 6) })),
    timing: timingJson(timing),
    ...(damage === undefined ? {} : { damage }),
  }),
  yolo: ({ classes }) => classes.map(({ label, score }) => `${score.toFixed(2)} ${label}\n`).join(""),
  coco() {
    const found = "a classifier gives classes of the whole image, and no objects in it";
    throw new BunTensorRtError(message("write a results file of COCO", found));
  },
  deepstack({ classes: [first] }) {
    return { label: first?.label ?? "", confidence: round(first?.score ?? 0, 6) };
  },
  tensorForms: () => [
    { name: "scores", datatype: "FP32", shape: [-1] },
    { name: "classes", datatype: "INT64", shape: [-1] },
    { name: "labels", datatype: "BYTES", shape: [-1] },
  ],
  tensors: ({ classes }, forms) =>
    tensorsOf(forms, classes.length, [
      classes.map(({ score }) => score),
      classes.map(({ classId }) => classId),
      classes.map(({ label }) => label),
    ]),
  draw: (image, result, options) => drawShapes(image, captions(result), options, paintCaptions),
  paint: (image, result, options) => paintShapes(image, captions(result), options, paintCaptions),
};
