/** @module Preprocess plan: the tables and row buffers for regions of one form at one place in the input. */

import { allocate } from "../core/dtype.ts";
import { AntialiasResizer } from "./antialias-resizer.ts";
import { BilinearResizer } from "./bilinear-resizer.ts";
import { isSamePadding, type Region } from "./geometry.ts";
import { bytesPerPixel, type PixelFormat } from "./image.ts";
import { type InputArray, paddingValues } from "./preprocess-values.ts";
import type { Preprocessing } from "./preprocessing.ts";

/** What stays the same from frame to frame of a stream; its row buffers are overwritten by every frame. */
export interface PreprocessPlan {
  readonly region: Region;
  /** Bytes of a pixel; `undefined` for NV12. */
  readonly pixelBytes: number | undefined;
  readonly resizer: AntialiasResizer | BilinearResizer;
  /** A row of padding of the whole input, in the tensor's dtype: one a channel for NCHW, a single one for NHWC. */
  readonly padding: readonly InputArray[];
  /** f32 [3 × width]: a row on its way to f16, u8 or luma; empty for f32, which is stored directly. */
  readonly staging: Float32Array<ArrayBuffer>;
  /** Parts of `staging` that are contiguous in the tensor: one a channel for NCHW, a single one for NHWC. */
  readonly staged: readonly Float32Array<ArrayBuffer>[];
}

function pixelBytesOf(format: PixelFormat): number | undefined {
  return format === "NV12" ? undefined : bytesPerPixel(format);
}

/** True if two lie within their picture, or in one place in and beyond it. */
function isSameAxis(start: number, source: number, otherStart: number, otherSource: number, length: number): boolean {
  if (start === otherStart && source === otherSource) return true;
  return start >= 0 && start + length <= source && otherStart >= 0 && otherStart + length <= otherSource;
}

/** True if a plan suits a region of a picture of a format; wherever it lies, if that is within the picture. */
export function suits({ pixelBytes, region: known }: PreprocessPlan, region: Region, format: PixelFormat): boolean {
  const { width, height } = region;
  return (
    pixelBytes === pixelBytesOf(format) &&
    known.width === width &&
    known.height === height &&
    known.contentWidth === region.contentWidth &&
    known.contentHeight === region.contentHeight &&
    known.padX === region.padX &&
    known.padY === region.padY &&
    known.edge === region.edge &&
    isSamePadding(known, region) &&
    isSameAxis(known.x, known.sourceWidth, region.x, region.sourceWidth, width) &&
    isSameAxis(known.y, known.sourceHeight, region.y, region.sourceHeight, height)
  );
}

/** Work out a plan. */
export function createPreprocessPlan(
  preprocessing: Preprocessing,
  region: Region,
  format: PixelFormat,
): PreprocessPlan {
  const { inputWidth, left, right } = region;
  const width = right - left;
  const Resizer = preprocessing.resize === "antialias" ? AntialiasResizer : BilinearResizer;
  const { dtype, layout, colour } = preprocessing;
  const staging = allocate("f32", dtype === "f32" && colour !== "luma" ? 0 : width * 3);
  return {
    region,
    pixelBytes: pixelBytesOf(format),
    resizer: new Resizer(region, format),
    padding: paddingRows(preprocessing, inputWidth),
    staging,
    staged:
      layout === "NCHW" && colour !== "luma"
        ? [0, 1, 2].map((channel) => staging.subarray(channel * width, (channel + 1) * width))
        : [staging],
  };
}

function paddingRows(preprocessing: Preprocessing, width: number): InputArray[] {
  const values = paddingValues(preprocessing);
  const { dtype, layout } = preprocessing;
  if (layout === "NCHW" || values.length === 1) return values.map((value) => allocate(dtype, width).fill(value));
  const row = allocate(dtype, width * 3);
  for (let at = 0; at < row.length; at++) row[at] = values[at % 3]!;
  return [row];
}
