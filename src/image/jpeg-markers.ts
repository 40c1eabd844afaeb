/** @module JpegMarkers: what a JPEG file says of itself before its first pixel. Pure, and cheap enough for every frame. */

import { LibraryLoadError } from "../core/errors.ts";
import { addressOf } from "../ffi/memory.ts";
import { SHIM_STATUS, shim, shimOffThread } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import { exifOrientation, type Orientation } from "./exif.ts";

/** How the pixels are coded: by the marker of the frame. Baseline has 8 bits; extended is the same with more freedom. */
export type JpegCoding = "baseline" | "extended" | "progressive" | "lossless" | "arithmetic" | "hierarchical";

/** How many pixels share a sample of colour; `other` for what is rare. */
export type JpegSampling = "grey" | "4:4:4" | "4:2:2" | "4:2:0" | "4:4:0" | "4:1:1" | "4:1:0" | "other";

/** The frame header (SOF) of a JPEG. Sizes in pixels, as stored: before the orientation is applied. */
export interface JpegFrame {
  readonly coding: JpegCoding;
  /** Bits of a sample: 8, rarely 12. */
  readonly precision: number;
  readonly width: number;
  /** 0 where the file says it behind the pixels. */
  readonly height: number;
  /** 1 grey, 3 colour, 4 CMYK. */
  readonly components: number;
  readonly sampling: JpegSampling;
  /** True if the three components are red, green and blue themselves, as libjpeg judges it. */
  readonly isRgb: boolean;
  /** Components in the first scan; fewer than `components` where each comes in a scan of its own. 0 without a scan. */
  readonly scanComponents: number;
}

/** What the markers in front of a JPEG's pixels say. */
export interface JpegMarkers {
  /** 1 where there is no EXIF, or no valid tag in it. */
  readonly orientation: Orientation;
  /** True if the image comes in scans of growing detail, of which a small file can hold very many. */
  readonly isProgressive: boolean;
  /** Offset in bytes of the first scan, or the length of the file where there is none. */
  readonly scanOffset: number;
  /**
   * True if what stands in front of the first scan can be read in one way only: segment behind segment, with one frame. Of
   * anything else decoders make different images, of different sizes too.
   */
  readonly isOrderly: boolean;
  /** `undefined` where there is none, or a broken one, in front of the first scan. */
  readonly frame: JpegFrame | undefined;
}

const START_OF_SCAN = 0xda;
const END_OF_IMAGE = 0xd9;
const JFIF = 0xe0;
const EXIF = 0xe1;
const ADOBE = 0xee;
/** "Exif\0\0", "JFIF\0", "Adobe" */
const EXIF_HEADER = [0x45, 0x78, 0x69, 0x66, 0, 0] as const;
const JFIF_HEADER = [0x4a, 0x46, 0x49, 0x46, 0] as const;
const ADOBE_HEADER = [0x41, 0x64, 0x6f, 0x62, 0x65] as const;
/** "RGB" */
const RGB_NUMBERS = 0x524742;
/** Of a component's horizontal and vertical factor, luminance first. */
const SAMPLINGS: ReadonlyMap<number, JpegSampling> = new Map([
  [0x11, "4:4:4"],
  [0x21, "4:2:2"],
  [0x22, "4:2:0"],
  [0x12, "4:4:0"],
  [0x41, "4:1:1"],
  [0x42, "4:1:0"],
]);

/** What is gathered on the way to the first scan. */
class Found {
  orientation: Orientation | undefined;
  isProgressive = false;
  isOrderly = true;
  isJfif = false;
  /** Of Adobe's segment: 0 for no transform, -1 without the segment. */
  transform = -1;
  /** Offset of the frame header's first byte after its length, and that length less itself. */
  frameAt = 0;
  frameLength = 0;
  frameMarker = 0;
}

function startsWith(bytes: Uint8Array, at: number, text: readonly number[]): boolean {
  for (let index = 0; index < text.length; index++) if (bytes[at + index] !== text[index]) return false;
  return true;
}

function isFrame(marker: number): boolean {
  // 0xc4, 0xc8 and 0xcc are tables and a reserved marker.
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

function codingOf(marker: number): JpegCoding {
  if (marker > 0xc8) return "arithmetic";
  if (marker > 0xc4) return "hierarchical";
  return (["baseline", "extended", "progressive", "lossless"] as const)[marker - 0xc0]!;
}

function samplingOf(bytes: Uint8Array, at: number, components: number): JpegSampling {
  if (components === 1) return "grey";
  if (components !== 3) return "other";
  // Every colour component once a block; what is divided by a common factor is the same image.
  if (bytes[at + 4] !== 0x11 || bytes[at + 7] !== 0x11) return "other";
  return SAMPLINGS.get(bytes[at + 1]!) ?? "other";
}

/** Whether three components are RGB: as libjpeg's default_decompress_parms has it. */
function isRgb(found: Found, bytes: Uint8Array, at: number): boolean {
  if (found.isJfif) return false;
  if (found.transform >= 0) return found.transform === 0;
  return bytes[at]! * 65_536 + bytes[at + 3]! * 256 + bytes[at + 6]! === RGB_NUMBERS;
}

function readFrame(found: Found, bytes: Uint8Array, scanOffset: number): JpegFrame | undefined {
  const { frameAt: at, frameLength } = found;
  const components = bytes[at + 5] ?? 0;
  if (frameLength < 6 + components * 3 || at + frameLength > bytes.length || components === 0) return undefined;
  const table = at + 6;
  return {
    coding: codingOf(found.frameMarker),
    precision: bytes[at]!,
    height: bytes[at + 1]! * 256 + bytes[at + 2]!,
    width: bytes[at + 3]! * 256 + bytes[at + 4]!,
    components,
    sampling: samplingOf(bytes, table, components),
    isRgb: components === 3 && isRgb(found, bytes, table),
    scanComponents: bytes[scanOffset + 4] ?? 0,
  };
}

/** Take from one segment what is wanted; `at` is its first byte after the length. */
function readSegment(found: Found, bytes: Uint8Array, marker: number, at: number, length: number): void {
  if (isFrame(marker)) {
    if (marker === 0xc2 || marker === 0xca) found.isProgressive = true;
    if (found.frameMarker !== 0) found.isOrderly = false;
    else [found.frameMarker, found.frameAt, found.frameLength] = [marker, at, length];
  } else if (marker === EXIF && found.orientation === undefined && startsWith(bytes, at, EXIF_HEADER)) {
    const end = Math.min(at + length, bytes.length);
    found.orientation = exifOrientation(bytes.subarray(at + 6, Math.max(at + 6, end)));
  } else if (marker === JFIF && startsWith(bytes, at, JFIF_HEADER)) found.isJfif = true;
  else if (marker === ADOBE && length >= 12 && startsWith(bytes, at, ADOBE_HEADER))
    found.transform = bytes[at + 11] ?? -1;
}

/**
 * Read the markers of a JPEG up to its first scan.
 *
 * @param bytes a JPEG file; a damaged one gives orientation 1 and no frame, never an error
 */
export function readJpegMarkers(bytes: Uint8Array): JpegMarkers {
  const found = new Found();
  let scanOffset = bytes.length;
  let at = 2;
  while (at + 4 <= bytes.length) {
    // Bytes between two markers are skipped, as libjpeg does; 0xff may stand there.
    if (bytes[at] !== 0xff || bytes[at + 1] === 0xff) {
      if (bytes[at] !== 0xff) found.isOrderly = false;
      at += 1;
      continue;
    }
    const marker = bytes[at + 1]!;
    if (marker === START_OF_SCAN) {
      scanOffset = at;
      break;
    }
    if (marker === END_OF_IMAGE) break;
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      found.isOrderly = false;
      at += 2;
      continue;
    }
    const told = bytes[at + 2]! * 256 + bytes[at + 3]!;
    if (told < 2) found.isOrderly = false;
    const length = Math.max(2, told);
    readSegment(found, bytes, marker, at + 4, length - 2);
    at += 2 + length;
  }
  const frame = found.frameMarker === 0 ? undefined : readFrame(found, bytes, scanOffset);
  const { orientation = 1, isProgressive, isOrderly } = found;
  return { orientation, isProgressive, scanOffset, isOrderly, frame };
}

/**
 * Where a JPEG of one scan ends: behind the first end marker that follows its pixels. Inside them no such bytes can
 * stand; behind them cameras put further images.
 *
 * @param scanOffset of the first scan
 * @returns offset in bytes; -1 if the file was cut short
 */
export function endOfJpeg(bytes: Uint8Array, scanOffset: number): number {
  const last = bytes.length - 2;
  if (last <= scanOffset) return -1;
  if (bytes[last] === 0xff && bytes[last + 1] === END_OF_IMAGE) return bytes.length;
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf("ffd9", scanOffset, "hex");
  return at < 0 ? -1 : at + 2;
}

/** What the scans of a JPEG say of themselves. */
interface JpegScans {
  /** At least one, unless the file ends in front of them. */
  readonly count: number;
  /** Offset in bytes behind the end marker; -1 where there is none. */
  readonly end: number;
  /**
   * False if a component, or the last bits of its coefficients, come in none of the scans: the file ends between two
   * scans, which no decoder reports. Whether the last scan itself is complete is not looked at.
   */
  readonly isComplete: boolean;
}

/** Coefficients of a block. */
const COEFFICIENTS = 64;

/** The offset of the next marker that is neither stuffing nor a restart; -1 if there is none. */
function nextMarker(file: Buffer, from: number): number {
  for (let at = file.indexOf(0xff, from); at >= 0 && at + 1 < file.length; at = file.indexOf(0xff, at + 1)) {
    const marker = file[at + 1]!;
    if (marker !== 0 && marker !== 0xff && (marker < 0xd0 || marker > 0xd7)) return at;
  }
  return -1;
}

/** Note which coefficients of which components a scan completes. `at` is its marker. */
function noteScan(complete: Map<number, Set<number>>, file: Buffer, at: number): void {
  const components = file[at + 4] ?? 0;
  const table = at + 5 + components * 2;
  const [first = 0, last = 0, bits = 0] = file.subarray(table, table + 3);
  // The lower half is the lowest bit that the scan gives: 0 for the last one.
  if ((bits & 15) !== 0) return;
  for (let index = 0; index < components; index++) {
    const id = file[at + 5 + index * 2] ?? 0;
    const known = complete.get(id) ?? new Set<number>();
    for (let place = first; place <= Math.min(last, COEFFICIENTS - 1); place++) known.add(place);
    complete.set(id, known);
  }
}

/**
 * Walk from scan to scan. A few milliseconds for 10 MB.
 *
 * @param bytes   a JPEG file
 * @param markers what `readJpegMarkers` read of it
 */
export function readJpegScans(bytes: Uint8Array, markers: JpegMarkers): JpegScans {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const complete = new Map<number, Set<number>>();
  let count = 0;
  let end = -1;
  for (let at = markers.scanOffset; at >= 0 && at + 4 <= file.length; at = nextMarker(file, at)) {
    const marker = file[at + 1];
    if (marker === END_OF_IMAGE) {
      end = at + 2;
      break;
    }
    if (marker === START_OF_SCAN) {
      count += 1;
      noteScan(complete, file, at);
    }
    // One marker alone has no segment.
    at += marker === 1 ? 2 : 2 + file.readUInt16BE(at + 2);
  }
  if (end < 0 && file.length >= 2 && file.readUInt16BE(file.length - 2) === 0xffd9) end = file.length;
  const expected = markers.isProgressive ? COEFFICIENTS : 1;
  const whole = [...complete.values()].filter((places) => places.size >= expected).length;
  return { count, end, isComplete: whole >= (markers.frame?.components ?? 1) };
}

/** True if libjpeg may have to keep all coefficients until the last scan is read, so that each further scan costs time. */
export function hasManyScans({ isProgressive, frame }: JpegMarkers): boolean {
  return isProgressive || frame === undefined || frame.scanComponents < frame.components;
}

/** Files up to this length are checked sooner than another thread could begin. */
const SHORT_BYTES = 4096;

/** Walk through the codes of an image. Off the JS thread, but for short files; 0.4 ms for 100 kB of JPEG. */
async function dataStatus(check: "bt_jpeg_check" | "bt_gif_check", bytes: Uint8Array): Promise<number> {
  if (bytes.length <= SHORT_BYTES) return shim()[check](bytes, bytes.length);
  const status = await shimOffThread(check)(addressOf(bytes), bytes.length);
  // Reading the length keeps the bytes from the collector until the thread is done with them.
  return bytes.length > 0 ? status : SHIM_STATUS.badCall;
}

/**
 * Whether the data of a baseline JPEG of one scan codes all of its pixels.
 *
 * @param bytes not to be changed until the promise settles
 * @returns false where data is missing, damaged or left over; or the file is of another kind
 */
export async function isDataWhole(bytes: Uint8Array): Promise<boolean> {
  return (await dataStatus("bt_jpeg_check", bytes)) === SHIM_STATUS.ok;
}

/**
 * Whether the data of a JPEG is certainly damaged. Decoders do not tell of a few bytes that are left over, nor of DC values
 * that no samples have.
 *
 * @param bytes   not to be changed until the promise settles
 * @param markers what `readJpegMarkers` read of it
 * @returns false for files that are not looked at: of other kinds than baseline, or without a shim for this platform
 */
export async function isDataDamaged(bytes: Uint8Array, { frame }: JpegMarkers): Promise<boolean> {
  const isChecked = frame?.coding === "baseline" && frame.scanComponents === frame.components;
  return isChecked && isFault("bt_jpeg_check", bytes);
}

/** The same for the first image of a GIF, of whose damaged codes libvips makes what it can. */
export function isGifDamaged(bytes: Uint8Array): Promise<boolean> {
  return isFault("bt_gif_check", bytes);
}

async function isFault(check: "bt_jpeg_check" | "bt_gif_check", bytes: Uint8Array): Promise<boolean> {
  try {
    const status = await dataStatus(check, bytes);
    return status === SHIM_CONSTANTS.BT_IMAGE_DAMAGED || status === SHIM_CONSTANTS.BT_IMAGE_SHORT;
  } catch (error) {
    if (error instanceof LibraryLoadError) return false;
    throw error;
  }
}
