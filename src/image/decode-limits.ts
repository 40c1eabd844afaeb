/** @module DecodeLimits: what decoding an image may cost, looked at before it begins. Pure. */

import { ImageError, ImageSizeError, message } from "../core/errors.ts";
import { describeBytes, imageKind } from "./image-kind.ts";
import { hasManyScans, type JpegMarkers, readJpegScans } from "./jpeg-markers.ts";

/** What decoding an image may cost, and what is taken. */
export interface DecodingLimits {
  /** Images with more pixels are refused before they are decoded. Default 2^28, 268 million. */
  readonly maxPixels?: number;
  /**
   * `"take"`: of a JPEG or GIF that is cut short or damaged comes what its decoder made of it, and the result says so in
   * `damage`; the rest is grey, or wrong. Default `"refuse"`: such a file is an `ImageError`. A file without its end marker is whole if every
   * pixel is there.
   */
  readonly damaged?: "refuse" | "take";
  /**
   * True: SVG is rendered. A few bytes of SVG can keep a core busy for ever, which no time limit ends: for images you trust
   * alone. Default false.
   */
  readonly vectors?: boolean;
  /** How long decoding an image may take, from its beginning, in milliseconds, before it is given up. Default 60,000. */
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

/** Images with more pixels are refused unless the caller raises the limit: 268 million, 768 MiB of RGB. */
export const DEFAULT_MAX_PIXELS: number = 2 ** 28;
/** How long one image may take where nothing else is said, in milliseconds: thirty times what 100 million pixels do. */
export const DEFAULT_DECODE_TIMEOUT_MS = 60_000;

/** Options of a detector for images of strangers, in `serve` and `worker`: 64 Mi pixels are 192 MiB of RGB. */
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
  const found = `a file of ${byteLength} bytes may hold at most ${freePixels(byteLength)} pixels: it claims ${what}`;
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
  const found = `its scans must have at most ${most} pixels together: ${count} of ${width}x${height}`;
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
    const found = `a strip or tile must have at most ${maxPixels * PIXEL_BYTES} bytes: it claims ${what}`;
    throw imageError(source, found, "raise maxPixels if the image can be trusted");
  }
}

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
  const found = `it must have at most ${maxPixels} pixels: ${width}x${height} is ${width * height}`;
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
    return imageError(source, "it is empty: 0 bytes", "check that the file was written or downloaded completely");
  }
  const kind = imageKind(bytes);
  if (kind === undefined) {
    return imageError(source, `it is not an image: ${describeBytes(bytes)}`, SUPPORTED, options);
  }
  if (!kind.isDecodable) {
    const hint = kind.isVideo === true ? VIDEO_HINT : `convert it to PNG or JPEG first; ${SUPPORTED}`;
    return imageError(source, `it is ${kind.name}, which is not supported: ${bytes.length} bytes`, hint, options);
  }
  const isDamaged = reason.includes("its data does not fit");
  const state = CUT_SHORT.test(reason)
    ? "cut short"
    : isDamaged
      ? "damaged"
      : "damaged or of a variant that is not supported";
  const isPartial = (kind.name === "JPEG" || kind.name === "GIF") && (isDamaged || reason.includes("last pixel"));
  const hint = isPartial
    ? 'copy or download the file again, or take what is left of it by damaged: "take"'
    : "copy or download the file again, and see whether another program opens it";
  return imageError(source, `the ${kind.name} is ${state}: ${bytes.length} bytes, ${reason}`, hint, options);
}

/** A strip or tile, as libtiff makes room for it. */
export interface TiffBlock {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Of one pixel with all its channels, rounded up. */
  readonly pixelBytes: number;
}

const IMAGE_WIDTH = 256;
const IMAGE_HEIGHT = 257;
const BITS = 258;
const CHANNELS = 277;
const ROWS_PER_STRIP = 278;
const TILE_WIDTH = 322;
const TILE_HEIGHT = 323;
/** Bytes of a value by its type; types that no size has are left out. */
const TYPE_BYTES: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [3, 2],
  [4, 4],
  [16, 8],
]);

/** How the fields of classic and of big TIFF lie. */
interface Form {
  readonly little: boolean;
  /** Bytes of an offset: 4, or 8 in a big TIFF. */
  readonly offsetBytes: 4 | 8;
  /** Of the offset of the first directory, in the header. */
  readonly headerAt: number;
  /** Of the number of entries, and of an entry. */
  readonly countBytes: 2 | 8;
  readonly entryBytes: 12 | 20;
}

function formOf(view: DataView): Form | undefined {
  if (view.byteLength < 16) return undefined;
  const order = view.getUint16(0);
  if (order !== 0x4949 && order !== 0x4d4d) return undefined;
  const little = order === 0x4949;
  const version = view.getUint16(2, little);
  if (version === 42) return { little, offsetBytes: 4, headerAt: 4, countBytes: 2, entryBytes: 12 };
  return version === 43 ? { little, offsetBytes: 8, headerAt: 8, countBytes: 8, entryBytes: 20 } : undefined;
}

/** An unsigned number; `undefined` where the file ends before it. */
function numberAt(view: DataView, at: number, byteLength: number, little: boolean): number | undefined {
  if (at < 0 || at + byteLength > view.byteLength) return undefined;
  if (byteLength === 1) return view.getUint8(at);
  if (byteLength === 2) return view.getUint16(at, little);
  return byteLength === 4 ? view.getUint32(at, little) : Number(view.getBigUint64(at, little));
}

/** The first value of each tag that matters; of the bits of several channels, those of the first. */
function readTags(view: DataView, form: Form): Map<number, number> {
  const { little, offsetBytes, countBytes, entryBytes } = form;
  const tags = new Map<number, number>();
  const directory = numberAt(view, form.headerAt, offsetBytes, little) ?? view.byteLength;
  const count = Math.min(numberAt(view, directory, countBytes, little) ?? 0, 4096);
  for (let entry = 0; entry < count; entry++) {
    const at = directory + countBytes + entry * entryBytes;
    const tag = numberAt(view, at, 2, little);
    const valueBytes = TYPE_BYTES.get(numberAt(view, at + 2, 2, little) ?? 0);
    const values = numberAt(view, at + 4, offsetBytes, little);
    if (tag === undefined || valueBytes === undefined || values === undefined) continue;
    const inline = at + 4 + offsetBytes;
    const place = valueBytes * values <= offsetBytes ? inline : numberAt(view, inline, offsetBytes, little);
    const value = place === undefined ? undefined : numberAt(view, place, valueBytes, little);
    if (value !== undefined) tags.set(tag, value);
  }
  return tags;
}

/**
 * The strips and tiles of a TIFF's first image, as far as its tags tell.
 *
 * @param bytes a TIFF or BigTIFF file; a damaged one gives none, never an error
 * @see TIFF 6.0, sections 3 and 15; the BigTIFF design of libtiff
 */
export function readTiffBlocks(bytes: Uint8Array): readonly TiffBlock[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const form = formOf(view);
  if (form === undefined) return [];
  const tags = readTags(view, form);
  const width = tags.get(IMAGE_WIDTH) ?? 0;
  const height = tags.get(IMAGE_HEIGHT) ?? 0;
  const pixelBytes = Math.max(1, Math.ceil(((tags.get(BITS) ?? 1) * (tags.get(CHANNELS) ?? 1)) / 8));
  const [tileWidth, tileHeight] = [tags.get(TILE_WIDTH), tags.get(TILE_HEIGHT)];
  if (tileWidth !== undefined || tileHeight !== undefined)
    return [{ width: tileWidth ?? width, height: tileHeight ?? height, pixelBytes }];
  return [{ width, height: Math.min(tags.get(ROWS_PER_STRIP) ?? height, height), pixelBytes }];
}

/**
 * The file without its further pages, which libvips counts one by one: a directory of 18 bytes each would cost minutes.
 *
 * @param bytes a TIFF or BigTIFF file
 * @returns the bytes themselves where there is one page
 */
export function firstTiffPage(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const form = formOf(view);
  if (form === undefined) return bytes;
  const { little, offsetBytes, countBytes, entryBytes } = form;
  const directory = numberAt(view, form.headerAt, offsetBytes, little) ?? view.byteLength;
  const count = numberAt(view, directory, countBytes, little);
  if (count === undefined) return bytes;
  const nextAt = directory + countBytes + count * entryBytes;
  if ((numberAt(view, nextAt, offsetBytes, little) ?? 0) === 0) return bytes;
  const copy = new Uint8Array(bytes);
  copy.fill(0, nextAt, nextAt + offsetBytes);
  return copy;
}
