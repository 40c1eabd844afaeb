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
  const [width, height] = recognition.fixedSize ?? options.size ?? recognition.preferredSize;
  // A rectangular input has its longer side where the picture has its own.
  const longSide = rectangular && recognition.fixedSize === undefined ? Math.max(width, height) : 0;
  const minWidth = Math.max(width, longSide);
  const minHeight = Math.max(height, longSide);
  const needs = recognition.preprocessing.fit === "stretch" ? "both" : "either";
  return { maxPixels, minWidth, minHeight, needs };
}
