/** @module Calibrated: what a conversion measures before it changes anything: ranges on images, and in FP8 the noise of each layer. */

import { modelTask } from "../api/model.ts";
import { logger } from "../core/log.ts";
import { plural } from "../core/units.ts";
import {
  type Calibration,
  calibrate,
  calibrationImages,
  foundBy,
  keptRanges,
  splitImages,
  writeCalibration,
} from "./calibration.ts";
import type { ConvertConfig } from "./convert-config.ts";
import { rankLayers } from "./layer-noise.ts";
import type { ProbedModel } from "./tensor-probe.ts";

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
