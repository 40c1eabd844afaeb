/** @module DecodeLimits: what decoding an image may cost, looked at before it begins. Pure. */

import { ImageError, ImageSizeError, message } from "../core/errors.ts";
import { describeBytes, imageKind } from "./image-kind.ts";
import { hasManyScans, type JpegMarkers, readJpegScans } from "./jpeg-markers.ts";
import { readTiffBlocks } from "./tiff.ts";

/** What decoding an image may cost, and what is taken. */
export interface DecodingLimits {
  /** Images with more pixels are refused before they are decoded. Default 2^28, 268 million. */
  readonly maxPixels?: number | undefined;
  /**
   * `"take"`: of a JPEG or GIF that is cut short or damaged comes what its decoder made of it, and the result says so in
   * `damage`; the rest is grey, or wrong. Default `"refuse"`: such a file is an `ImageError`. A file without its end marker is whole if every
   * pixel is there.
   */
  readonly damaged?: "refuse" | "take" | undefined;
  /**
   * True: SVG is rendered. A few bytes of SVG can keep a core busy for ever, which no time limit ends: for images you trust
   * alone. Default false.
   */
  readonly vectors?: boolean | undefined;
  /** How long decoding an image may take, from its beginning, in milliseconds, before it is given up. Default 60,000. */
  readonly decodeTimeoutMs?: number | undefined;
}

/** What of a caller's options decoding goes by. */
export function decodeLimits({ maxPixels, damaged, vectors, decodeTimeoutMs }: DecodingLimits): DecodingLimits {
  return { maxPixels, damaged, vectors, decodeTimeoutMs };
}

/** How long one image may take where nothing else is said, in milliseconds: thirty times what 100 million pixels do. */
export const DEFAULT_DECODE_TIMEOUT_MS = 60_000;

/** How a file is decoded that a detector has taken already, under whatever limits of its own. */
export const DETECTED_DECODING: DecodingLimits = {
  maxPixels: Number.MAX_SAFE_INTEGER,
  damaged: "take",
  vectors: true,
};

/** Pixels that any file may have, however short it is: a flat image of 4096x4096 takes a second at most. */
const FREE_PIXELS = 2 ** 24;
/** And for each of its bytes. The flattest JPEG has 342 pixels a byte, the flattest PNG of RGB 344. */
const PIXELS_A_BYTE = 4096;
/** Scans over as many pixels as are allowed; cjpeg and mozjpeg write at most 12. */
const SCANS_OF_LARGEST = 16;
/** Bytes of a pixel that is not worth a question: RGBA of 16 bits. */
const PIXEL_BYTES = 8;

function freePixels(byteLength: number): number {
  return FREE_PIXELS + byteLength * PIXELS_A_BYTE;
}

/**
 * Refuse a file that is far too short for its pixels: no photograph is, and a few bytes must not cost seconds.
 *
 * @param what for the message: `16383x16383 pixels`
 * @throws {ImageError} If it is
 */
export function assertLongEnough(source: string, byteLength: number, pixels: number, what: string): void {
  if (pixels <= freePixels(byteLength)) return;
  const found = `a file of ${byteLength} bytes may hold at most ${freePixels(byteLength)} pixels, got ${what}`;
  throw imageError(source, found, "save it as JPEG or PNG, whose files are never that short");
}

/**
 * Refuse a JPEG that is worked through too often: each scan costs as much as an image of its own, and needs only a few bytes.
 *
 * @param markers what `readJpegMarkers` read of it
 * @param size    of the image, as its decoder has it
 * @throws {ImageError} If it is
 */
export function assertJpegScans(
  bytes: Uint8Array,
  markers: JpegMarkers,
  [width, height]: readonly [width: number, height: number],
  source: string,
  maxPixels: number,
): void {
  const pixels = width * height;
  if (!hasManyScans(markers)) {
    assertLongEnough(source, bytes.length, pixels, `${width}x${height} pixels`);
    return;
  }
  const { count } = readJpegScans(bytes, markers);
  assertLongEnough(source, bytes.length, pixels * count, `${width}x${height} pixels in ${count} scans`);
  const most = maxPixels * SCANS_OF_LARGEST;
  if (pixels * count <= most) return;
  const found = `its scans must have at most ${most} pixels together, got ${count} of ${width}x${height}`;
  throw imageError(source, found, "save it as baseline JPEG, or raise maxPixels if the image can be trusted");
}

/**
 * Refuse a TIFF whose strips or tiles take far more memory than the image may: libtiff makes room for a whole one.
 *
 * @throws {ImageError} If one does
 */
export function assertTiffBlocks(bytes: Uint8Array, source: string, maxPixels: number): void {
  for (const { width, height, pixelBytes } of readTiffBlocks(bytes)) {
    const pixels = Math.ceil((width * height * pixelBytes) / PIXEL_BYTES);
    const what = `a strip or tile of ${width}x${height} pixels, ${pixelBytes} bytes each`;
    assertLongEnough(source, bytes.length, Math.max(pixels, width * height), what);
    if (pixels <= maxPixels) continue;
    const found = `a strip or tile must have at most ${maxPixels * PIXEL_BYTES} bytes, got ${what}`;
    throw imageError(source, found, "raise maxPixels if the image can be trusted");
  }
}

/** Models that were given where an image is meant. */
const MODEL_NAME = /\.(onnx|plan|engine)$/i;
const MODEL_HINT = "a model is given by --model, and images by themselves";
const SUPPORTED = "JPEG, PNG, WebP, GIF, AVIF, TIFF and SVG are supported";
/** For who has a video, or the address of one, where an image is wanted. */
export const VIDEO_HINT = "read videos and live streams by VideoSource of bun-tensorrt/video, and pass its frames";

const CUT_SHORT =
  /premature|unexpected end|not enough data|truncat|bad seek|end of file|unable to parse image|no image|ends before/i;

/** How a source is called inside a sentence: descriptions as they are, paths and URLs in quotes. */
export function quoted(source: string): string {
  return source === "bytes" || source.startsWith("a ") ? source : JSON.stringify(source);
}

/**
 * An error of reading or decoding an image.
 *
 * @param source path, URL or description
 * @param found  the rule and what was found: `it must have 4 axes, got 3`
 * @param hint   the fix
 */
export function imageError(source: string, found: string, hint?: string, options?: ErrorOptions): ImageError {
  return new ImageError(message(`decode ${quoted(source)}`, found, hint), source, options);
}

/** The image has more pixels than allowed. Sizes in pixels. */
export function tooLargeError(source: string, width: number, height: number, maxPixels: number): ImageSizeError {
  const found = `it must have at most ${maxPixels} pixels, got ${width * height} (${width}x${height})`;
  const hint = "raise maxPixels if the image can be trusted";
  return new ImageSizeError(message(`decode ${quoted(source)}`, found, hint), source, maxPixels);
}

/**
 * The bytes could not be decoded: what they are decides what is said.
 *
 * @param bytes  the whole file
 * @param source path, URL or description
 * @param reason what the decoder said
 */
export function undecodableError(
  bytes: Uint8Array,
  source: string,
  reason: string,
  options?: ErrorOptions,
): ImageError {
  if (bytes.length === 0) {
    return imageError(source, "it is empty", "check that the file was written or downloaded completely");
  }
  const kind = imageKind(bytes);
  if (kind === undefined) {
    const hint = MODEL_NAME.test(source) ? MODEL_HINT : SUPPORTED;
    return imageError(source, `it is not an image but ${describeBytes(bytes)}`, hint, options);
  }
  if (!kind.isDecodable) {
    const hint = kind.isVideo === true ? VIDEO_HINT : `convert it to PNG or JPEG first; ${SUPPORTED}`;
    return imageError(source, `it is ${kind.name}, which is not supported`, hint, options);
  }
  const isDamaged = reason.includes("its data does not fit");
  const state = CUT_SHORT.test(reason)
    ? "cut short"
    : isDamaged
      ? "damaged"
      : "damaged or of a variant that is not supported";
  const isPartial = (kind.name === "JPEG" || kind.name === "GIF") && (isDamaged || reason.includes("last pixel"));
  const hint = isPartial
    ? 'copy or download the file again, or take what is left of it by damaged: "take" (--damaged take)'
    : "copy or download the file again, and see whether another program opens it";
  return imageError(source, `the ${kind.name} is ${state} (${bytes.length} bytes), ${reason}`, hint, options);
}
