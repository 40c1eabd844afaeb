/** @module Host classify: images in, their best classes out, around a model in host memory. */

import { ShapeError } from "../../core/errors.ts";
import { formatShape, type Tensor } from "../../core/tensor.ts";
import { placeCentreCrop, type Region, type Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";
import { Preprocessor } from "../../image/preprocessor.ts";
import type { HostTensors, HostWork } from "../../runtime/task.ts";
import type { ValueGuard } from "../value-guard.ts";
import { type BestClasses, createBestClasses, selectBest } from "./class-scores.ts";
import type { ClassifierSpec, ClassifyParams } from "./classifier-recognition.ts";

/** What one slot needs to classify: a region an image, its middle. */
export class HostClassify implements HostWork<ClassifyParams, BestClasses> {
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
export function regionPreprocessing({ preprocessing }: ClassifierSpec): Preprocessing {
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
