/** @module Preprocess plan: the tables and row buffers for regions of one form at one place in the input. */

import { ArgumentError, message, ShapeError } from "../core/errors.ts";
import { allocate, formatShape, type Tensor } from "../core/tensor.ts";
import { AntialiasResizer } from "./antialias-resizer.ts";
import { isSamePadding, place, type Region } from "./geometry.ts";
import { bytesPerPixel, type Image, type PixelFormat } from "./image.ts";
import { bestResizeInstructions, isNative, NativeResizer, type ResizeInstructions } from "./native-resizer.ts";
import {
  channelsOf,
  type InputArray,
  type Line,
  LUMA_WEIGHTS,
  levelTable,
  lumaLine,
  type Preprocessing,
  paddingValues,
} from "./preprocessing.ts";
import { BilinearResizer, type LumaOutput, type RowTarget } from "./resize-rows.ts";

/** What stays the same from frame to frame of a stream. */
interface PlanForm {
  readonly region: Region;
  /** Bytes of a pixel; `undefined` for NV12. */
  readonly pixelBytes: number | undefined;
  /** A row of padding of the whole input, in the tensor's dtype: one a channel for NCHW, a single one for NHWC. */
  readonly padding: readonly InputArray[];
}

/** A plan of which the shim does everything but padding. */
interface NativePlan extends PlanForm {
  readonly native: NativeResizer;
}

/** A plan in TypeScript; its row buffers are overwritten by every frame. */
interface RowPlan extends PlanForm {
  readonly native: undefined;
  readonly resizer: AntialiasResizer | BilinearResizer;
  /** f32 [3 × width]: a row on its way to f16, u8 or luma; empty for f32, which is stored directly. */
  readonly staging: Float32Array<ArrayBuffer>;
  /**
   * Parts of `staging` that are contiguous in the tensor: one a channel for NCHW, a single one for NHWC. For u8 its words,
   * whose lowest bytes are the levels; see {@linkcode LEVEL_IN_WORD}.
   */
  readonly staged: readonly (Float32Array | Int32Array)[];
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
function suits({ pixelBytes, region: known }: PlanForm, region: Region, format: PixelFormat): boolean {
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
function createPlan(
  preprocessing: Preprocessing,
  region: Region,
  format: PixelFormat,
  instructions: ResizeInstructions,
): NativePlan | RowPlan {
  const { dtype, layout, colour, resize } = preprocessing;
  const padding = paddingRows(preprocessing, region.inputWidth);
  const form = { region, pixelBytes: pixelBytesOf(format), padding };
  if (isNative(preprocessing, region, format, instructions)) {
    return { ...form, native: new NativeResizer(preprocessing, region, format, instructions) };
  }
  const width = region.right - region.left;
  const staging = allocate("f32", dtype === "f32" && colour !== "luma" ? 0 : width * 3);
  const values = dtype === "u8" ? new Int32Array(staging.buffer) : staging;
  return {
    ...form,
    native: undefined,
    resizer: resize === "bilinear" ? new BilinearResizer(region, format) : new AntialiasResizer(region, format, resize),
    staging,
    staged:
      layout === "NCHW" && colour !== "luma"
        ? [0, 1, 2].map((channel) => values.subarray(channel * width, (channel + 1) * width))
        : [values],
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

/** Plans kept at once: more source sizes than one stream mixes. */
const MAX_PLANS = 8;

/** Levels as they are, of three channels. */
const LEVELS: Float32Array<ArrayBuffer> = Float32Array.from({ length: 768 }, (_, at) => at & 255);

/**
 * Added to a level, in f32, has the level in the lowest byte of the word: a u8 tensor takes words in half the time that it
 * takes numbers, which must be converted one by one.
 */
const LEVEL_IN_WORD = 2 ** 23;

/** What rows are stored with: the values of all levels, or for u8 those that lie in words. */
function storedTable(
  preprocessing: Preprocessing,
  channels: readonly [number, number, number],
): Float32Array<ArrayBuffer> {
  const table = levelTable(preprocessing, channels);
  return preprocessing.dtype === "u8" ? table.map((value) => value + LEVEL_IN_WORD) : table;
}

/** A tensor that pre-processing can write. */
export type InputTensor = Tensor<Preprocessing["dtype"]>;

/**
 * Resizes, pads and normalises images into an input tensor, by one {@linkcode Preprocessing}.
 *
 * It is the reference for the GPU. All but the last step is in integers, so that the levels are equal and not merely
 * close. With `resize: "bilinear"` they are those of the GPU and of `cv2.resize` with INTER_LINEAR on every pixel:
 *
 * 1. `bilinearTaps` gives each column and each row of the resized image two source pixels and a weight w of 0–2048.
 * 2. h = ((2048 − w) × near + w × far) >> 4, along each of the two source rows.
 * 3. level = ((((2048 − w) × h₀) >> 16) + ((w × h₁) >> 16) + 2) >> 2, with the row's weight.
 *
 * With `resize: "antialias"` they are those of the GPU and of Pillow's `Image.resize` with BILINEAR. From version 13 on
 * Pillow resizes images that become wider and lower down the columns first; those may differ by one level.
 *
 * 1. `antialiasTaps` gives each column and each row the source pixels that its filter covers, and weights w of 22 bits.
 * 2. h = min((Σ w × pixel + 2 ** 21) >> 22, 255), along each source row.
 * 3. level = min((Σ w × h + 2 ** 21) >> 22, 255), with the row's weights.
 *
 * `resize: "bicubic"` and `"lanczos"` are the same with the weights of `lobedTaps`, some below 0; levels are cut at 0 as well. They equal
 * Pillow up to version 12; 13 goes down the columns first where that is less work, which may differ by a few levels.
 *
 * `resize: "lanczos4"`, of the CPU only, has the levels of `cv2.resize` with INTER_LANCZOS4 on every pixel:
 *
 * 1. `lanczos4Taps` gives each column and each row eight source pixels and weights w of 11 bits.
 * 2. h = Σ w × pixel, along each source row.
 * 3. level = (Σ w × h + 2 ** 21) >> 22, cut to 0–255, with the row's weights.
 *
 * Then, either way, value = (level × scale − mean) / std, by a table of the 256 levels; see `levelValue` for the rounding, and
 * `lumaLine` for luma.
 *
 * Where the shim is, it does the first of these for all but luma, with the processor's vectors and to the bit: see `NativeResizer`.
 *
 * NV12 becomes RGB first, pixel by pixel, of those pixels that step 2 looks at: see `Nv12Rows`.
 *
 * The tables and buffers for a size of regions are kept, so that a steady stream of frames allocates nothing.
 */
export class Preprocessor {
  readonly #preprocessing: Preprocessing;
  readonly #instructions: ResizeInstructions | undefined;
  readonly #channels: number;
  /** For images whose channels are in the tensor's order, and for the others. */
  readonly #table: Float32Array<ArrayBuffer>;
  readonly #swappedTable: Float32Array<ArrayBuffer>;
  /** Newest last. */
  readonly #plans: (NativePlan | RowPlan)[] = [];
  /** Where whole images go, newest last. */
  readonly #placed: Region[] = [];
  readonly #target: RowTarget;
  readonly #lumaLine: Line;

  /**
   * @param instructions for tests: what resizes, instead of the best that this machine has
   * @throws {ArgumentError} If the numbers of `preprocessing` give values that are not finite, as a `std` of 0 does
   */
  constructor(preprocessing: Preprocessing, instructions?: ResizeInstructions) {
    this.#preprocessing = preprocessing;
    this.#instructions = instructions;
    this.#channels = channelsOf(preprocessing);
    this.#table = storedTable(preprocessing, [0, 1, 2]);
    this.#swappedTable = storedTable(preprocessing, [2, 1, 0]);
    if (!this.#table.every(Number.isFinite)) {
      const { scale, mean, std, dtype } = preprocessing;
      throw new ArgumentError(
        message(
          "normalise images",
          `the values must be finite in ${dtype}: scale ${scale}, mean ${mean.join(" ")}, std ${std.join(" ")}`,
        ),
      );
    }
    this.#lumaLine = lumaLine(preprocessing);
    this.#target = {
      output: new Float32Array(0),
      first: 0,
      second: 0,
      third: 0,
      step: preprocessing.layout === "NCHW" || preprocessing.colour === "luma" ? 1 : 3,
      touched: 0,
      table: this.#table,
    };
  }

  /**
   * Where a whole image goes in an input of the given size, by the fit. The same object again for a size that was asked for
   * lately.
   *
   * @param width  of the input in pixels
   * @param height of the input in pixels
   */
  place(image: Image, width: number, height: number): Region {
    for (const region of this.#placed) {
      if (
        region.sourceWidth === image.width &&
        region.sourceHeight === image.height &&
        region.inputWidth === width &&
        region.inputHeight === height
      ) {
        return region;
      }
    }
    const region = place(image.width, image.height, width, height, this.#preprocessing.fit);
    if (this.#placed.length === MAX_PLANS) this.#placed.shift();
    this.#placed.push(region);
    return region;
  }

  /**
   * Write a region of an image into its row of a batch: every element of the row, padding included. Keeps no reference to the
   * image.
   *
   * @param image       of any format
   * @param destination [N, channels, inputHeight, inputWidth] or [N, inputHeight, inputWidth, channels] of the
   *                    pre-processing's dtype; 1 channel for luma, else 3
   * @param index       which row of the batch, below N
   * @param region      what {@linkcode place} returned for this image, or any other of it
   * @param padded      region that a preprocessor like this one has written into that row, if nobody
   *                    has written there since: padding that lies where it lay is left as it is
   * @throws {ShapeError} If the tensor has another shape or dtype, or the image another size than the region's
   * @throws {RangeError} If the region goes on beyond the image's edges, and the resize is antialiased
   */
  run(image: Image, destination: InputTensor, index: number, region: Region, padded?: Region): void {
    this.#check(image, destination, index, region);
    const plan = this.#plan(region, image.format);
    const start = index * this.#channels * region.inputWidth * region.inputHeight;
    if (padded === undefined || !isSamePadding(padded, region)) this.#pad(plan, destination.data, start);
    if (region.left >= region.right) return;
    if (plan.native !== undefined) plan.native.run(image, region, destination.data, start);
    else if (this.#preprocessing.colour === "luma") this.#fillLuma(plan, region, image, destination.data, start);
    else this.#fill(plan, region, image, destination.data, start);
  }

  #check(image: Image, { dtype, shape }: InputTensor, index: number, region: Region): void {
    const { sourceWidth, sourceHeight, inputWidth, inputHeight } = region;
    if (image.width !== sourceWidth || image.height !== sourceHeight) {
      refuse("image", `${sourceWidth}x${sourceHeight} as it was placed`, `${image.width}x${image.height}`);
    }
    const isPlanar = this.#preprocessing.layout === "NCHW";
    const channels = this.#channels;
    const fits =
      dtype === this.#preprocessing.dtype &&
      shape.length === 4 &&
      shape[1] === (isPlanar ? channels : inputHeight) &&
      shape[2] === (isPlanar ? inputHeight : inputWidth) &&
      shape[3] === (isPlanar ? inputWidth : channels) &&
      index >= 0 &&
      index < shape[0]!;
    if (fits) return;
    const wanted = isPlanar ? [-1, channels, inputHeight, inputWidth] : [-1, inputHeight, inputWidth, channels];
    refuse(
      "input",
      `${this.#preprocessing.dtype} ${formatShape(wanted)} with a row ${index}`,
      `${dtype} ${formatShape(shape)}`,
    );
  }

  #plan(region: Region, format: PixelFormat): NativePlan | RowPlan {
    for (const plan of this.#plans) if (suits(plan, region, format)) return plan;
    const plan = createPlan(this.#preprocessing, region, format, this.#instructions ?? bestResizeInstructions());
    if (this.#plans.length === MAX_PLANS) this.#plans.shift();
    this.#plans.push(plan);
    return plan;
  }

  /** Pad every row that the image does not cover from edge to edge; `#fill` then overwrites its part. */
  #pad({ region, padding }: PlanForm, data: InputArray, start: number): void {
    const { inputWidth, inputHeight, left, top, right, bottom } = region;
    const isWide = left === 0 && right === inputWidth;
    for (let plane = 0; plane < padding.length; plane++) {
      const row = padding[plane]!;
      const origin = start + plane * inputHeight * row.length;
      for (let y = 0; y < inputHeight; y++) {
        if (isWide && y >= top && y < bottom) continue;
        data.set(row, origin + y * row.length);
      }
    }
  }

  /** Write the resized image: directly where the tensor is f32, else row by row through the plan's staging. */
  #fill(plan: RowPlan, region: Region, image: Image, data: InputArray, start: number): void {
    const { inputWidth, inputHeight, left, top, right, bottom } = region;
    const { resizer, staging, staged } = plan;
    const target = this.#target;
    const isStaged = this.#preprocessing.dtype !== "f32";
    const planeLength = inputWidth * inputHeight;
    const channelLength = target.step === 3 ? 1 : isStaged ? right - left : planeLength;

    const isSwapped = (image.format === "BGR") !== (this.#preprocessing.colour === "BGR");
    const firstChannel = isSwapped ? 2 : 0;
    const thirdChannel = 2 - firstChannel;
    target.table = isSwapped ? this.#swappedTable : this.#table;
    target.output = isStaged ? staging : (data as Float32Array<ArrayBuffer>);

    resizer.begin(image, region);
    for (let y = top; y < bottom; y++) {
      const contentStart = start + (y * inputWidth + left) * target.step;
      const targetStart = isStaged ? 0 : contentStart;
      target.first = targetStart + firstChannel * channelLength;
      target.second = targetStart + channelLength;
      target.third = targetStart + thirdChannel * channelLength;
      resizer.store(image, y - top, target);
      if (!isStaged) continue;
      for (let plane = 0; plane < staged.length; plane++) {
        const to = contentStart + plane * planeLength;
        data.set(staged[plane]!, to);
      }
    }
  }

  /** Write the luma of the resized image: f16, which is slow to store one by one, row by row through the plan's staging. */
  #fillLuma({ resizer, staging }: RowPlan, region: Region, image: Image, data: InputArray, start: number): void {
    const { inputWidth, left, top, bottom } = region;
    const line = this.#lumaLine;
    const width = staging.length / 3;
    const isStaged = data instanceof Float16Array;
    const luma = isStaged ? staging.subarray(0, width) : data;
    // A plain u8 store would drop the fraction of a luma and wrap around.
    const output = luma instanceof Uint8Array ? new Uint8ClampedArray(luma.buffer, luma.byteOffset, luma.length) : luma;
    const isPicked = resizer instanceof BilinearResizer && resizer.isPicked;
    const target = this.#target;
    const isSwapped = image.format === "BGR";
    target.table = LEVELS;
    target.output = staging;
    target.first = isSwapped ? 2 * width : 0;
    target.second = width;
    target.third = 2 * width - target.first;
    resizer.begin(image, region);
    for (let y = top; y < bottom; y++) {
      const to = start + y * inputWidth + left;
      const at = isStaged ? 0 : to;
      if (isPicked) resizer.storeLuma(image, y - top, line, output, at);
      else {
        resizer.store(image, y - top, target);
        storeLuma(staging, line, output, at);
      }
      if (isStaged) data.set(luma, to);
    }
  }
}

/** Store the luma of levels. @param levels f32 [3, width]: red, green, blue; `output` may be the same */
function storeLuma(levels: Float32Array, { slope, offset }: Line, output: LumaOutput, to: number): void {
  const { red, green, blue } = LUMA_WEIGHTS;
  const width = levels.length / 3;
  for (let x = 0; x < width; x++) {
    const luma = levels[x]! * red + levels[x + width]! * green + levels[x + 2 * width]! * blue;
    output[to + x] = Math.fround(Math.fround(luma * slope) + offset);
  }
}

function refuse(tensor: string, expected: string, actual: string): never {
  throw new ShapeError(message("pre-process an image", `the ${tensor} must be ${expected}, got ${actual}`), {
    tensor,
    expected,
    actual,
  });
}
