/** @module Images of one level, for tests that look at numbers. */

import { type Image, imageOf, type PixelFormat } from "../../src/image/image.ts";

/** An image whose every byte is `level`, with rows `padding` bytes longer than their pixels. */
export function flatImage(
  width: number,
  height: number,
  level: number,
  { format = "RGB", padding = 0 }: { format?: PixelFormat; padding?: number } = {},
): Image {
  const pitchBytes = width * (format === "RGBA" ? 4 : 3) + padding;
  return imageOf(new Uint8Array(pitchBytes * height).fill(level), { width, height, format, pitchBytes });
}
