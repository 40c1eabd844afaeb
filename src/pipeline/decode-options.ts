/** @module Decode options: how a slot decodes picture files for its model. */

import type { PictureDecodeOptions } from "../image/picture-decoder.ts";
import type { Recognition } from "../model/layout.ts";
import type { BackendOptions } from "./backend.ts";

/** What every picture file of a backend is decoded with, worked out once. */
export function decodeOptionsFor(
  recognition: Recognition,
  options: Pick<BackendOptions, "maxPixels" | "scaledDecoding" | "size">,
): PictureDecodeOptions {
  const { maxPixels, scaledDecoding } = options;
  if (!scaledDecoding) return { maxPixels };
  const [minWidth, minHeight] = recognition.fixedSize ?? options.size ?? recognition.preferredSize;
  const needs = recognition.preprocessing.fit === "stretch" ? "both" : "either";
  return { maxPixels, minWidth, minHeight, needs };
}
