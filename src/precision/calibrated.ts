/**
 * @module Calibrated: what a conversion measures before it changes anything: ranges on images, and what each layer that is
 * quantised adds to the noise at the heads.
 */

import { modelTask } from "../api/model.ts";
import { logger } from "../core/log.ts";
import type { Tensor, TensorInfo } from "../core/tensor.ts";
import { plural } from "../core/units.ts";
import { nodeName, type OnnxNode } from "../onnx/messages.ts";
import { OnnxModel } from "../onnx/model.ts";
import {
  type Calibration,
  calibrate,
  calibrationImages,
  evenly,
  foundBy,
  keptRanges,
  splitImages,
  writeCalibration,
} from "./calibration.ts";
import { tellingTensors } from "./head-layers.ts";
import type { QuantisedType } from "./placement.ts";
import type { ConvertConfig } from "./precision-config.ts";
import { placeIn, quantise } from "./quantise.ts";
import { describeTensors, ImageFeed, type ProbedModel, probeSession, TensorDifferences } from "./tensor-probe.ts";
import { readExternalFloats } from "./write-model.ts";

/** The most noise that the layers of a model in FP8 have together at its heads, as a share of the signal: 27 dB. */
const MOST_NOISE = 10 ** -2.7;
/** Of the layers, the share that goes back to float for it at most. */
const MOST_LOUD = 1 / 2;

/** What layers are ranked by. */
export interface RankingRequest {
  readonly model: ProbedModel;
  readonly type: QuantisedType;
  readonly config: Pick<ConvertConfig, "exclude" | "sensitivityImages" | "signal" | "onProgress">;
  /** Paths of images that layers are ranked by; they can be read. */
  readonly images: readonly string[];
  readonly ranges: ReadonlyMap<string, number>;
  /** Means of the channels of what convolutions read, where they have been averaged. */
  readonly means: ReadonlyMap<string, Float32Array>;
  /** Layers that no conversion quantises, by `nodeName`. */
  readonly unfit: ReadonlySet<string>;
}

/**
 * The layers without which a model in FP8 has no more noise at its heads than 27 dB below the signal: the loudest, as few as will do, and
 * half of all at most.
 *
 * @param noise of each layer by itself, by `nodeName`
 */
export function loudLayers(noise: readonly (readonly [name: string, noise: number])[]): Set<string> {
  const loudest = noise.toSorted(([, a], [, b]) => b - a);
  const loud = new Set<string>();
  let left = noise.reduce((sum, [, one]) => sum + one, 0);
  for (const [name, one] of loudest.slice(0, Math.floor(noise.length * MOST_LOUD))) {
    if (left <= MOST_NOISE) break;
    loud.add(name);
    left -= one;
  }
  return loud;
}

/** The mean noise of outputs, as a share of their signal. */
export function noiseOf(differences: TensorDifferences): number {
  const noises = differences.report().map(({ sqnr }) => 10 ** (-sqnr / 10));
  return noises.reduce((sum, noise) => sum + noise, 0) / Math.max(noises.length, 1);
}

/** A layer, and the signal to noise at the heads where it is the only one that is quantised. */
interface RankedLayer {
  readonly name: string;
  readonly op: string;
  readonly sqnr: number;
  /** The noise as a share of the signal: that of layers together is about the sum. */
  readonly noise: number;
}

/** What the layers are ranked with. */
interface Ranking {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly layers: readonly OnnxNode[];
  /** Tensors at the heads. */
  readonly heads: readonly string[];
}

/** The layers that are quantised, and where what they cost is seen. */
export async function rankingOf({ model, type, config, unfit }: RankingRequest): Promise<Ranking> {
  const onnx = OnnxModel.read(model.bytes, model.name);
  const tensors = await describeTensors(model);
  const exclude = (node: OnnxNode): boolean => config.exclude.includes(nodeName(node)) || unfit.has(nodeName(node));
  const { weights } = placeIn(onnx, { type, tensors, source: model.name, exclude });
  const layers = [...new Set(weights.flatMap(({ readers }) => readers.map(({ node }) => node)))];
  const order = new Map(onnx.graph.nodes.map((node, at) => [node, at]));
  layers.sort((a, b) => order.get(a)! - order.get(b)!);
  const producers = onnx.graph.producers();
  const floats = (names: readonly string[]): string[] => names.filter((name) => tensors.get(name)?.dtype === "f32");
  const heads = floats(tellingTensors(onnx.graph));
  const outputs = onnx.graph.outputs.map(({ name }) => name).filter((name) => producers.has(name));
  return { tensors, layers, heads: heads.length > 0 ? heads : floats(outputs) };
}

/** Quantise one layer after the other by itself, and see what comes of it. @returns the worst first */
export async function rankLayers(request: RankingRequest, known?: Ranking): Promise<RankedLayer[]> {
  const { tensors, layers, heads } = known ?? (await rankingOf(request));
  const { model, type, config, ranges, means } = request;
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
      ...{ type, tensors, ranges, means, source: model.name, forFloat16: true },
      exclude: (node) => nodeName(node) !== name,
      behindGrouped: true,
      ...(model.path === undefined ? {} : { readExternal: (tensor) => readExternalFloats(tensor, model.path!) }),
    });
    await using session = await probeSession({ ...model, bytes: onnx.write() }, heads, feed.shapes);
    const differences = new TensorDifferences();
    for (const { inputs, outputs } of seen) differences.add(outputs, await session.run(inputs));
    const noise = noiseOf(differences);
    ranked.push({ name, op: layer.op, sqnr: -10 * Math.log10(noise), noise });
    config.onProgress?.({ phase: "rank", done: at + 1, total: layers.length });
  }
  // Sorting keeps the order of the graph among equals.
  return ranked.sort((a, b) => a.sqnr - b.sqnr);
}

/** What is calibrated, and how. */
export interface CalibrationRequest {
  /** As it was exported: what images are run through. */
  readonly model: ProbedModel;
  readonly config: ConvertConfig;
  /** Where ranges are kept. */
  readonly ranges: string;
}

/** True for what an earlier calibration has kept, instead of images. */
export function isRangesFile(path: string): boolean {
  return path.endsWith(".json");
}

/** True where something is measured on images that are not to be those of the calibration. */
function isHoldingBack({ maxLoss, annotations, precision, report }: ConvertConfig): boolean {
  return report !== undefined || (maxLoss !== undefined && annotations === undefined && precision !== "fp16");
}

/** Say what images are measured on. @returns those that were held back */
export function heldBackOf(config: ConvertConfig, { heldBack = [], images }: Calibration): readonly string[] {
  if (!isHoldingBack(config)) return [];
  const all = images.length + heldBack.length;
  if (heldBack.length > 0) {
    logger.info(`Held back ${heldBack.length} of ${plural(all, "image")} from the calibration, to measure the loss on`);
  } else {
    const why = `none of ${plural(all, "image")} was held back; of 16 or more a quarter is`;
    logger.warn(`Measuring the loss on the images of the calibration: ${why}`);
  }
  return heldBack;
}

/** Images of a calibration below which the log warns. */
const FEW_IMAGES = 16;

/** Calibrate a model, or take the ranges that were kept. @throws as `calibrate` and `keptRanges` do */
export async function calibrated(
  { model, config, ranges }: CalibrationRequest,
  tensors: readonly string[],
  averaged: readonly string[] = [],
): Promise<Calibration> {
  const { calibration, samples, onProgress, onError, signal, precision } = config;
  const type = precision === "fp8" ? "fp8" : "int8";
  if (typeof calibration === "string" && isRangesFile(calibration)) {
    return keptRanges(calibration, model, { type, tensors, averaged });
  }
  const task = await modelTask(model.path ?? model.bytes);
  const { images, heldBack } = isHoldingBack(config)
    ? splitImages(calibration!, samples)
    : { images: calibrationImages(calibration!, samples), heldBack: [] };
  if (images.length < FEW_IMAGES) {
    const count = plural(images.length, "image");
    logger.warn(`Calibrating on ${count}: what other images hold beyond their ranges is cut off; give 64 to 512`);
  }
  // FP16 has no scale: what counts is the largest number.
  const method = precision === "fp16" ? "max" : config.method;
  return calibrate(model, images, {
    ...{ type, method, tensors, averaged, task, file: ranges, heldBack, onError, signal },
    onProgress: (done, total) => onProgress?.({ phase: "calibrate", done, total }),
  });
}

/** Images that the noise of layers is measured on: each is all places of its maps. */
const NOISE_IMAGES = 4;

/**
 * Measure what each layer in FP8 adds to the noise at the heads, and keep it with the ranges.
 *
 * @param unfit layers that are not quantised anyway, by `nodeName`
 */
export async function withLayerNoise(
  { model, config, ranges }: CalibrationRequest,
  calibration: Calibration,
  unfit: ReadonlySet<string>,
): Promise<Calibration> {
  if (calibration.layerNoise !== undefined) return calibration;
  const skipped = new Set(calibration.skipped);
  const ranked = await rankLayers({
    ...{ model, type: calibration.type, unfit, ...foundBy(calibration) },
    config: { ...config, sensitivityImages: NOISE_IMAGES },
    images: calibration.images.filter((image) => !skipped.has(image)),
  });
  const found = { ...calibration, layerNoise: Object.fromEntries(ranked.map(({ name, noise }) => [name, noise])) };
  const isKept = typeof config.calibration === "string" && isRangesFile(config.calibration);
  if (!isKept) await writeCalibration(ranges, found);
  return found;
}
