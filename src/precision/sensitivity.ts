/** @module Sensitivity: which layers of a quantised model go back to float so that what it loses stays within a budget. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ImageError, ModelError, message } from "../core/errors.ts";
import { plural } from "../core/units.ts";
import { nodeName } from "../onnx/messages.ts";
import { agreementOf, lossOf } from "../tasks/evaluate/evaluation.ts";
import { noiseOf, type RankingRequest, rankingOf, rankLayers } from "./calibrated.ts";
import { evenly } from "./calibration.ts";
import { type Examined, openExamined, precisionOf } from "./comparison.ts";
import type { ConvertConfig, Sensitivity } from "./precision-config.ts";
import { TensorDifferences } from "./tensor-probe.ts";

/** Images that a loss is measured on where there are no annotations. */
const MOST_LOSS_IMAGES = 64;
/** Lowest score of the teacher's objects that count. */
const TEACHER_THRESHOLD = 0.25;

/** Of so many layers one may go back to float by itself before blocks are tried. */
const LAYERS_A_SINGLE = 8;
/** Most blocks that a model is divided into: each of them is measured. */
const MOST_BLOCKS = 24;

/** What layers are searched in. @typeParam T what became of an attempt */
interface SensitivityRequest<T = unknown> extends RankingRequest {
  readonly config: ConvertConfig & { readonly maxLoss: number };
  /** Paths of images that the loss is measured on where they were held back from the calibration: else `images` are. */
  readonly heldBack: readonly string[];
  /** Writes the model with some layers, by `nodeName`, in float. */
  readonly attempt: (path: string, kept: ReadonlySet<string>) => Promise<T>;
}

/** How much a model loses against the teacher. */
class LossMeter implements AsyncDisposable {
  readonly #request: SensitivityRequest;
  readonly #teacher: Examined;
  readonly #images: readonly string[];
  /** What the teacher says of each image. */
  readonly #answers = new Map<string, Awaited<ReturnType<Examined["examine"]>>>();
  /** Images that cannot be read. */
  readonly skipped = new Set<string>();
  #truth: number | undefined;

  private constructor(request: SensitivityRequest, teacher: Examined) {
    this.#request = request;
    this.#teacher = teacher;
    const { heldBack, images } = request;
    this.#images = evenly(heldBack.length > 0 ? heldBack : images, MOST_LOSS_IMAGES);
  }

  static async open(request: SensitivityRequest): Promise<LossMeter> {
    const { path, bytes } = request.model;
    return new LossMeter(request, await openExamined(path ?? bytes, { backend: "cpu" }));
  }

  /** What the teacher says of an image; `undefined` where that is skipped. */
  async #answerOf(image: string): Promise<Awaited<ReturnType<Examined["examine"]>> | undefined> {
    if (this.skipped.has(image)) return undefined;
    const known = this.#answers.get(image);
    if (known !== undefined) return known;
    const { onError } = this.#request.config;
    try {
      return await this.#teacher.examine(image);
    } catch (error) {
      if (onError === undefined || !(error instanceof ImageError)) throw error;
      this.skipped.add(image);
      onError(error, image);
      if (this.skipped.size < this.#images.length) return undefined;
      const found = `none of the ${plural(this.#images.length, "image")} that were held back can be read`;
      throw new ImageError(message("measure what a model loses", found, "give other images"), image, { cause: error });
    }
  }

  /** @param path of a converted model */
  async measure(path: string): Promise<number> {
    const { config } = this.#request;
    const pupil = await openExamined(path, { backend: "cpu" });
    await using _ = { [Symbol.asyncDispose]: () => pupil.model.close() };
    if (config.annotations !== undefined) {
      this.#truth ??= await precisionOf(this.#teacher, config.annotations, config.signal);
      return this.#truth - (await precisionOf(pupil, config.annotations, config.signal));
    }
    const teacher = this.#teacher;
    const isKnown = teacher.known !== undefined && pupil.known !== undefined;
    const agreement = isKnown ? agreementOf(teacher.known, pupil.known, TEACHER_THRESHOLD) : undefined;
    const differences = new TensorDifferences();
    for (const [at, image] of this.#images.entries()) {
      config.signal?.throwIfAborted();
      const answer = await this.#answerOf(image);
      if (answer === undefined) continue;
      // Outputs are kept where nothing else is compared.
      this.#answers.set(image, agreement === undefined ? answer : { ...answer, outputs: new Map() });
      const { result, outputs } = await pupil.examine(image);
      agreement?.add(image, answer.result, result);
      if (agreement === undefined) differences.add(answer.outputs, outputs);
      config.onProgress?.({ phase: "measure", done: at + 1, total: this.#images.length });
    }
    return agreement === undefined ? Math.sqrt(noiseOf(differences)) : lossOf(agreement.report());
  }

  /** What the teacher has by annotations. */
  get truth(): number | undefined {
    return this.#truth;
  }

  get images(): number {
    return this.#images.length - this.skipped.size;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#teacher.model.close();
  }
}

/** Layers that go back to float together. */
interface Part {
  readonly name: string;
  readonly layers: readonly string[];
}

/** Runs of layers whose names begin alike, up to so many strokes. */
function runsOf(layers: readonly string[], depth: number): Part[] {
  const runs: { name: string; layers: string[] }[] = [];
  for (const layer of layers) {
    const name = layer.split("/").slice(0, depth).join("/");
    if (runs.at(-1)?.name === name) runs.at(-1)!.layers.push(layer);
    else runs.push({ name, layers: [layer] });
  }
  return runs;
}

/**
 * Neighbouring layers as blocks: those whose names begin alike, as `/model.2/`, with the longest beginnings that give no more than 24
 * blocks; where names say nothing, as many layers in a row each.
 *
 * @param layers in the order of the graph
 */
export function blocksOf(layers: readonly string[]): Part[] {
  const depths = Math.max(...layers.map((name) => name.split("/").length));
  for (let depth = depths - 1; depth > 0; depth--) {
    const runs = runsOf(layers, depth);
    if (runs.length > 1 && runs.length <= MOST_BLOCKS && runs.length < layers.length) return runs;
  }
  const size = Math.max(2, Math.ceil(layers.length / MOST_BLOCKS));
  return Array.from({ length: Math.ceil(layers.length / size) }, (_, at) => {
    const together = layers.slice(at * size, (at + 1) * size);
    return { name: together.length === 1 ? together[0]! : `${together[0]} to ${together.at(-1)}`, layers: together };
  });
}

/** A model with some layers in float that was measured. */
interface Attempt<T> {
  readonly kept: ReadonlySet<string>;
  readonly loss: number;
  readonly outcome: T | undefined;
}

/** Tries models with more and fewer layers in float, none of them twice, and holds the best. */
class BudgetSearch<T> {
  readonly attempts: { readonly kept: number; readonly loss: number }[] = [];
  /** Of those within the budget the one with the fewest layers in float. */
  best: Attempt<T> | undefined;
  /** The least loss that was seen. */
  least = Number.POSITIVE_INFINITY;
  readonly #losses = new Map<string, number>();
  readonly #request: SensitivityRequest<T>;
  readonly #meter: LossMeter;
  readonly #folder: string;

  constructor(request: SensitivityRequest<T>, meter: LossMeter, folder: string) {
    this.#request = request;
    this.#meter = meter;
    this.#folder = folder;
  }

  async lossWith(parts: readonly Part[]): Promise<number> {
    const kept = new Set(parts.flatMap(({ layers }) => layers));
    const key = [...kept].toSorted().join("\n");
    const known = this.#losses.get(key);
    if (known !== undefined) return known;
    const path = join(this.#folder, `${this.attempts.length}.onnx`);
    const outcome = await this.#request.attempt(path, kept);
    const loss = await this.#meter.measure(path);
    for (const file of [path, `${path}.data`]) rmSync(file, { force: true });
    this.attempts.push({ kept: kept.size, loss });
    this.#losses.set(key, loss);
    this.least = Math.min(this.least, loss);
    const isBetter = kept.size < (this.best?.kept.size ?? Number.POSITIVE_INFINITY);
    if (loss <= this.#request.config.maxLoss && isBetter) this.best = { kept, loss, outcome };
    return loss;
  }

  /** Put 1, 2, 4 … parts back, so that it gets no worse than the best; once the budget holds, the number is halved in between. */
  async fewest(parts: readonly Part[], most: number): Promise<void> {
    const { maxLoss } = this.#request.config;
    const layersIn = (count: number): number =>
      parts.slice(0, count).reduce((sum, { layers }) => sum + layers.length, 0);
    let [failed, count, loss] = [0, 0, Number.POSITIVE_INFINITY];
    while (loss > maxLoss && count < most) {
      failed = count;
      count = Math.min(most, Math.max(1, count * 2));
      if (layersIn(count) >= (this.best?.kept.size ?? Number.POSITIVE_INFINITY)) break;
      loss = await this.lossWith(parts.slice(0, count));
    }
    while (count - failed > 1) {
      const middle = (failed + count) >> 1;
      if ((await this.lossWith(parts.slice(0, middle))) > maxLoss) failed = middle;
      else count = middle;
    }
  }
}

/**
 * Search the fewest layers that go back to float. All are ranked by the noise of each by itself, and the worst go back. Where more than
 * an eighth of them would have to, blocks are tried: what a block costs is measured by putting it back alone, as much of the noise
 * comes of neighbours together; then the worst blocks go back, and those from the front. So the models that are measured are 24 and
 * some, and the same images give the same layers.
 *
 * @returns what was found, and what became of the best attempt
 * @throws {ModelError} If the loss is beyond the budget even with one layer quantised
 */
export async function searchSensitivity<T>(
  request: SensitivityRequest<T>,
): Promise<{ readonly sensitivity: Sensitivity; readonly outcome: T | undefined }> {
  const { config, model, type } = request;
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-sensitivity-"));
  try {
    await using meter = await LossMeter.open(request);
    const search = new BudgetSearch(request, meter, folder);
    const before = await search.lossWith([]);
    const ranking = search.best === undefined ? await rankingOf(request) : undefined;
    const ranked = ranking === undefined ? [] : await rankLayers(request, ranking);
    const singles = ranked.map(({ name }) => ({ name, layers: [name] }));
    const measured: { readonly block: Part; readonly loss: number }[] = [];
    if (ranking !== undefined) {
      await search.fewest(singles, Math.max(1, Math.floor(singles.length / LAYERS_A_SINGLE)));
      if (search.best === undefined) {
        const blocks = blocksOf(ranking.layers.map(nodeName));
        for (const block of blocks) measured.push({ block, loss: await search.lossWith([block]) });
        const worst = measured.toSorted((a, b) => a.loss - b.loss).map(({ block }) => block);
        await search.fewest(worst, worst.length - 1);
        await search.fewest(blocks, blocks.length - 1);
      }
      await search.fewest(singles, singles.length - 1);
    }
    const { best } = search;
    if (best === undefined) {
      const name = type.toUpperCase();
      const most = ranked.length - 1;
      const found = `the loss is ${search.least.toFixed(4)} even with ${most} of ${ranked.length} layers in float`;
      const hint = "calibrate with images like those it will see, choose another `method`, or allow more";
      throw new ModelError(
        message(`convert ${model.name} to ${name} within a loss of ${config.maxLoss}`, found, hint),
        model.name,
      );
    }
    const isKept = ({ layers }: Part): boolean => layers.every((name) => best.kept.has(name));
    const sensitivity: Sensitivity = {
      maxLoss: config.maxLoss,
      lossBefore: before,
      loss: best.loss,
      images: meter.images,
      heldBack: config.annotations === undefined ? request.heldBack : [],
      skipped: [...meter.skipped],
      ...(meter.truth !== undefined && { truth: meter.truth }),
      layers: ranked.map(({ noise: _, ...layer }) => ({ ...layer, isKept: best.kept.has(layer.name) })),
      blocks: measured.map(({ block, loss }) => ({ ...block, cost: before - loss, isKept: isKept(block) })),
      attempts: search.attempts,
    };
    return { sensitivity, outcome: best.outcome };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
