/** @module Decode options: how a slot decodes picture files for its model. */

import type { PictureDecodeOptions } from "../image/picture-decoder.ts";
import type { Recognition } from "../model/layout.ts";
import type { BackendOptions } from "./backend.ts";

/** What every picture file of a backend is decoded with, worked out once. */
export function decodeOptionsFor(
  recognition: Recognition,
  options: Pick<BackendOptions, "maxPixels" | "scaledDecoding" | "size" | "rectangular">,
): PictureDecodeOptions {
  const { maxPixels, scaledDecoding, rectangular } = options;
  if (!scaledDecoding) return { maxPixels };
  const size = recognition.fixedSize ?? options.size ?? recognition.preferredSize;
  // A rectangular input has its longer side where the picture has its own.
  const longSide = Math.max(...size);
  const [minWidth, minHeight] = rectangular && recognition.fixedSize === undefined ? [longSide, longSide] : size;
  const needs = recognition.preprocessing.fit === "stretch" ? "both" : "either";
  return { maxPixels, minWidth, minHeight, needs };
}
