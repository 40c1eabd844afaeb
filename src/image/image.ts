/**
 * @module Image: a decoded image in host memory, and colours as Y, U, V: the coefficients that turn them into R, G, B, in integers as
 * CPU and GPU use them.
 */

import { message, ShapeError } from "../core/errors.ts";
import type { DevicePtr } from "../core/units.ts";

/** Which shares of the colours make Y: SD video is BT.601, HD BT.709, and HDR mostly BT.2020. */
export type YuvStandard = "BT.601" | "BT.709" | "BT.2020";

/** `limited`: Y from 16 to 235, U and V from 16 to 240, as video is. `full`: 0 to 255, as JPEG is. */
export type YuvRange = "limited" | "full";

/**
 * R = (y × (Y − offset) + vRed × (V − 128) + 2¹⁵) >> 16, and so on, cut to 0–255; Y below the offset counts as it.
 * All but the offset are multiplied by 2¹⁶.
 */
export interface YuvCoefficients {
  readonly offset: number;
  readonly y: number;
  readonly vRed: number;
  readonly uGreen: number;
  readonly vGreen: number;
  readonly uBlue: number;
}

/** Shares of red and blue in the luminance. */
const SHARES: Readonly<Record<YuvStandard, readonly [red: number, blue: number]>> = {
  "BT.601": [0.299, 0.114],
  "BT.709": [0.2126, 0.0722],
  "BT.2020": [0.2627, 0.0593],
};

/** True for the name of a standard. */
function isYuvStandard(name: unknown): name is YuvStandard {
  return typeof name === "string" && Object.hasOwn(SHARES, name);
}

const ONE = 65_536;

const LAST_SD_LINE = 576;

function coefficients(standard: YuvStandard, range: YuvRange): YuvCoefficients {
  const [red, blue] = SHARES[standard];
  const green = 1 - red - blue;
  const luma = range === "limited" ? 255 / 219 : 1;
  const chroma = range === "limited" ? 255 / 224 : 1;
  return {
    offset: range === "limited" ? 16 : 0,
    y: Math.round(luma * ONE),
    vRed: Math.round(2 * (1 - red) * chroma * ONE),
    uGreen: Math.round((-2 * (1 - blue) * blue * chroma * ONE) / green),
    vGreen: Math.round((-2 * (1 - red) * red * chroma * ONE) / green),
    uBlue: Math.round(2 * (1 - blue) * chroma * ONE),
  };
}

const COEFFICIENTS: Readonly<Record<YuvStandard, Readonly<Record<YuvRange, YuvCoefficients>>>> = {
  "BT.601": { limited: coefficients("BT.601", "limited"), full: coefficients("BT.601", "full") },
  "BT.709": { limited: coefficients("BT.709", "limited"), full: coefficients("BT.709", "full") },
  "BT.2020": { limited: coefficients("BT.2020", "limited"), full: coefficients("BT.2020", "full") },
};

/** The coefficients of a standard and range, the same object each time. @see ITU-R BT.601, BT.709 and BT.2020, "digital representation" */
export function yuvCoefficients(standard: YuvStandard, range: YuvRange): YuvCoefficients {
  return COEFFICIENTS[standard][range];
}

/** The standard of video that does not tell its own: BT.601 up to 576 lines, BT.709 above. */
export function usualStandard(height: number): YuvStandard {
  return height > LAST_SD_LINE ? "BT.709" : "BT.601";
}

/** A colour as Y, U, V, each 0–255. */
export function yuvOf(
  { red, green, blue }: Readonly<Record<"red" | "green" | "blue", number>>,
  standard: YuvStandard,
  range: YuvRange,
): [y: number, u: number, v: number] {
  const [redShare, blueShare] = SHARES[standard];
  const luma = redShare * red + (1 - redShare - blueShare) * green + blueShare * blue;
  const [scale, offset, swing] = range === "limited" ? [219 / 255, 16, 224 / 255] : [1, 0, 1];
  const chroma = (difference: number, share: number): number =>
    Math.min(255, Math.round(128 + (difference / (2 * (1 - share))) * swing));
  return [Math.round(luma * scale + offset), chroma(blue - luma, blueShare), chroma(red - luma, redShare)];
}

/** Formats whose pixels lie one after the other, by the order of their bytes. */
export type PackedFormat = "RGB" | "BGR" | "RGBA";

/**
 * Formats of one sample a pixel, and of 16 bits, whose samples are u16, the lower byte first. `"GREY16"` is what thermal and depth
 * cameras give. A fourth channel counts for models that take four: depth, infrared, heat.
 */
export type SampleFormat = "GREY" | "GREY16" | "RGBA16";

/**
 * How pixels lie. `"NV12"`, what video decoders give: a plane of Y, then one of interleaved U, V, where each pair
 * serves 2 × 2 pixels. It takes half the bytes of RGB.
 */
export type PixelFormat = PackedFormat | SampleFormat | "NV12";

const PACKED_BYTES: Readonly<Record<PackedFormat, number>> = { RGB: 3, BGR: 3, RGBA: 4 };

const BYTES_PER_PIXEL: Readonly<Record<PackedFormat | SampleFormat, number>> = {
  ...PACKED_BYTES,
  GREY: 1,
  GREY16: 2,
  RGBA16: 8,
};

/**
 * A decoded image: [height, width, channels] (HWC) of u8, or u16 where the format says 16, rows `pitchBytes` apart; of NV12, u8 [height, width] and u8
 * [⌈height / 2⌉, ⌈width / 2⌉, 2]. Whoever made `data` owns it.
 */
export interface Image {
  /** In pixels, at least 1. */
  readonly width: number;
  /** In pixels, at least 1. */
  readonly height: number;
  /** Distance between the starts of two rows in bytes, at least `width` × the bytes of a pixel, which of Y is 1. */
  readonly pitchBytes: number;
  readonly format: PixelFormat;
  /** From the first pixel to the last; `imageOf` tells if it is too short. Alpha is ignored, but by models of four channels. */
  readonly data: Uint8Array;
  /** Formats of 16 bits alone: which samples are black and white. Default: 0 and 65535, or what the model's pre-processing says. */
  readonly levels?: readonly [black: number, white: number] | undefined;
  /** NV12 alone: where the plane of U, V begins in `data`. Default: behind `height` rows of Y. */
  readonly chromaOffset?: number | undefined;
  /** NV12 alone: distance between two rows of U, V in bytes. Default: `pitchBytes`, one more if that is odd. */
  readonly chromaPitchBytes?: number | undefined;
  /** NV12 alone: which shares of red, green and blue make Y. Default: BT.709 above 576 lines, else BT.601. */
  readonly yuvStandard?: YuvStandard | undefined;
  /** NV12 alone: which levels are black and white. Default `"limited"`, as video is. */
  readonly yuvRange?: YuvRange | undefined;
  /** NV12 alone: the same pixels in the memory of a GPU, whose models read them there; `data` is a copy of them. */
  readonly resident?: DevicePlanes | undefined;
}

/** Where the planes of an image lie in the memory of a GPU. Whoever made them owns them. */
export interface DevicePlanes {
  /** Number of the GPU. */
  readonly device: number;
  /** Of a sample: 8, or 16 of which the upper ones count (P016). Those of 16 are read rounded to 8. */
  readonly bits: 8 | 16;
  /** [height, width], rows `pitchBytes` apart. */
  readonly pixels: DevicePtr;
  readonly pitchBytes: number;
  /** [⌈height / 2⌉, ⌈width / 2⌉, 2], rows `chromaPitchBytes` apart. */
  readonly chroma: DevicePtr;
  readonly chromaPitchBytes: number;
}

/** An image but for its pixels. */
export type ImageForm = Omit<Image, "data" | "resident">;

/** An image whose pixels lie one after the other. */
export interface PackedImage extends Image {
  readonly format: PackedFormat;
}

/** Bytes of one pixel. */
export function bytesPerPixel(format: PackedFormat | SampleFormat): number {
  return BYTES_PER_PIXEL[format];
}

/** True for interleaved bytes of red, green and blue. */
export function isPackedFormat(format: PixelFormat): format is PackedFormat {
  return Object.hasOwn(PACKED_BYTES, format);
}

/** True for an image of such. */
export function isPacked(image: Image): image is PackedImage {
  return isPackedFormat(image.format);
}

/** True for formats whose samples have 16 bits. */
export function isDeep(format: PixelFormat): format is "GREY16" | "RGBA16" {
  return format === "GREY16" || format === "RGBA16";
}

/** Memory below this is left to the garbage collector. */
const SMALL_BYTES = 2 ** 20;

/**
 * Free the memory of pixels that nobody uses any more, now rather than some time: native libraries' memory is unknown to the
 * garbage collector, which lets gigabytes of it pile up. The array is empty then. What shares its buffer with others stays.
 */
export function freePixels({ buffer, byteLength }: Uint8Array): void {
  if (byteLength < SMALL_BYTES || byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) return;
  buffer.transfer(0);
}

/** Where the plane of U, V of an NV12 image begins, in bytes. */
export function chromaOffsetOf({ chromaOffset, pitchBytes, height }: ImageForm): number {
  return chromaOffset ?? pitchBytes * height;
}

/** Distance between two rows of U, V of an NV12 image, in bytes. */
export function chromaPitchOf({ chromaPitchBytes, pitchBytes }: ImageForm): number {
  return chromaPitchBytes ?? pitchBytes + (pitchBytes & 1);
}

/** By which standard an NV12 image is coded. */
export function yuvStandardOf({ yuvStandard, height }: ImageForm): YuvStandard {
  return yuvStandard ?? usualStandard(height);
}

/** In which range the levels of an NV12 image are. */
export function yuvRangeOf({ yuvRange }: ImageForm): YuvRange {
  return yuvRange ?? "limited";
}

/** Bytes from the first pixel of an image to the end of its last, gaps included. */
export function byteLengthOf(image: ImageForm): number {
  const { width, height, pitchBytes, format } = image;
  if (format !== "NV12") return pitchBytes * (height - 1) + width * BYTES_PER_PIXEL[format];
  const chromaRows = (height + 1) >> 1;
  return chromaOffsetOf(image) + chromaPitchOf(image) * (chromaRows - 1) + width + (width & 1);
}

/**
 * What {@linkcode imageOf} takes beside the pixels. `format` is `"RGB"` by default, `pitchBytes` the `width` × the bytes of a
 * pixel, which of Y is 1.
 */
export interface ImageLayout extends Pick<Image, "width" | "height">, Partial<Omit<ImageForm, "width" | "height">> {}

function refuse(expected: string, actual: string, hint: string): never {
  throw new ShapeError(message("use the pixels as an image", `${expected}, got ${actual}`, hint), {
    tensor: "image",
    expected,
    actual,
  });
}

function checkSide(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1) return;
  refuse(`${name} must be a positive integer`, String(value), "give the size in pixels");
}

function checkBytes(name: string, value: number, least: number, hint: string): void {
  if (Number.isInteger(value) && value >= least) return;
  refuse(`${name} must be at least ${least}`, String(value), hint);
}

/** @throws {ShapeError} If they are not two numbers, the first of which is the smaller */
function checkLevels(levels: Image["levels"], format: PixelFormat): void {
  if (levels === undefined) return;
  if (!isDeep(format)) refuse("levels are those of formats of 16 bits", format, "leave them out");
  const [black = Number.NaN, white = Number.NaN] = levels;
  if (Number.isFinite(black) && Number.isFinite(white) && black < white) return;
  refuse("levels must be two numbers, of black and of white", levels.join(", "), "such as [0, 16383] of 14 bits");
}

/** An NV12 image, its planes told apart. */
function nv12Image(data: Uint8Array, layout: ImageLayout, pitchBytes: number): Image {
  const { width, height } = layout;
  const planes = { width, height, pitchBytes, format: "NV12", data } as const;
  const chromaOffset = layout.chromaOffset ?? chromaOffsetOf(planes);
  const chromaPitchBytes = layout.chromaPitchBytes ?? chromaPitchOf(planes);
  const yuvStandard = layout.yuvStandard ?? yuvStandardOf(planes);
  const yuvRange = layout.yuvRange ?? "limited";
  checkBytes("chromaOffset", chromaOffset, pitchBytes * (height - 1) + width, "the plane of U, V follows that of Y");
  const chromaRowBytes = width + (width & 1);
  checkBytes("chromaPitchBytes", chromaPitchBytes, chromaRowBytes, "it is the distance between two rows of U, V");
  if (!isYuvStandard(yuvStandard)) {
    refuse("yuvStandard must be BT.601, BT.709 or BT.2020", String(yuvStandard), "HD video is BT.709");
  }
  if (yuvRange !== "limited" && yuvRange !== "full") {
    refuse("yuvRange must be limited or full", String(yuvRange), "video is limited, JPEG full");
  }
  return { ...planes, chromaOffset, chromaPitchBytes, yuvStandard, yuvRange };
}

/**
 * An image over pixels the caller owns; nothing is copied.
 *
 * @param data   u8 [height, width, channels], rows `pitchBytes` apart, or u16 of formats of 16 bits; NV12 as {@linkcode Image} says
 * @param layout size, pixel format and row pitch
 * @throws {ShapeError} If a dimension is not a positive integer, the format unknown, a pitch too small, the data too short, or as long as
 *   that of another format, such as RGBA where nothing is said
 *
 * @example
 * ```ts
 * import { Detector, imageOf } from "bun-tensorrt";
 *
 * await using detector = await Detector.load("yolo11n");
 * const frame = imageOf(new Uint8Array(640 * 480 * 3), { width: 640, height: 480, format: "BGR" });
 * console.log((await detector.detect(frame)).detections.length);
 * ```
 */
export function imageOf(data: Uint8Array, layout: ImageLayout & { readonly format?: PackedFormat }): PackedImage;
export function imageOf(data: Uint8Array | Uint16Array, layout: ImageLayout): Image;
export function imageOf(given: Uint8Array | Uint16Array, layout: ImageLayout): Image {
  const { width, height, format = "RGB", levels } = layout;
  const isWords = given instanceof Uint16Array && isDeep(format);
  const data = isWords ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength) : (given as Uint8Array);
  checkSide("width", width);
  checkSide("height", height);
  if (format !== "NV12" && !Object.hasOwn(BYTES_PER_PIXEL, format)) {
    refuse("format must be RGB, BGR, RGBA, GREY, GREY16, RGBA16 or NV12", String(format), "convert the pixels first");
  }
  const rowBytes = width * (format === "NV12" ? 1 : BYTES_PER_PIXEL[format]);
  const pitchBytes = layout.pitchBytes ?? rowBytes;
  checkBytes("pitchBytes", pitchBytes, rowBytes, "pitchBytes is the distance between two rows");
  checkLevels(levels, format);
  const form = { width, height, pitchBytes, format, data, ...(levels === undefined ? {} : { levels }) };
  const image: Image = format === "NV12" ? nv12Image(data, layout, pitchBytes) : form;
  const needed = byteLengthOf(image);
  if (!(data instanceof Uint8Array) || data.length < needed) {
    const actual = data instanceof Uint8Array ? `${data.length} bytes` : kindOf(data);
    refuse(`${width}x${height} ${format} needs ${needed} bytes`, actual, "check width, height, format and pitch");
  }
  if (data.length > needed && layout.pitchBytes === undefined) checkSurplus(data.length, layout, needed);
  return image;
}

/** What is there in the place of bytes. */
function kindOf(data: unknown): string {
  return typeof data === "object" && data !== null ? (data.constructor?.name ?? "an object") : typeof data;
}

const FORMATS = Object.keys(BYTES_PER_PIXEL) as readonly (PackedFormat | SampleFormat)[];

/** Names that others have for `pitchBytes`. */
const OTHER_PITCHES = ["pitch", "stride"] as const;

/** Refuses pixels whose length, or a name that means nothing here, tells that they lie in memory otherwise than was said. */
function checkSurplus(length: number, layout: ImageLayout, needed: number): void {
  const { width, height, format = "RGB" } = layout;
  for (const name of OTHER_PITCHES) {
    if (!(name in layout)) continue;
    refuse("the distance between two rows must be pitchBytes", name, `write pitchBytes in the place of ${name}`);
  }
  if (layout.chromaOffset !== undefined) return;
  for (const other of FORMATS) {
    if (length !== width * height * BYTES_PER_PIXEL[other]) continue;
    const hint = `say format: "${other}", or pitchBytes if rows lie further apart; give a subarray of a longer buffer`;
    refuse(`${width}x${height} ${format} needs ${needed} bytes`, `${length}, as ${other} has`, hint);
  }
}

/** True if two images are the same pixels in the same memory: one copy does for both. */
export function isSamePixels(a: Partial<Image>, b: Partial<Image>): boolean {
  if (a.resident !== undefined || b.resident !== undefined) return a.resident === b.resident;
  return (
    a.data !== undefined &&
    a.data === b.data &&
    a.format === b.format &&
    a.width === b.width &&
    a.height === b.height &&
    a.pitchBytes === b.pitchBytes &&
    a.levels === b.levels &&
    a.chromaOffset === b.chromaOffset &&
    a.chromaPitchBytes === b.chromaPitchBytes &&
    a.yuvStandard === b.yuvStandard &&
    a.yuvRange === b.yuvRange
  );
}

/** The image, complete where a caller without types has left out its format or pitch. @throws {ShapeError} If it has too few bytes */
export function checked(image: Image): Image {
  // Its pixels on the host would be a copy, which is made when they are asked for.
  if (image.resident !== undefined) return image;
  const complete = imageOf(image.data, image);
  return image.format === complete.format && image.pitchBytes === complete.pitchBytes ? image : complete;
}

/** True for pixels that are decoded already. They are not checked: `imageOf` does. */
export function isImage(source: unknown): source is Image {
  return typeof source === "object" && source !== null && "data" in source && "width" in source;
}
