/** @module Preprocess plan: the tables and row buffers for pictures of one size at one place in the input. */

import { allocate } from "../core/dtype.ts";
import type { Placement } from "./geometry.ts";
import { bytesPerPixel, type PixelFormat } from "./image.ts";
import { NV12_ROW_PIXEL_BYTES, Nv12Rows } from "./nv12.ts";
import { type InputArray, levelValue } from "./preprocess-values.ts";
import type { Preprocessing } from "./preprocessing.ts";
import { ResizePair } from "./resize-pair.ts";
import { bilinearTaps, isHalfSampling, pointStride } from "./resize-taps.ts";

/** What stays the same from frame to frame of a stream; its row buffers are overwritten by every frame. */
export interface PreprocessPlan {
  readonly placement: Placement;
  /** Bytes of a pixel in the rows that are resized. */
  readonly pixelBytes: number;
  /** NV12 alone: makes those rows, of the pixels that `columns` look at. */
  readonly nv12: Nv12Rows | undefined;
  /** i32 [contentWidth, 3], in bytes; see {@linkcode bilinearTaps}. */
  readonly columns: Int32Array<ArrayBuffer>;
  /** i32 [contentHeight, 3], in rows. */
  readonly rows: Int32Array<ArrayBuffer>;
  /** Bytes from column to column where they need no interpolation; see {@linkcode pointStride}. */
  readonly stride: number | undefined;
  /** True if the columns are means of two neighbours. */
  readonly isHalf: boolean;
  readonly pair: ResizePair;
  /** A row of padding of the whole input, in the tensor's dtype: one a channel for NCHW, a single one for NHWC. */
  readonly padding: readonly InputArray[];
  /** f32 [3 × contentWidth]: a row on its way to f16 or u8; empty for f32, which is stored directly. */
  readonly staging: Float32Array<ArrayBuffer>;
  /** Parts of `staging` that are contiguous in the tensor: one a channel for NCHW, a single one for NHWC. */
  readonly staged: readonly Float32Array<ArrayBuffer>[];
}

/** True if a plan suits pictures of a format. */
export function suits({ pixelBytes, nv12 }: PreprocessPlan, format: PixelFormat): boolean {
  return format === "NV12" ? nv12 !== undefined : nv12 === undefined && pixelBytes === bytesPerPixel(format);
}

/** Work out a plan. */
export function createPreprocessPlan(
  preprocessing: Preprocessing,
  placement: Placement,
  format: PixelFormat,
): PreprocessPlan {
  const { sourceWidth, sourceHeight, contentWidth, contentHeight } = placement;
  const pixelBytes = format === "NV12" ? NV12_ROW_PIXEL_BYTES : bytesPerPixel(format);
  const columns = bilinearTaps(sourceWidth, contentWidth, "columns", format === "NV12" ? 1 : pixelBytes);
  const nv12 = format === "NV12" ? new Nv12Rows(compact(columns, sourceWidth)) : undefined;
  const staging = allocate("f32", preprocessing.dtype === "f32" ? 0 : contentWidth * 3);
  const isPlanar = preprocessing.layout === "NCHW";
  return {
    placement,
    pixelBytes,
    nv12,
    columns,
    rows: bilinearTaps(sourceHeight, contentHeight, "rows", 1),
    stride: pointStride(columns),
    isHalf: isHalfSampling(columns),
    pair: new ResizePair(contentWidth, nv12),
    padding: paddingRows(preprocessing, placement.inputWidth),
    staging,
    staged: isPlanar
      ? [0, 1, 2].map((channel) => staging.subarray(channel * contentWidth, (channel + 1) * contentWidth))
      : [staging],
  };
}

/**
 * Have columns point into rows that hold only the pixels they look at.
 *
 * @param columns i32 [contentWidth, 3] of pixels; afterwards in bytes of such a row
 * @returns those pixels, from left to right
 */
function compact(columns: Int32Array, sourceWidth: number): Int32Array {
  const isWanted = new Uint8Array(sourceWidth);
  for (let k = 0; k < columns.length; k += 3) {
    if (columns[k + 2] === 0) columns[k + 1] = columns[k]!;
    isWanted[columns[k]!] = 1;
    isWanted[columns[k + 1]!] = 1;
  }
  const pixels: number[] = [];
  const places = new Int32Array(sourceWidth);
  for (let x = 0; x < sourceWidth; x++) if (isWanted[x] === 1) places[x] = pixels.push(x) - 1;
  for (let k = 0; k < columns.length; k += 3) {
    columns[k] = places[columns[k]!]! * NV12_ROW_PIXEL_BYTES;
    columns[k + 1] = places[columns[k + 1]!]! * NV12_ROW_PIXEL_BYTES;
  }
  return Int32Array.from(pixels);
}

function paddingRows(preprocessing: Preprocessing, width: number): InputArray[] {
  const values = preprocessing.pad.map((level, channel) => levelValue(preprocessing, channel, level));
  const { dtype, layout } = preprocessing;
  if (layout === "NCHW") return values.map((value) => allocate(dtype, width).fill(value));
  const row = allocate(dtype, width * 3);
  for (let at = 0; at < row.length; at++) row[at] = values[at % 3]!;
  return [row];
}
