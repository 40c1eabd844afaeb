/** @module Decode options: how a slot decodes picture files for its model. */

import type { PictureDecodeOptions } from "../image/picture-decoder.ts";
import type { Recognition } from "../model/layout.ts";
import type { BackendOptions } from "./backend.ts";

type DecodeChoice = "damaged" | "vectors" | "decodeTimeoutMs";

/** What of a backend's options decoding goes by, without those that are left to it. */
export function decodeLimits(options: Pick<BackendOptions, "maxPixels" | DecodeChoice>): PictureDecodeOptions {
  const { maxPixels, damaged, vectors, decodeTimeoutMs } = options;
  return {
    maxPixels,
    ...(damaged === undefined ? {} : { damaged }),
    ...(vectors === undefined ? {} : { vectors }),
    ...(decodeTimeoutMs === undefined ? {} : { decodeTimeoutMs }),
  };
}

/** What every picture file of a backend is decoded with, worked out once. */
export function decodeOptionsFor(
  recognition: Recognition,
  options: Pick<BackendOptions, "maxPixels" | "scaledDecoding" | "size" | "rectangular" | DecodeChoice>,
): PictureDecodeOptions {
  const { scaledDecoding, rectangular } = options;
  const limits = decodeLimits(options);
  if (!scaledDecoding) return limits;
  const size = recognition.fixedSize ?? options.size ?? recognition.preferredSize;
  // A rectangular input has its longer side where the picture has its own.
  const longSide = Math.max(...size);
  const [minWidth, minHeight] = rectangular && recognition.fixedSize === undefined ? [longSide, longSide] : size;
  const needs = recognition.preprocessing.fit === "stretch" ? "both" : "either";
  return { ...limits, minWidth, minHeight, needs };
}
