/** @module NV12 images of noise, in any layout, with the RGB that the reference makes of them. */

import { type Image, imageOf, type YuvRange, type YuvStandard, yuvCoefficients } from "../../src/image/image.ts";
import { chance } from "./chance.ts";
import { rgbOfNv12 } from "./reference/nv12.ts";

/** How the planes lie. */
export interface Nv12Form {
  /** Bytes between the end of a row and the next. */
  readonly gap?: number;
  readonly chromaGap?: number;
  /** Bytes between the planes. */
  readonly between?: number;
  readonly yuvStandard?: YuvStandard;
  readonly yuvRange?: YuvRange;
}

/** The same image twice. */
export interface Nv12Pair {
  readonly nv12: Image;
  readonly rgb: Image;
}

/** Noise. */
export function nv12Pair(width: number, height: number, form: Nv12Form = {}): Nv12Pair {
  const { gap = 0, chromaGap = 0, between = 0, yuvStandard = "BT.601", yuvRange = "limited" } = form;
  const random = chance(width * 1000 + height);
  const pitchBytes = width + gap;
  const chromaPitchBytes = width + (width & 1) + chromaGap;
  const chromaOffset = pitchBytes * height + between;
  const byteLength = chromaOffset + chromaPitchBytes * ((height + 1) >> 1);
  const data = Uint8Array.from({ length: byteLength }, () => random() * 256);
  const layout = { width, height, pitchBytes, chromaOffset, chromaPitchBytes, yuvStandard, yuvRange };
  const chroma = data.subarray(chromaOffset);
  const planes = { width, height, luma: data, pitchBytes, chroma, chromaPitchBytes };
  return {
    nv12: imageOf(data, { ...layout, format: "NV12" }),
    rgb: rgbOfNv12(planes, yuvCoefficients(yuvStandard, yuvRange)),
  };
}
