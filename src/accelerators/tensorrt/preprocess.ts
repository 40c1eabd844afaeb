/** @module PreprocessLaunch: the pre-processing of a whole batch as one launch. */

import { ArgumentError, message, ShapeError } from "../../core/errors.ts";
import { allocate, formatShape } from "../../core/tensor.ts";
import type { DevicePtr } from "../../core/units.ts";
import type { DeviceMemory, TypedDeviceMemory } from "../../cuda/buffers.ts";
import type { Edge, Region } from "../../image/geometry.ts";
import { isDeep, type PackedFormat, type SampleFormat, type YuvCoefficients } from "../../image/image.ts";
import {
  channelsOf,
  isBlueFirst,
  levelLines,
  levelTable,
  levelValue,
  lumaLine,
  type Preprocessing,
  paddingValues,
} from "../../image/preprocessing.ts";
import { assertFourthChannel, LARGEST_SAMPLE } from "../../image/samples.ts";
import { assertDeviceResize, type DeviceResize } from "../../runtime/task.ts";
import type { LaunchSpec } from "./kernels.ts";

/** Pixels of the input that one block writes. */
const TILE_WIDTH = 32;
const TILE_HEIGHT = 16;

/** Which kernels resize, and by which filter. */
const RESIZERS: Readonly<Record<DeviceResize, Pick<LaunchSpec, "module" | "values">>> = {
  bilinear: { module: "preprocess", values: {} },
  antialias: { module: "preprocess_antialias", values: {} },
  bicubic: { module: "preprocess_lobed", values: { filter: 1 } },
  lanczos: { module: "preprocess_lobed", values: { filter: 2 } },
};

/** Which kernel fills an input. */
function resizerOf(resize: DeviceResize, dtype: string, channels: 1 | 3 | 4): Omit<LaunchSpec, "config"> {
  const { module, values } = RESIZERS[resize];
  if (channels === 3) return { module, kernel: `${module}_${dtype}`, values };
  if (resize === "bilinear")
    return { module, kernel: `${module}_${dtype}_${channels === 1 ? "luma" : "four"}`, values };
  const all = { filter: 0, ...values, channels };
  return { module: "preprocess_channels", kernel: `preprocess_channels_${dtype}`, values: all };
}

/** The memory a launch reads and writes; addresses are fixed from then on, contents are not. */
interface PreprocessMemory {
  /** The input: [N, channels, height, width], in vectors of any length, or [N, height, width, channels], of the pre-processing's dtype. */
  readonly output: TypedDeviceMemory;
  /** N regions, what {@linkcode ImageTable} packed. */
  readonly images: DeviceMemory;
  /** What `valueTable` gave. */
  readonly table: DeviceMemory;
}

function refuse(tensor: string, expected: string, actual: string): never {
  throw new ShapeError(message("pre-process images", `the ${tensor} must be ${expected}, got ${actual}`), {
    tensor,
    expected,
    actual,
  });
}

/**
 * Resize, pad and normalise every region of a batch: each element of the input is written, padding included.
 *
 * @throws {UnavailableError} If only the CPU resizes in this way
 * @throws {ShapeError} If the tensor is not what the pre-processing writes, or a table is too small
 */
export function preprocessLaunch(preprocessing: Preprocessing, memory: PreprocessMemory): LaunchSpec {
  const { output, images, table } = memory;
  const { resize, dtype, layout } = preprocessing;
  assertDeviceResize(resize, "pre-process images");
  const isPlanar = layout === "NCHW";
  const channels = channelsOf(preprocessing);
  const [batch = 0, second = 0, third = 0, fourth = 0] = output.shape;
  if (output.dtype !== dtype || output.shape.length !== 4 || (isPlanar ? second : fourth) !== channels) {
    const expected = `${dtype} ${formatShape(isPlanar ? [-1, channels, -1, -1] : [-1, -1, -1, channels])}`;
    refuse("input", expected, `${output.dtype} ${formatShape(output.shape)}`);
  }
  const { vector = 1 } = output;
  // What TensorRT takes for the channels of such a tensor are its rows.
  if (!isPlanar && vector !== 1) refuse("input", "row-major", `rows in vectors of ${vector}`);
  if (images.byteLength < batch * IMAGE_BYTES) {
    refuse("image table", `at least ${batch * IMAGE_BYTES} bytes`, String(images.byteLength));
  }
  if (table.byteLength < valueTableLength(preprocessing) * 4) {
    refuse("value table", `at least ${valueTableLength(preprocessing) * 4} bytes`, String(table.byteLength));
  }
  const [height, width] = isPlanar ? [third, fourth] : [second, third];
  const target = { output: output.pointer, width, height, vector: isPlanar ? vector : channels };
  const { module, kernel, values } = resizerOf(resize, dtype, channels);
  return {
    module,
    kernel,
    config: { grid: [Math.ceil(width / TILE_WIDTH), Math.ceil(height / TILE_HEIGHT), batch], block: [32, 8, 1] },
    values: { ...target, images: images.pointer, table: table.pointer, ...values },
  };
}

/** Bytes of `struct Image` in kernels/image.cuh. */
export const IMAGE_BYTES = 160;

const WORDS = IMAGE_BYTES / 4;
const FORMATS: Readonly<Record<PackedFormat | SampleFormat, number>> = {
  RGB: 0,
  BGR: 0,
  RGBA: 1,
  GREY: 4,
  GREY16: 5,
  RGBA16: 6,
};
const PLANES: Readonly<Record<PlanarImage["format"], number>> = { NV12: 2, P016: 3 };
/** Place of the two scales, in 8 bytes; what samples count as follows. */
const SCALES = 16;

/** An image of interleaved pixels in device memory: u8 or u16 [height, width, 1, 3 or 4], rows `pitchBytes` apart. */
export interface PackedFrame {
  readonly format: PackedFormat | SampleFormat;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  readonly pixels: DevicePtr;
  readonly pitchBytes: number;
  /** Of formats of 16 bits, as an image has them. */
  readonly levels?: readonly [black: number, white: number] | undefined;
}

/**
 * An image of a video decoder in device memory: a plane of Y, and one of interleaved U, V of half the size. `P016` is NV12 of
 * samples of 16 bits, the lower byte first, which are read rounded to 8.
 */
export interface PlanarImage {
  readonly format: "NV12" | "P016";
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** u8 or u16 [height, width], rows `pitchBytes` apart. */
  readonly pixels: DevicePtr;
  readonly pitchBytes: number;
  /** The same, [⌈height / 2⌉, ⌈width / 2⌉, 2], rows `chromaPitchBytes` apart. */
  readonly chroma: DevicePtr;
  readonly chromaPitchBytes: number;
  /** From YUV to RGB. Video up to 576 lines is mostly BT.601, above BT.709, and limited in range. */
  readonly coefficients: YuvCoefficients;
}

/** An image in device memory. */
export type DeviceImage = PackedFrame | PlanarImage;

function isPlanarImage(image: DeviceImage): image is PlanarImage {
  const { format } = image;
  return format === "NV12" || format === "P016";
}

/** Writes regions of images into memory that is copied to the device; it allocates nothing after it was made. */
export class ImageTable {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;

  /**
   * @param buffer     memory of the table, page-locked where it is to be copied asynchronously
   * @param byteOffset where the table begins, a multiple of 16
   * @param capacity   regions it has room for
   */
  constructor(buffer: ArrayBuffer, byteOffset: number, capacity: number) {
    this.#words = new Int32Array(buffer, byteOffset, capacity * WORDS);
    this.#doubles = new Float64Array(buffer, byteOffset, (capacity * WORDS) / 2);
  }

  /**
   * Write one region of an image.
   *
   * @throws {ArgumentError} If the region goes on beyond the image's edges, and the resize is antialiased
   * @throws {ShapeError} If the input has four channels, and the image fewer
   */
  set(
    index: number,
    image: DeviceImage,
    region: Region,
    { colour, resize, levels }: Pick<Preprocessing, "colour" | "resize" | "levels">,
  ): void {
    const isPlanar = isPlanarImage(image);
    assertFourthChannel(isPlanar ? "NV12" : image.format, colour);
    const { x, y, width, height, edge } = region;
    const isTile = edge !== "pad";
    if (isTile && resize !== "bilinear") refuseEdge(edge);
    const words = this.#words;
    const at = index * WORDS;
    const chroma = isPlanar ? image.chroma : 0;
    words[at] = image.pixels % 2 ** 32;
    words[at + 1] = image.pixels / 2 ** 32;
    words[at + 2] = chroma % 2 ** 32;
    words[at + 3] = chroma / 2 ** 32;
    words[at + 4] = image.pitchBytes;
    words[at + 5] = isPlanar ? image.chromaPitchBytes : 0;
    words[at + 6] = x;
    words[at + 7] = y;
    words[at + 8] = width;
    words[at + 9] = height;
    words[at + 10] = isTile ? 0 : Math.max(x, 0);
    words[at + 11] = isTile ? 0 : Math.max(y, 0);
    words[at + 12] = (isTile ? image.width : Math.min(x + width, image.width)) - 1;
    words[at + 13] = (isTile ? image.height : Math.min(y + height, image.height)) - 1;
    words[at + 14] = region.contentWidth;
    words[at + 15] = region.contentHeight;
    words[at + 16] = region.padX;
    words[at + 17] = region.padY;
    words[at + 18] = region.left;
    words[at + 19] = region.top;
    words[at + 20] = region.right;
    words[at + 21] = region.bottom;
    words[at + 22] = isPlanar ? PLANES[image.format] : FORMATS[image.format];
    words[at + 23] = edge === "reflect" ? 1 : 0;
    words[at + 24] = (image.format === "BGR") !== isBlueFirst(colour) ? 1 : 0;
    this.#doubles[at / 2 + SCALES] = 1 / (region.contentWidth / width);
    this.#doubles[at / 2 + SCALES + 1] = 1 / (region.contentHeight / height);
    if (!isPlanar) {
      if (isDeep(image.format)) this.#setLevels(at, image.levels ?? levels);
      return;
    }
    const { coefficients } = image;
    words[at + 25] = coefficients.offset;
    words[at + 26] = coefficients.y;
    words[at + 27] = coefficients.vRed;
    words[at + 28] = coefficients.uGreen;
    words[at + 29] = coefficients.vGreen;
    words[at + 30] = coefficients.uBlue;
  }

  #setLevels(at: number, levels: PackedFrame["levels"]): void {
    const black = levels?.[0] ?? 0;
    const white = levels?.[1] ?? LARGEST_SAMPLE;
    this.#doubles[at / 2 + SCALES + 2] = black;
    this.#doubles[at / 2 + SCALES + 3] = 255 / (white - black);
  }
}

function refuseEdge(edge: Edge): never {
  throw new ArgumentError(message("resize a region with antialias", `its edge must be "pad", got "${edge}"`));
}

/** Elements of the table, by channels of the input: what `valueTable` says of it. */
const TABLE_LENGTHS = { 1: 4, 3: 3 * 256 + 3, 4: 4 * 256 + 3 * 4 } as const;

function valueTableLength(preprocessing: Pick<Preprocessing, "colour">): number {
  return TABLE_LENGTHS[channelsOf(preprocessing)];
}

/**
 * f32 [771]: values by tensor channel and level, then the padding by tensor channel; f16 and u8 values exactly. Of four channels
 * f32 [1036]: the same, then slopes and offsets of `levelLines`. For luma f32 [4]: slope and offset of `lumaLine`, the padding, and
 * the slope of `levelLines`, whose offset is the same.
 */
export function valueTable(preprocessing: Preprocessing): Float32Array<ArrayBuffer> {
  const table = allocate("f32", valueTableLength(preprocessing));
  const padding = paddingValues(preprocessing);
  const lines = levelLines(preprocessing);
  if (preprocessing.colour === "luma") {
    const { slope, offset } = lumaLine(preprocessing);
    table.set([slope, offset, ...padding, lines[0]!.slope]);
    return table;
  }
  table.set(levelTable(preprocessing, [0, 1, 2]));
  const channels = padding.length;
  table.set(padding, channels * 256);
  if (channels === 3) return table;
  for (let level = 0; level < 256; level++) table[768 + level] = levelValue(preprocessing, 3, level);
  for (const [channel, { slope, offset }] of lines.entries()) {
    table[1028 + channel] = slope;
    table[1032 + channel] = offset;
  }
  return table;
}
