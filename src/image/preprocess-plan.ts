/**
 * @module Preprocess plan: how regions of one form are resized, normalised and stored at one place in the input: by the shim, with
 * the vectors of this machine's processor, or row by row in TypeScript, with its tables and row buffers.
 */

import { ArgumentError, LibraryLoadError, message, ShapeError } from "../core/errors.ts";
import { allocate } from "../core/tensor.ts";
import { shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import { AntialiasResizer, type Filter, tapsOf } from "./antialias-resizer.ts";
import { isSamePadding, type Region } from "./geometry.ts";
import {
  byteLengthOf,
  bytesPerPixel,
  chromaOffsetOf,
  chromaPitchOf,
  type Image,
  isDeep,
  isPackedFormat,
  type PixelFormat,
  yuvCoefficients,
  yuvRangeOf,
  yuvStandardOf,
} from "./image.ts";
import { channelsOf, type InputArray, levelTable, type Preprocessing, paddingValues } from "./preprocessing.ts";
import { BilinearResizer } from "./resize-rows.ts";
import { bilinearRegionTaps, FILTER_BITS, WEIGHT_BITS } from "./resize-taps.ts";
import { type FilterTaps, ROW_PIXEL_BYTES, SampleResizer } from "./samples.ts";

/** What pre-processing runs on: instructions of the shim, or none for the reference in TypeScript. */
export type ResizeInstructions = "plain" | "avx2" | "neon" | "none";

/** By their number in the shim. */
const SETS: readonly ResizeInstructions[] = ["plain", "avx2", "neon"];

const DTYPES: readonly Preprocessing["dtype"][] = ["f32", "f16", "u8"];

let best: ResizeInstructions | undefined;

/** The best instructions of this machine; none where there is no shim for its platform. */
export function bestResizeInstructions(): ResizeInstructions {
  if (best !== undefined) return best;
  try {
    best = SETS[shim().bt_resize_instructions()]!;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    best = "none";
  }
  return best;
}

/** Their number in the shim. */
export function instructionsId(instructions: ResizeInstructions): number {
  return SETS.indexOf(instructions);
}

/** What the levels of an image become. */
interface Values {
  /** [3, 256] by the image's channels. */
  readonly tables: InputArray;
  /** f64 [3, 2] likewise: value = level × slope + offset, before it is rounded. */
  readonly lines: Float64Array<ArrayBuffer>;
}

/** @param channels of the tensor, in the order of the image's */
function valuesOf(preprocessing: Preprocessing, channels: readonly [number, number, number]): Values {
  const { dtype, scale, mean, std } = preprocessing;
  const tables = allocate(dtype, 768);
  tables.set(levelTable(preprocessing, channels));
  const lines = new Float64Array(new ArrayBuffer(48));
  lines.set(channels.flatMap((channel) => [scale / std[channel]!, -mean[channel]! / std[channel]!]));
  return { tables, lines };
}

/** Where fields that change from image to image lie in `bt_resize_form`. */
const PITCH = 1;
const X = 2;
const FIRST = 11;
const CHROMA_PITCH = 14;
const YUV = 15;

/** True if {@linkcode NativeResizer} does it; else it is done row by row in TypeScript. */
function isNative(
  { resize, colour, dtype }: Preprocessing,
  { left, right }: Region,
  format: PixelFormat,
  instructions: ResizeInstructions,
): boolean {
  // It makes RGB of whole rows of NV12: without vectors the columns that count are sooner converted alone.
  if (format === "NV12" ? instructions === "plain" : !isPackedFormat(format)) return false;
  const isOfThree = (colour === "RGB" || colour === "BGR") && DTYPES.includes(dtype);
  // Of a region that shows nothing there is only padding.
  return instructions !== "none" && resize === "bilinear" && isOfThree && left < right;
}

/** Resizes regions of one form, of images of one format, into tensors of one form: what `BilinearResizer` begins, in one call. */
class NativeResizer {
  readonly #resize = shim().bt_resize;
  readonly #instructions: number;
  /** `bt_resize_form`. */
  readonly #form: Int32Array<ArrayBuffer>;
  readonly #columns: Int32Array<ArrayBuffer>;
  readonly #rows: Int32Array<ArrayBuffer>;
  readonly #scratch: Uint8Array<ArrayBuffer>;
  /** For images whose channels are in the tensor's order, and for the others. */
  readonly #values: Values;
  readonly #swappedValues: Values;
  readonly #isBlueFirst: boolean;
  /** Element of the input that takes the first pixel of a channel, in the tensor's order. */
  readonly #first: readonly [number, number, number];

  constructor(preprocessing: Preprocessing, region: Region, format: PixelFormat, instructions: ResizeInstructions) {
    const isNv12 = format === "NV12";
    const pixelBytes = isNv12 ? ROW_PIXEL_BYTES : bytesPerPixel(format);
    const [columns, rows] = bilinearRegionTaps(region, pixelBytes);
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (let k = 0; k < columns.length; k += 3) {
      low = Math.min(low, columns[k]! / pixelBytes);
      high = Math.max(high, columns[k + 1]! / pixelBytes + 1);
    }
    const { left, right, top, bottom, inputWidth, inputHeight } = region;
    const { dtype, layout, colour } = preprocessing;
    const [step, apart] = layout === "NCHW" ? [1, inputWidth * inputHeight] : [3, 1];
    const first = (top * inputWidth + left) * step;
    const size = [right - left, bottom - top] as const;
    this.#instructions = instructionsId(instructions);
    this.#columns = columns;
    this.#rows = rows;
    this.#form = allocate("i32", YUV + 6);
    this.#form.set([pixelBytes, 0, 0, 0, low, high, ...size, DTYPES.indexOf(dtype), step, inputWidth * step]);
    this.#scratch = allocate("u8", shim().bt_resize_scratch(size[0], (high - low + Number(isNv12)) * pixelBytes));
    this.#values = valuesOf(preprocessing, [0, 1, 2]);
    this.#swappedValues = valuesOf(preprocessing, [2, 1, 0]);
    this.#isBlueFirst = colour === "BGR";
    this.#first = [first, first + apart, first + 2 * apart];
  }

  /**
   * Write the part of an input that shows an image.
   *
   * @param region  as it was made for, or the same elsewhere within its image
   * @param output  its element `start` is the first of the input
   * @throws {ShapeError} If the image has too few pixels for its size
   */
  run(image: Image, { x, y }: Region, output: InputArray, start: number): void {
    const { data, pitchBytes } = image;
    const wanted = byteLengthOf(image);
    if (data.byteLength < wanted) {
      const [expected, actual] = [`${wanted} bytes of pixels`, String(data.byteLength)];
      const text = message("pre-process an image", `it must have ${expected}, got ${actual}`);
      throw new ShapeError(text, { tensor: "image", expected, actual });
    }
    const isSwapped = (image.format === "BGR") !== this.#isBlueFirst;
    const { tables, lines } = isSwapped ? this.#swappedValues : this.#values;
    const form = this.#form;
    form[PITCH] = pitchBytes;
    form[X] = x;
    form[X + 1] = y;
    form[FIRST] = this.#first[isSwapped ? 2 : 0];
    form[FIRST + 1] = this.#first[1];
    form[FIRST + 2] = this.#first[isSwapped ? 0 : 2];
    const isNv12 = image.format === "NV12";
    if (isNv12) {
      const { offset, y: luma, vRed, uGreen, vGreen, uBlue } = yuvCoefficients(yuvStandardOf(image), yuvRangeOf(image));
      form[CHROMA_PITCH] = chromaPitchOf(image);
      form[YUV] = offset;
      form[YUV + 1] = luma;
      form[YUV + 2] = vRed;
      form[YUV + 3] = uGreen;
      form[YUV + 4] = vGreen;
      form[YUV + 5] = uBlue;
    }
    const status = this.#resize(
      this.#instructions,
      form,
      data,
      data.byteLength,
      isNv12 ? chromaOffsetOf(image) : 0,
      this.#columns,
      this.#rows,
      tables,
      lines,
      output,
      start,
      this.#scratch,
    );
    if (status !== SHIM_CONSTANTS.BT_OK) {
      throw new ArgumentError(message("pre-process an image", `bt_resize refuses ${image.width}x${image.height}`));
    }
  }
}

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
