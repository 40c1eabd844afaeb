/** @module Reference of NV12: the conversion to RGB that the kernels of pre-processing do pixel by pixel, before resizing. */

import { type Image, imageOf, type YuvCoefficients } from "../../../src/image/image.ts";

/** An NV12 image in host memory. */
export interface Nv12 {
  readonly width: number;
  readonly height: number;
  /** u8 [height, width], rows `pitchBytes` apart. */
  readonly luma: Uint8Array;
  readonly pitchBytes: number;
  /** u8 [⌈height / 2⌉, ⌈width / 2⌉, 2], rows `chromaPitchBytes` apart. */
  readonly chroma: Uint8Array;
  readonly chromaPitchBytes: number;
}

function level(value: number): number {
  return Math.min(Math.max(value >> 16, 0), 255);
}

/** The image in RGB; each U, V pair serves its 2 × 2 pixels unfiltered. */
export function rgbOfNv12(image: Nv12, coefficients: YuvCoefficients): Image {
  const { width, height, luma, chroma, pitchBytes, chromaPitchBytes } = image;
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const pair = (y >> 1) * chromaPitchBytes + (x & ~1);
      const u = chroma[pair]! - 128;
      const v = chroma[pair + 1]! - 128;
      const base = Math.max(luma[y * pitchBytes + x]! - coefficients.offset, 0) * coefficients.y + 32_768;
      const at = (y * width + x) * 3;
      rgb[at] = level(base + coefficients.vRed * v);
      rgb[at + 1] = level(base + coefficients.uGreen * u + coefficients.vGreen * v);
      rgb[at + 2] = level(base + coefficients.uBlue * u);
    }
  }
  return imageOf(rgb, { width, height });
}
