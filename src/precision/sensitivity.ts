/** @module Sensitivity: which layers of a quantised model go back to float so that what it loses stays within a budget. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { modelTask } from "../api/model.ts";
import { ImageError, ModelError, message } from "../core/errors.ts";
import type { Tensor, TensorInfo } from "../core/tensor.ts";
import { plural } from "../core/units.ts";
import { nodeName, type OnnxNode } from "../onnx/messages.ts";
import { OnnxModel } from "../onnx/model.ts";
import { agreementOf, lossOf } from "../tasks/evaluate/agreement.ts";
import { evenly } from "./calibration.ts";
import { type Examined, openExamined, precisionOf } from "./comparison.ts";
import type { ConvertConfig, Sensitivity } from "./convert-config.ts";
import { headLayers } from "./head-layers.ts";
import { ImageFeed } from "./image-feed.ts";
import type { QuantisedType } from "./placement.ts";
import { placeIn, quantise } from "./quantise.ts";
import { TensorDifferences } from "./tensor-difference.ts";
import { describeTensors, type ProbedModel, probeSession } from "./tensor-probe.ts";
import { readExternalFloats } from "./write-model.ts";

/** Images that a loss is measured on where there are no annotations. */
const MOST_LOSS_IMAGES = 64;
/** Lowest score of the teacher's objects that count. */
const TEACHER_THRESHOLD = 0.25;

/** What layers are searched in. */
export interface SensitivityRequest {
  readonly model: ProbedModel;
  readonly type: QuantisedType;
  readonly config: ConvertConfig & { readonly maxLoss: number };
  /** Paths of images that layers are ranked by; they can be read. */
  readonly images: readonly string[];
  /** Paths of images that the loss is measured on where they were held back from the calibration: else `images` are. */
  readonly heldBack: readonly string[];
  readonly ranges: ReadonlyMap<string, number>;
  /** Writes the model with some layers, by `nodeName`, in float. */
  readonly attempt: (path: string, kept: ReadonlySet<string>) => Promise<void>;
}

/** The mean noise of outputs, as a share of their signal. */
function noiseOf(differences: TensorDifferences): number {
  const noises = differences.report().map(({ sqnr }) => 10 ** (-sqnr / 10));
  return noises.reduce((sum, noise) => sum + noise, 0) / Math.max(noises.length, 1);
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

/** A layer, and the signal to noise at the heads where it is the only one that is quantised. */
interface RankedLayer {
  readonly name: string;
  readonly op: string;
  readonly sqnr: number;
}

/** What the layers are ranked with. */
interface Ranking {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly layers: readonly OnnxNode[];
  /** Tensors at the heads. */
  readonly heads: readonly string[];
}

/** The layers that are quantised, and where what they cost is seen. */
async function rankingOf({ model, type, config }: SensitivityRequest): Promise<Ranking> {
  const onnx = OnnxModel.read(model.bytes, model.name);
  const tensors = await describeTensors(model);
  const exclude = (node: OnnxNode): boolean => config.exclude.includes(nodeName(node));
  const { weights } = placeIn(onnx, { type, tensors, source: model.name, exclude });
  const layers = [...new Set(weights.flatMap(({ readers }) => readers.map(({ node }) => node)))];
  const order = new Map(onnx.graph.nodes.map((node, at) => [node, at]));
  layers.sort((a, b) => order.get(a)! - order.get(b)!);
  const producers = onnx.graph.producers();
  const given = [...headLayers(onnx.graph).keys()].map(({ outputs }) => outputs[0]!);
  const floats = (names: readonly string[]): string[] => names.filter((name) => tensors.get(name)?.dtype === "f32");
  const heads = floats(given);
  const outputs = onnx.graph.outputs.map(({ name }) => name).filter((name) => producers.has(name));
  return { tensors, layers, heads: heads.length > 0 ? heads : floats(outputs) };
}

/** Quantise one layer after the other by itself, and see what comes of it. @returns the worst first */
async function rank(request: SensitivityRequest, { tensors, layers, heads }: Ranking): Promise<RankedLayer[]> {
  const { model, type, config, ranges } = request;
  const images = evenly(request.images, config.sensitivityImages);
  using feed = await ImageFeed.open(model, await modelTask(model.path ?? model.bytes));
  const seen: { readonly inputs: Record<string, Tensor>; readonly outputs: ReadonlyMap<string, Tensor> }[] = [];
  await using teacher = await probeSession(model, heads, feed.shapes);
  for (const image of images) {
    await feed.read(image, config.signal);
    const copies = Object.entries(feed.inputs).map(([name, tensor]) => [
      name,
      { ...tensor, data: tensor.data.slice() },
    ]);
    const inputs: Record<string, Tensor> = Object.fromEntries(copies);
    seen.push({ inputs, outputs: await teacher.run(inputs) });
  }
  const ranked: RankedLayer[] = [];
  for (const [at, layer] of layers.entries()) {
    config.signal?.throwIfAborted();
    const name = nodeName(layer);
    const onnx = OnnxModel.read(model.bytes, model.name);
    quantise(onnx, {
      ...{ type, tensors, ranges, source: model.name, forFloat16: true },
      exclude: (node) => nodeName(node) !== name,
      ...(model.path === undefined ? {} : { readExternal: (tensor) => readExternalFloats(tensor, model.path!) }),
    });
    await using session = await probeSession({ ...model, bytes: onnx.write() }, heads, feed.shapes);
    const differences = new TensorDifferences();
    for (const { inputs, outputs } of seen) differences.add(outputs, await session.run(inputs));
    ranked.push({ name, op: layer.op, sqnr: -10 * Math.log10(noiseOf(differences)) });
    config.onProgress?.({ phase: "rank", done: at + 1, total: layers.length });
  }
  // Sorting keeps the order of the graph among equals.
  return ranked.sort((a, b) => a.sqnr - b.sqnr);
}

/**
 * Search the fewest layers that go back to float. All are ranked by what each costs by itself; then 1, 2, 4 … of the worst go back
 * until the loss is within the budget, and the number is halved in between. So no more models are measured than twice the number's
 * digits in base two, and the same images give the same layers.
 *
 * @throws {ModelError} If the loss is beyond the budget even with one layer quantised
 */
export async function searchSensitivity(request: SensitivityRequest): Promise<Sensitivity> {
  const { config, model, type } = request;
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-sensitivity-"));
  try {
    await using meter = await LossMeter.open(request);
    const attempts: { readonly kept: number; readonly loss: number }[] = [];
    const lossWith = async (kept: readonly RankedLayer[]): Promise<number> => {
      const path = join(folder, `${attempts.length}.onnx`);
      await request.attempt(path, new Set(kept.map(({ name }) => name)));
      const loss = await meter.measure(path);
      attempts.push({ kept: kept.length, loss });
      rmSync(path, { force: true });
      return loss;
    };
    const report = (ranked: readonly RankedLayer[], count: number, loss: number): Sensitivity => ({
      maxLoss: config.maxLoss,
      lossBefore: attempts[0]!.loss,
      loss,
      images: meter.images,
      heldBack: config.annotations === undefined ? request.heldBack : [],
      skipped: [...meter.skipped],
      ...(meter.truth !== undefined && { truth: meter.truth }),
      layers: ranked.map((layer, at) => ({ ...layer, isKept: at < count })),
      attempts,
    });
    const before = await lossWith([]);
    if (before <= config.maxLoss) return report([], 0, before);
    const ranked = await rank(request, await rankingOf(request));
    const most = ranked.length - 1;
    let [failed, count, loss] = [0, 0, before];
    while (loss > config.maxLoss && count < most) {
      failed = count;
      count = Math.min(most, Math.max(1, count * 2));
      loss = await lossWith(ranked.slice(0, count));
    }
    if (loss > config.maxLoss) {
      const name = type.toUpperCase();
      const found = `the loss is ${loss.toFixed(4)} even with ${most} of ${ranked.length} layers in float`;
      const hint = "calibrate with images like those it will see, choose another `method`, or allow more";
      throw new ModelError(
        message(`convert ${model.name} to ${name} within a loss of ${config.maxLoss}`, found, hint),
        model.name,
      );
    }
    while (count - failed > 1) {
      const middle = (failed + count) >> 1;
      const found = await lossWith(ranked.slice(0, middle));
      if (found > config.maxLoss) failed = middle;
      else [count, loss] = [middle, found];
    }
    return report(ranked, count, loss);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
