/**
 * @module DecodeLimits: what a file is, whether it is decoded, and what that may cost: pixels, scans and time. All but the time is looked
 * at before it begins; as many images are decoded at once as there are threads for.
 */

import { availableParallelism } from "node:os";
import { extname } from "node:path";
import { DecodeStalledError, DecodeTimeoutError, ImageError, ImageSizeError, message } from "../core/errors.ts";
import { Fifo } from "../core/fifo.ts";
import { readTiffBlocks } from "./exif.ts";
import { hasManyScans, type JpegMarkers, readJpegScans } from "./jpeg-markers.ts";

/** What a folder is searched for. A file that is named outright may have any name: its bytes decide. */
export const IMAGE_EXTENSIONS: readonly string[] = [".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff"];

/** True if the name ends as images' do. */
export function isImageName(name: string): boolean {
  return IMAGE_EXTENSIONS.includes(extname(name).toLowerCase());
}

/** What a file was recognised as. */
export interface ImageKind {
  /** For messages: `JPEG`, `a PDF document`. */
  readonly name: string;
  /** True if this package can decode it. */
  readonly isDecodable: boolean;
  /** True for a video, which another part of this package reads. */
  readonly isVideo?: boolean;
}

function kind(name: string, what: "image" | "video" | "other"): ImageKind {
  return { name, isDecodable: what === "image", ...(what === "video" ? { isVideo: true } : {}) };
}

const JPEG = kind("JPEG", "image");

/** Latin-1 text that a file starts with, what it means, and where the text lies if not at 0. */
const SIGNATURES: readonly (readonly [text: string, kind: ImageKind, offset?: number])[] = [
  ["\xff\xd8\xff", JPEG],
  ["\x89PNG\r\n\x1a\n", kind("PNG", "image")],
  ["GIF8", kind("GIF", "image")],
  ["WEBP", kind("WebP", "image"), 8],
  ["II*\0", kind("TIFF", "image")],
  ["MM\0*", kind("TIFF", "image")],
  ["II+\0", kind("TIFF", "image")],
  ["BM", kind("BMP", "other")],
  ["\0\0\x01\0", kind("ICO", "other")],
  ["\xff\x0a", kind("JPEG XL", "other")],
  ["\0\0\0\x0cJXL ", kind("JPEG XL", "other")],
  ["\0\0\0\x0cjP  ", kind("JPEG 2000", "other")],
  ["8BPS", kind("PSD", "other")],
  ["qoif", kind("QOI", "other")],
  ["DDS ", kind("DDS", "other")],
  ["v/1\x01", kind("OpenEXR", "other")],
  ["%PDF", kind("a PDF document", "other")],
  ["PK\x03\x04", kind("a ZIP archive", "other")],
  ["\x1f\x8b", kind("gzip data", "other")],
  ["\x1aE\xdf\xa3", kind("a Matroska or WebM video", "video")],
  ["AVI ", kind("an AVI video", "video"), 8],
  ["\x7fELF", kind("an ELF binary", "other")],
];

/** The kind behind an ISO base media file, by its brands. */
function isoKind(head: string): ImageKind {
  if (/avi[fs]/.test(head)) return kind("AVIF", "image");
  return /hei[cxms]|hev[cx]|mif1|msf1/.test(head) ? kind("HEIC", "other") : kind("an MP4 or QuickTime video", "video");
}

/**
 * Recognise a file by its first bytes.
 *
 * @param bytes at least the first 64 bytes, or the whole file where it is shorter
 * @returns `undefined` for what is not known; sharp may still know it
 */
export function imageKind(bytes: Uint8Array): ImageKind | undefined {
  // The path of nearly every frame: three compares, no text.
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return JPEG;
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 256)).toString("latin1");
  if (head.startsWith("ftyp", 4)) return isoKind(head.slice(8, 64));
  for (const [text, found, offset = 0] of SIGNATURES) {
    if (head.startsWith(text, offset)) return found;
  }
  if (/^\s*(\xef\xbb\xbf)?\s*<(svg|\?xml[\s\S]*<svg)/i.test(head)) return kind("SVG", "image");
  if (/^\s*<(!doctype html|html|head|body)/i.test(head)) return kind("an HTML page", "other");
  return undefined;
}

/** The size and first bytes of a file, for messages: `31 bytes that start with 7b 22 65 72 72 6f 72 22 ({"error")`. */
export function describeBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return "0 bytes";
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 8));
  const hex = [...head].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const text = head.toString("latin1");
  const readable = /^[\x20-\x7e]+$/.test(text) ? ` (${text})` : "";
  return `${bytes.length} bytes that start with ${hex}${readable}`;
}

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
function quoted(source: string): string {
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

/** How the process stands with decoding. */
interface DecodeLoad {
  /** Images being decoded; overdue ones count until they have ended. */
  readonly running: number;
  /** Images that wait for one of these to end. */
  readonly waiting: number;
  /** Native calls whose callers have been told that time has run out, and which have not ended. */
  readonly overdue: number;
  /** Images that may be decoded at once. All of them overdue: nothing is decoded any more, until one ends. */
  readonly places: number;
}

/** An image that waits. */
interface Waiting {
  begin(): void;
  refuse(error: DecodeStalledError): void;
}

/**
 * Lets decodes begin while there are threads for them, so that the time of one that waits does not run. Native code cannot be
 * stopped: what is overdue keeps its thread, and its caller is told.
 */
export class DecodeGate {
  readonly #places: number;
  readonly #line = new Fifo<Waiting>();
  #running = 0;
  #overdue = 0;
  /** Since when what holds the last free place has been decoded. */
  #stalledAt = 0;

  /** @param places as many as there are threads, and as many that are about to begin */
  constructor(places: number) {
    this.#places = places;
  }

  get load(): DecodeLoad {
    return { running: this.#running, waiting: this.#line.length, overdue: this.#overdue, places: this.#places };
  }

  /** For how long every place has been held by work that is overdue, in milliseconds; 0 while one is not. */
  get stalledMs(): number {
    return this.#overdue < this.#places ? 0 : performance.now() - this.#stalledAt;
  }

  /**
   * Decode when it is its turn.
   *
   * @param work      settles once no native code uses its memory any more
   * @param timeoutMs from when it begins
   * @param onOverdue called in front of the rejection; the work goes on
   * @throws {DecodeTimeoutError} If it takes longer
   * @throws {DecodeStalledError} If every thread is held by work that is overdue
   */
  run<T>(
    work: () => Promise<T>,
    source: string,
    timeoutMs: number,
    onOverdue: (ended: Promise<T>) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        this.#running += 1;
        let isOverdue = false;
        const ended = work();
        const timer = setTimeout(() => {
          isOverdue = true;
          this.#overdue += 1;
          this.#stalledAt = performance.now() - timeoutMs;
          onOverdue(ended);
          reject(timeoutError(source, timeoutMs));
          this.#refuseAll();
        }, timeoutMs);
        const end = (): void => {
          clearTimeout(timer);
          this.#running -= 1;
          if (isOverdue) this.#overdue -= 1;
          this.#line.shift()?.begin();
        };
        ended.finally(end).then(resolve, reject);
      };
      if (this.#running < this.#places) begin();
      else if (this.#overdue < this.#places) this.#line.push({ begin, refuse: reject });
      else reject(this.#stalled());
    });
  }

  #stalled(): DecodeStalledError {
    const found = `all ${this.#places} places are held by images that take longer than allowed`;
    return new DecodeStalledError(message("decode an image", found, "start the process anew if none of them ends"));
  }

  #refuseAll(): void {
    if (this.#overdue < this.#places) return;
    for (let waiting = this.#line.shift(); waiting !== undefined; waiting = this.#line.shift()) {
      waiting.refuse(this.#stalled());
    }
  }
}

function timeoutError(source: string, timeoutMs: number): DecodeTimeoutError {
  const found = `decoding must end within ${timeoutMs} ms, and has not`;
  const hint = "raise decodeTimeoutMs if the image can be trusted";
  return new DecodeTimeoutError(message(`decode ${quoted(source)}`, found, hint), source, timeoutMs);
}

/** Of the process: its threads are shared. */
export const decodeGate: DecodeGate = new DecodeGate(availableParallelism() * 2);
