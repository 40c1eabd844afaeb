/** @module Preprocess plan: the tables and row buffers for pictures of one size at one place in the input. */

import { allocate } from "../core/dtype.ts";
import { AntialiasResizer } from "./antialias-resizer.ts";
import { BilinearResizer } from "./bilinear-resizer.ts";
import type { Placement } from "./geometry.ts";
import { bytesPerPixel, type PixelFormat } from "./image.ts";
import { type InputArray, levelValue } from "./preprocess-values.ts";
import type { Preprocessing } from "./preprocessing.ts";

/** What stays the same from frame to frame of a stream; its row buffers are overwritten by every frame. */
export interface PreprocessPlan {
  readonly placement: Placement;
  /** Bytes of a pixel; `undefined` for NV12. */
  readonly pixelBytes: number | undefined;
  readonly resizer: AntialiasResizer | BilinearResizer;
  /** A row of padding of the whole input, in the tensor's dtype: one a channel for NCHW, a single one for NHWC. */
  readonly padding: readonly InputArray[];
  /** f32 [3 × contentWidth]: a row on its way to f16 or u8; empty for f32, which is stored directly. */
  readonly staging: Float32Array<ArrayBuffer>;
  /** Parts of `staging` that are contiguous in the tensor: one a channel for NCHW, a single one for NHWC. */
  readonly staged: readonly Float32Array<ArrayBuffer>[];
}

function pixelBytesOf(format: PixelFormat): number | undefined {
  return format === "NV12" ? undefined : bytesPerPixel(format);
}

/** True if a plan suits pictures of a format. */
export function suits({ pixelBytes }: PreprocessPlan, format: PixelFormat): boolean {
  return pixelBytes === pixelBytesOf(format);
}

/** Work out a plan. */
export function createPreprocessPlan(
  preprocessing: Preprocessing,
  placement: Placement,
  format: PixelFormat,
): PreprocessPlan {
  const { contentWidth, inputWidth } = placement;
  const Resizer = preprocessing.resize === "antialias" ? AntialiasResizer : BilinearResizer;
  const staging = allocate("f32", preprocessing.dtype === "f32" ? 0 : contentWidth * 3);
  const isPlanar = preprocessing.layout === "NCHW";
  return {
    placement,
    pixelBytes: pixelBytesOf(format),
    resizer: new Resizer(placement, format),
    padding: paddingRows(preprocessing, inputWidth),
    staging,
    staged: isPlanar
      ? [0, 1, 2].map((channel) => staging.subarray(channel * contentWidth, (channel + 1) * contentWidth))
      : [staging],
  };
}

function paddingRows(preprocessing: Preprocessing, width: number): InputArray[] {
  const values = preprocessing.pad.map((level, channel) => levelValue(preprocessing, channel, level));
  const { dtype, layout } = preprocessing;
  if (layout === "NCHW") return values.map((value) => allocate(dtype, width).fill(value));
  const row = allocate(dtype, width * 3);
  for (let at = 0; at < row.length; at++) row[at] = values[at % 3]!;
  return [row];
}
