/** @module Preprocessor: images into input tensors, region by region: the reference for the GPU. */

import { ArgumentError, message, ShapeError } from "../core/errors.ts";
import { formatShape, type Tensor } from "../core/tensor.ts";
import { isSamePadding, place, type Region } from "./geometry.ts";
import { type Image, isDeep, type PixelFormat } from "./image.ts";
import {
  bestResizeInstructions,
  createPlan,
  isOfWords,
  type NativePlan,
  type PlanForm,
  type ResizeInstructions,
  type RowPlan,
  suits,
} from "./preprocess-plan.ts";
import {
  channelsOf,
  type InputArray,
  isBlueFirst,
  type Line,
  LUMA_WEIGHTS,
  levelLines,
  levelTable,
  lumaLine,
  type Preprocessing,
  type Triple,
} from "./preprocessing.ts";
import { BilinearResizer, type LumaOutput, type RowTarget } from "./resize-rows.ts";
import { assertFourthChannel, type SampleResizer, storeRow } from "./samples.ts";

/** Plans kept at once: more source sizes than one stream mixes. */
const MAX_PLANS = 8;

/** Levels as they are, of three channels. */
const LEVELS: Float32Array<ArrayBuffer> = Float32Array.from({ length: 768 }, (_, at) => at & 255);

/**
 * Added to a level, in f32, has the level in the lowest bytes of the word: a u8 or u16 tensor takes words in half the time that it
 * takes numbers, which must be converted one by one.
 */
const LEVEL_IN_WORD = 2 ** 23;

/** What rows are stored with: the values of all levels, or for u8 and u16 those that lie in words. */
function storedTable(preprocessing: Preprocessing, channels: Triple): Float32Array<ArrayBuffer> {
  const table = levelTable(preprocessing, channels);
  return isOfWords(preprocessing.dtype) ? table.map((value) => value + LEVEL_IN_WORD) : table;
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
 * Where the shim is, it does the first of these for three channels, with the processor's vectors and to the bit: see `NativeResizer`.
 *
 * A fourth channel is that of RGBA, in the same way. GREY is RGB of equal levels, and so are samples of 16 bits for a tensor of three
 * channels, rounded to levels; for one of another number they are resized in f32: see `SampleResizer`.
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
  /** Its third channel is the tensor's fourth. */
  readonly #fourthTable: Float32Array<ArrayBuffer>;
  /** From the level of a sample to its value, by tensor channel. */
  readonly #lines: readonly Line[];
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
    this.#fourthTable = storedTable(preprocessing, [0, 1, 3]);
    this.#lines = levelLines(preprocessing);
    if (![this.#table, this.#fourthTable].every((table) => table.every(Number.isFinite))) {
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
      step: preprocessing.layout === "NCHW" || preprocessing.colour === "luma" ? 1 : this.#channels,
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
   *                    pre-processing's dtype; 1 channel for luma, 4 for RGBA, else 3
   * @param index       which row of the batch, below N
   * @param region      what {@linkcode place} returned for this image, or any other of it
   * @param padded      region that a preprocessor like this one has written into that row, if nobody
   *                    has written there since: padding that lies where it lay is left as it is
   * @throws {ShapeError} If the tensor has another shape or dtype, or the image another size than the region's, or fewer channels
   *   than the tensor where that has four
   * @throws {RangeError} If the region goes on beyond the image's edges, and the resize is antialiased
   */
  run(given: Image, destination: InputTensor, index: number, region: Region, padded?: Region): void {
    const { levels } = this.#preprocessing;
    const image =
      isDeep(given.format) && given.levels === undefined && levels !== undefined ? { ...given, levels } : given;
    this.#check(image, destination, index, region);
    const plan = this.#plan(region, image.format);
    const start = index * this.#channels * region.inputWidth * region.inputHeight;
    if (padded === undefined || !isSamePadding(padded, region)) this.#pad(plan, destination.data, start);
    if (region.left >= region.right) return;
    if (plan.native !== undefined) plan.native.run(image, region, destination.data, start);
    else if (plan.samples !== undefined)
      this.#fillSamples(plan.samples, plan.staging, region, image, destination.data, start);
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
    if (channels === 4) assertFourthChannel(image.format, this.#preprocessing.colour);
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
    const { resizer, fourth, staging, staged } = plan;
    const target = this.#target;
    const isStaged = this.#preprocessing.dtype !== "f32";
    const planeLength = inputWidth * inputHeight;
    const channelLength = target.step > 1 ? 1 : isStaged ? right - left : planeLength;

    const isSwapped = (image.format === "BGR") !== isBlueFirst(this.#preprocessing.colour);
    const firstChannel = isSwapped ? 2 : 0;
    const thirdChannel = 2 - firstChannel;
    const table = isSwapped ? this.#swappedTable : this.#table;
    target.table = table;
    target.output = isStaged ? staging : (data as Float32Array<ArrayBuffer>);

    resizer.begin(image, region);
    // Three channels from the second on, of which the last is what counts.
    fourth?.begin(image, region, 1);
    for (let y = top; y < bottom; y++) {
      const contentStart = start + (y * inputWidth + left) * target.step;
      const targetStart = isStaged ? 0 : contentStart;
      target.first = targetStart + firstChannel * channelLength;
      target.second = targetStart + channelLength;
      target.third = targetStart + thirdChannel * channelLength;
      resizer.store(image, y - top, target);
      if (fourth !== undefined) {
        const to = targetStart + 3 * channelLength;
        target.first = to;
        target.second = to;
        target.third = to;
        target.table = this.#fourthTable;
        fourth.store(image, y - top, target);
        target.table = table;
      }
      if (!isStaged) continue;
      for (let plane = 0; plane < staged.length; plane++) {
        const to = contentStart + plane * planeLength;
        data.set(staged[plane]!, to);
      }
    }
  }

  /** Write the channels of samples one by one, row by row through the plan's staging. */
  #fillSamples(
    samples: SampleResizer,
    staging: Float32Array,
    region: Region,
    image: Image,
    data: InputArray,
    start: number,
  ): void {
    const { inputWidth, inputHeight, left, top, right, bottom } = region;
    const { dtype, layout, colour } = this.#preprocessing;
    const channels = this.#channels;
    const [plane, step] = layout === "NCHW" ? [inputWidth * inputHeight, 1] : [1, channels];
    for (let channel = 0; channel < channels; channel++) {
      const isSwapped = isBlueFirst(colour) && channel < 3;
      samples.begin(region, isSwapped ? 2 - channel : channel);
      for (let y = top; y < bottom; y++) {
        samples.store(image, y - top, this.#lines[channel]!, staging);
        storeRow(staging, right - left, dtype, data, start + channel * plane + (y * inputWidth + left) * step, step);
      }
    }
  }

  /** Write the luma of the resized image: f16, which is slow to store one by one, row by row through the plan's staging. */
  #fillLuma({ resizer, staging }: RowPlan, region: Region, image: Image, data: InputArray, start: number): void {
    const { inputWidth, left, top, bottom } = region;
    const line = this.#lumaLine;
    const width = staging.length / 3;
    const isStaged = data instanceof Float16Array || data instanceof Uint16Array;
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
      if (isStaged) storeRow(staging, width, this.#preprocessing.dtype, data, to, 1);
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
