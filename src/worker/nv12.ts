/** @module Nv12: raw NV12 frames to RGB on the CPU, as the detector takes no NV12 from outside. */

import { ImageError, message } from "../core/errors.ts";
import { type Image, imageOf } from "../image/image.ts";
import { yuvCoefficients } from "../image/yuv.ts";

/** Where a raw frame lies. */
export interface RawLayout {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** Bytes from row to row; 0: without a gap. */
  readonly pitch: number;
}

/** From this height on, video is coded as BT.709, below as BT.601. */
const HD_HEIGHT = 720;

/**
 * Convert NV12 in the limited range of video; every pair of chroma serves its 2 × 2 pixels.
 *
 * @param data   u8: `height` rows of luma, then ⌈height / 2⌉ rows of U, V pairs, all `pitch` bytes apart
 * @param source for messages
 * @returns RGB in memory of its own
 * @throws {ImageError} If the layout is impossible or the data too short
 */
export function rgbFromNv12(data: Uint8Array, layout: RawLayout, source: string): Image {
  const { width, height } = layout;
  const rowBytes = width + (width & 1);
  const pitch = layout.pitch === 0 ? rowBytes : layout.pitch;
  const chromaRows = (height + 1) >> 1;
  const needed = pitch * (height + chromaRows - 1) + rowBytes;
  if (width < 1 || height < 1 || pitch < rowBytes || data.length < needed) {
    const found = `as ${width}x${height} NV12 with a pitch of ${pitch} needs ${needed} bytes: found ${data.length}`;
    throw new ImageError(message(`read ${source}`, found, "check width, height and pitch"), source);
  }
  const { offset, ...factor } = yuvCoefficients(height >= HD_HEIGHT ? "BT.709" : "BT.601", "limited");
  // Clamped, so that what is out of range needs no test.
  const rgb = new Uint8ClampedArray(width * height * 3);
  let at = 0;
  for (let y = 0; y < height; y++) {
    const luma = y * pitch;
    const chroma = (height + (y >> 1)) * pitch;
    for (let x = 0; x < width; x++) {
      const pair = chroma + (x & ~1);
      const u = data[pair]! - 128;
      const v = data[pair + 1]! - 128;
      const base = Math.max(data[luma + x]! - offset, 0) * factor.y + 32_768;
      rgb[at] = (base + factor.vRed * v) >> 16;
      rgb[at + 1] = (base + factor.uGreen * u + factor.vGreen * v) >> 16;
      rgb[at + 2] = (base + factor.uBlue * u) >> 16;
      at += 3;
    }
  }
  return imageOf(new Uint8Array(rgb.buffer), { width, height });
}
