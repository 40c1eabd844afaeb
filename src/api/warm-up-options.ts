/** @module WarmUpOptions: what a warm-up may be told, checked once. */

import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import { wholeWithin } from "../core/number-options.ts";
import { parseOptions } from "../core/options.ts";

/** What `Detector.warmUp` is told. */
export interface WarmUpOptions {
  /** Width and height of the images to come, in pixels: memory is taken for as many. Default 1920 × 1080. */
  readonly size?: readonly [width: number, height: number];
}

/** Sides of an image of which JPEG can hold no more. */
const imageSide = wholeWithin(1, 65_500);
const warmUpSchema = z.strictObject({ size: z.tuple([imageSide, imageSide], "[width, height]").optional() });

/**
 * Check the options of a warm-up.
 *
 * @param maxPixels of the detector; the default size is no larger
 * @throws {OptionError} If one is unknown or out of range, or the size has more pixels
 */
export function parseWarmUpOptions(options: WarmUpOptions, maxPixels: number): { width: number; height: number } {
  const { size } = parseOptions(warmUpSchema, options, "warm up");
  const side = Math.floor(Math.sqrt(maxPixels));
  const [width, height] = size ?? [Math.min(1920, side), Math.min(1080, side)];
  if (width * height <= maxPixels) return { width, height };
  const found = `Option "size" must have at most ${maxPixels} pixels, as the images, got ${width}x${height}`;
  throw new OptionError(`${found}\nHint: raise maxPixels of load, or give the size of the images to come`, "size");
}
