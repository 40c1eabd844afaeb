/** @module Preprocess plan: the tables and row buffers for regions of one form at one place in the input. */

import { allocate } from "../core/tensor.ts";
import { AntialiasResizer, type Filter, tapsOf } from "./antialias-resizer.ts";
import { isSamePadding, type Region } from "./geometry.ts";
import { bytesPerPixel, isDeep, type PixelFormat } from "./image.ts";
import { isNative, NativeResizer, type ResizeInstructions } from "./native-resizer.ts";
import { channelsOf, type InputArray, type Preprocessing, paddingValues } from "./preprocessing.ts";
import { BilinearResizer } from "./resize-rows.ts";
import { FILTER_BITS, WEIGHT_BITS } from "./resize-taps.ts";
import { type FilterTaps, SampleResizer } from "./samples.ts";

/** What stays the same from frame to frame of a stream. */
export interface PlanForm {
  readonly region: Region;
  /** Bytes of a pixel; `undefined` for NV12. */
  readonly pixelBytes: number | undefined;
  /** A row of padding of the whole input, in the tensor's dtype: one a channel for NCHW, a single one for NHWC. */
  readonly padding: readonly InputArray[];
}

/** A plan of which the shim does everything but padding. */
export interface NativePlan extends PlanForm {
  readonly native: NativeResizer;
}

/** A plan in TypeScript; its row buffers are overwritten by every frame. */
export interface RowPlan extends PlanForm {
  readonly native: undefined;
  readonly resizer: AntialiasResizer | BilinearResizer;
  /** Of four channels: the fourth, beside the second and the third, which are stored twice. */
  readonly fourth: AntialiasResizer | BilinearResizer | undefined;
  /** Of samples of 16 bits for a tensor that has no colours, or four channels: each by itself. */
  readonly samples: SampleResizer | undefined;
  /** f32 [channels × width]: a row on its way to f16, u8, u16 or luma; empty for f32, which is stored directly. */
  readonly staging: Float32Array<ArrayBuffer>;
  /**
   * Parts of `staging` that are contiguous in the tensor: one a channel for NCHW, a single one for NHWC. For u8 and u16 its words,
   * whose lowest bytes are the levels.
   */
  readonly staged: readonly (Float32Array | Int32Array)[];
}

/** How an antialiased filter lies along an axis, and what its weights come to. */
function sampleTaps(filter: Filter): FilterTaps {
  const whole = 1 << (filter === "lanczos4" ? WEIGHT_BITS : FILTER_BITS);
  return (axis) => [tapsOf(axis, filter), whole];
}

function pixelBytesOf(format: PixelFormat): number | undefined {
  return format === "NV12" ? undefined : bytesPerPixel(format);
}

/** True if two lie within their image, or in one place in and beyond it. */
function isSameAxis(start: number, source: number, otherStart: number, otherSource: number, length: number): boolean {
  if (start === otherStart && source === otherSource) return true;
  return start >= 0 && start + length <= source && otherStart >= 0 && otherStart + length <= otherSource;
}

/** True if a plan suits a region of an image of a format; wherever it lies, if that is within the image. */
export function suits({ pixelBytes, region: known }: PlanForm, region: Region, format: PixelFormat): boolean {
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
export function createPlan(
  preprocessing: Preprocessing,
  region: Region,
  format: PixelFormat,
  instructions: ResizeInstructions,
): NativePlan | RowPlan {
  const padding = paddingRows(preprocessing, region.inputWidth);
  const form = { region, pixelBytes: pixelBytesOf(format), padding };
  if (isNative(preprocessing, region, format, instructions)) {
    return { ...form, native: new NativeResizer(preprocessing, region, format, instructions) };
  }
  const width = region.right - region.left;
  const { dtype, layout, colour, resize } = preprocessing;
  const isOfSamples = isDeep(format) && channelsOf(preprocessing) !== 3;
  const channels = Math.max(3, channelsOf(preprocessing));
  const staging = allocate("f32", dtype === "f32" && colour !== "luma" && !isOfSamples ? 0 : width * channels);
  const values = isOfWords(dtype) ? new Int32Array(staging.buffer) : staging;
  const createResizer = (): AntialiasResizer | BilinearResizer =>
    resize === "bilinear" ? new BilinearResizer(region, format) : new AntialiasResizer(region, format, resize);
  return {
    ...form,
    native: undefined,
    resizer: createResizer(),
    fourth: channels === 4 && !isOfSamples ? createResizer() : undefined,
    samples: isOfSamples
      ? new SampleResizer(region, format, colour === "luma", resize === "bilinear" ? undefined : sampleTaps(resize))
      : undefined,
    staging,
    staged:
      layout === "NCHW" && colour !== "luma"
        ? Array.from({ length: channels }, (_, at) => values.subarray(at * width, (at + 1) * width))
        : [values],
  };
}

function paddingRows(preprocessing: Preprocessing, width: number): InputArray[] {
  const values = paddingValues(preprocessing);
  const { dtype, layout } = preprocessing;
  if (layout === "NCHW" || values.length === 1) return values.map((value) => allocate(dtype, width).fill(value));
  const row = allocate(dtype, width * values.length);
  for (let at = 0; at < row.length; at++) row[at] = values[at % values.length]!;
  return [row];
}

/** True for dtypes that rows are stored as words for. */
export function isOfWords(dtype: Preprocessing["dtype"]): boolean {
  return dtype === "u8" || dtype === "u16";
}
