/** @module Preprocess goldens: the images and tensors of test/fixtures/preprocess. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "bun";
import { type DTypeMap, viewOf } from "../../src/core/tensor.ts";
import { bytesPerPixel, imageOf, type PackedFormat, type PackedImage } from "../../src/image/image.ts";
import type { Preprocessing } from "../../src/image/preprocessing.ts";

const folder = join(import.meta.dir, "../fixtures/preprocess");

/** One tensor, or a crop of one, that OpenCV or Pillow, and NumPy made. */
export interface Golden {
  /** Width and height in pixels. */
  readonly source: [number, number];
  /** Bytes between the end of a row and the next. */
  readonly gapBytes: number;
  readonly format: PackedFormat;
  readonly input: [number, number];
  /** x, y, width, height in input pixels; the whole input without one. */
  readonly crop: [number, number, number, number] | null;
  /** Content width and height, left, top. */
  readonly placement: [number, number, number, number];
  readonly preprocessing: Preprocessing;
  /** Of the values in `goldens.bin.gz`, in bytes. */
  readonly offset: number;
}

/** Every golden. */
export const GOLDENS: readonly Golden[] = JSON.parse(readFileSync(join(folder, "goldens.json"), "utf8"));

/** Source width and height, input width and height, fit, content width and height, left, top. */
export type PlacementRow = [number, number, number, number, Preprocessing["fit"], number, number, number, number];

/** Placements by the formulas of Ultralytics and YOLOX, worked out in Python. */
export const PLACEMENTS: readonly PlacementRow[] = JSON.parse(readFileSync(join(folder, "placements.json"), "utf8"));

const values = gunzipSync(readFileSync(join(folder, "goldens.bin.gz"))).buffer as ArrayBuffer;

/** The golden's values: [3, height, width] or [height, width, 3] of the crop or the input. */
export function goldenValues({ preprocessing, crop, input, offset }: Golden): DTypeMap[Preprocessing["dtype"]] {
  const [width, height] = crop === null ? input : [crop[2], crop[3]];
  const bytes = { f32: 4, f16: 2, u8: 1, u16: 2 }[preprocessing.dtype];
  const length = width * height * 3;
  return viewOf(preprocessing.dtype, values.slice(offset, offset + length * bytes), 0, length);
}

/** The image that `pattern` of make.py draws, with rows `gapBytes` further apart than they need be. */
export function patternImage(width: number, height: number, format: PackedFormat, gapBytes: number): PackedImage {
  const pixelBytes = bytesPerPixel(format);
  const pitchBytes = width * pixelBytes + gapBytes;
  const data = new Uint8Array(pitchBytes * height - gapBytes).fill(0xee);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < pixelBytes; c++) {
        const noise = (Math.imul(x, 73856093) ^ Math.imul(y, 19349663) ^ Math.imul(c, 83492791)) >>> 9;
        data[y * pitchBytes + x * pixelBytes + c] = x * 3 + y * 5 + c * 80 + (noise & 127);
      }
    }
  }
  imageOf(data, { width, height, format, pitchBytes });
  return { width, height, format, pitchBytes, data };
}
