/** @module DecodeLimits: what decoding a picture may cost, looked at before it begins. Pure. */

import { imageError } from "./decode-errors.ts";
import type { JpegMarkers } from "./jpeg-markers.ts";
import { hasManyScans, readJpegScans } from "./jpeg-scans.ts";
import { readTiffBlocks } from "./tiff-blocks.ts";

/** What decoding a picture may cost, and what is taken. */
export interface DecodingLimits {
  /** Pictures with more pixels are refused before they are decoded. Default 2^28, 268 million. */
  readonly maxPixels?: number;
  /**
   * `"take"`: of a JPEG that is cut short or damaged comes what its decoder made of it, and the result says so in `damage`; the
   * rest is grey, or wrong. Default `"refuse"`: such a file is an `ImageError`. A file without its end marker is whole if every
   * pixel is there.
   */
  readonly damaged?: "refuse" | "take";
  /**
   * True: SVG is rendered. A few bytes of SVG can keep a core busy for ever, which no time limit ends: for pictures you trust
   * alone. Default false.
   */
  readonly vectors?: boolean;
  /** How long decoding a picture may take, from its beginning, in milliseconds, before it is given up. Default 60,000. */
  readonly decodeTimeoutMs?: number;
}

/** The same as a caller's options hold them once they are checked: `undefined` is left to the decoder. */
export type GivenDecodingLimits = { readonly [Key in keyof DecodingLimits]: DecodingLimits[Key] | undefined };

/** What of a caller's options decoding goes by, without those that are left to it. */
export function decodeLimits({ maxPixels, damaged, vectors, decodeTimeoutMs }: GivenDecodingLimits): DecodingLimits {
  return {
    ...(maxPixels === undefined ? {} : { maxPixels }),
    ...(damaged === undefined ? {} : { damaged }),
    ...(vectors === undefined ? {} : { vectors }),
    ...(decodeTimeoutMs === undefined ? {} : { decodeTimeoutMs }),
  };
}

/** Pictures with more pixels are refused unless the caller raises the limit: 268 million, 768 MiB of RGB. */
export const DEFAULT_MAX_PIXELS: number = 2 ** 28;
/** How long one picture may take where nothing else is said, in milliseconds: thirty times what 100 million pixels do. */
export const DEFAULT_DECODE_TIMEOUT_MS = 60_000;

/** Options of a detector for pictures of strangers, in `serve` and `worker`: 64 Mi pixels are 192 MiB of RGB. */
export const SERVED_DECODING: DecodingLimits = {
  maxPixels: 2 ** 26,
  decodeTimeoutMs: 10_000,
};

/** How a file is decoded that a detector has taken already, under whatever limits of its own. */
export const DETECTED_DECODING: DecodingLimits = {
  maxPixels: Number.MAX_SAFE_INTEGER,
  damaged: "take",
  vectors: true,
};

/** Pixels that any file may have, however short it is: a flat picture of 4096x4096 takes a second at most. */
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
  const found = `a file of ${byteLength} bytes may hold at most ${freePixels(byteLength)} pixels: it claims ${what}`;
  throw imageError(source, found, "save it as JPEG or PNG, whose files are never that short");
}

/**
 * Refuse a JPEG that is worked through too often: each scan costs as much as a picture of its own, and needs only a few bytes.
 *
 * @param markers what `readJpegMarkers` read of it
 * @param size    of the picture, as its decoder has it
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
  const found = `its scans must have at most ${most} pixels together: ${count} of ${width}x${height}`;
  throw imageError(source, found, "save it as baseline JPEG, or raise maxPixels if the picture can be trusted");
}

/**
 * Refuse a TIFF whose strips or tiles take far more memory than the picture may: libtiff makes room for a whole one.
 *
 * @throws {ImageError} If one does
 */
export function assertTiffBlocks(bytes: Uint8Array, source: string, maxPixels: number): void {
  for (const { width, height, pixelBytes } of readTiffBlocks(bytes)) {
    const pixels = Math.ceil((width * height * pixelBytes) / PIXEL_BYTES);
    const what = `a strip or tile of ${width}x${height} pixels, ${pixelBytes} bytes each`;
    assertLongEnough(source, bytes.length, Math.max(pixels, width * height), what);
    if (pixels <= maxPixels) continue;
    const found = `a strip or tile must have at most ${maxPixels * PIXEL_BYTES} bytes: it claims ${what}`;
    throw imageError(source, found, "raise maxPixels if the picture can be trusted");
  }
}
