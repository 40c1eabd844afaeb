/** @module JpegDecoder: one libturbojpeg handle, decoding off the JS thread into memory the caller gives. */

import { BunTensorRtError, LibraryLoadError, message } from "../core/errors.ts";
import type { RepeatedLine } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { addressOf, OutCells, readCString } from "../ffi/memory.ts";
import {
  findTurboJpeg,
  TJCS_CMYK,
  TJCS_YCCK,
  TJERR_WARNING,
  TJFLAG_LIMITSCANS,
  TJPF_RGB,
  type TjHandle,
  type TurboJpeg,
} from "../ffi/turbojpeg.ts";
import { undecodableError } from "./decode-limits.ts";
import { imageOf, type PackedImage } from "./image.ts";
import { hasManyScans, isDataDamaged, type JpegMarkers, readJpegMarkers, readJpegScans } from "./jpeg-markers.ts";

/** What a JPEG file says of itself. Sizes in pixels, as stored: before the orientation is applied. */
export interface JpegHeader extends JpegMarkers {
  readonly width: number;
  readonly height: number;
  /** True for four channels (CMYK or YCCK), which libturbojpeg does not turn into RGB. */
  readonly isCmyk: boolean;
}

/** Divisors of the size that decode faster than the whole image: the inverse transform itself shrinks. */
export type JpegScale = 1 | 2 | 4 | 8;

/** What became of a file. */
interface JpegAttempt {
  readonly image: PackedImage;
  /** Other than `whole`: some pixels may be wrong, or never have been written. `failed`: libturbojpeg cannot decode the file. */
  readonly outcome: "whole" | "warned" | "failed";
}

/**
 * The largest scale that leaves an image at least as large as asked for.
 *
 * @param width     of the image, in pixels
 * @param height    of the image, in pixels
 * @param minWidth  in pixels, 1 or more
 * @param minHeight in pixels, 1 or more
 * @param needs     whether both sides must be as large, or `either`: enough to fit the image inside at its own ratio
 */
export function jpegScale(
  width: number,
  height: number,
  minWidth: number,
  minHeight: number,
  needs: "both" | "either" = "both",
): JpegScale {
  for (const scale of [8, 4, 2] as const) {
    const isWide = Math.ceil(width / scale) >= minWidth;
    const isHigh = Math.ceil(height / scale) >= minHeight;
    if (needs === "both" ? isWide && isHigh : isWide || isHigh) return scale;
  }
  return 1;
}

/** Its owner destroys it. */
function createHandle({ symbols }: TurboJpeg): TjHandle {
  const handle = symbols.tjInitDecompress();
  if (handle === null) {
    const reason = readCString(symbols.tjGetErrorStr2(null));
    throw new BunTensorRtError(message("create a JpegDecoder", `tjInitDecompress failed with "${reason}"`));
  }
  return handle;
}

/**
 * One libturbojpeg decompressor. One call at a time: make one per image in flight.
 *
 * Closing it while a call is in flight is allowed: the call ends as usual, and the handle is destroyed after it.
 *
 * Decoding into memory of one's own:
 * ```ts
 * using decoder = JpegDecoder.create();
 * const header = decoder.readHeader(bytes, "street.jpg");
 * const memory = new Uint8Array(header.width * header.height * 3);
 * const { image, outcome } = await decoder.decode(bytes, header, memory);
 * ```
 */
export class JpegDecoder extends Resource {
  readonly #library: TurboJpeg;
  #handle: TjHandle;
  readonly #out = new OutCells(4);
  readonly #outHeight = this.#out.cells.subarray(1);
  readonly #outSubsampling = this.#out.cells.subarray(2);
  readonly #outColours = this.#out.cells.subarray(3);
  /** What the worker thread reads and writes, kept from the collector until it is done. */
  #inFlight: { readonly bytes: Uint8Array; readonly destination: Uint8Array } | undefined;

  private constructor(library: TurboJpeg, handle: TjHandle) {
    super("JpegDecoder");
    this.#library = library;
    this.#handle = handle;
  }

  /**
   * A new decoder.
   *
   * @throws {LibraryLoadError} If libturbojpeg is nowhere
   */
  static create(): JpegDecoder {
    const library = findTurboJpeg();
    if (library instanceof LibraryLoadError) throw library;
    return new JpegDecoder(library, createHandle(library));
  }

  /** True while a call is in flight. */
  get isBusy(): boolean {
    return this.#inFlight !== undefined;
  }

  /**
   * Read size, colours and orientation; no pixel is decoded. Microseconds, on the JS thread.
   *
   * @param bytes  a JPEG file
   * @param source what to call the bytes in messages
   * @throws {ImageError} If it is no JPEG that libturbojpeg can read
   */
  readHeader(bytes: Uint8Array, source: string): JpegHeader {
    this.#assertIdle();
    if (bytes.length === 0) throw undecodableError(bytes, source, "no data");
    // A handle keeps the size and the tables of the file before, and gives them to one that lacks its own: a camera's frame without
    // Huffman tables would be garbage, and one that ends early an image of another size. A new one takes 0.3 µs.
    this.#renew();
    this.#out.clear();
    const { symbols } = this.#library;
    const status = symbols.tjDecompressHeader3(
      this.#handle,
      bytes,
      bytes.length,
      this.#out.cells,
      this.#outHeight,
      this.#outSubsampling,
      this.#outColours,
    );
    if (status !== 0) {
      throw undecodableError(bytes, source, this.#lastError());
    }
    // A file that ends before its image begins is no failure to libturbojpeg, which then writes nothing: it may hold tables for others.
    if (this.#out.i32(0) < 1 || this.#out.i32(1) < 1) throw undecodableError(bytes, source, "it ends before any image");
    const colours = this.#out.i32(3);
    const markers = readJpegMarkers(bytes);
    return {
      width: this.#out.i32(0),
      height: this.#out.i32(1),
      isCmyk: colours === TJCS_CMYK || colours === TJCS_YCCK,
      ...markers,
    };
  }

  /**
   * Decode a JPEG off the JS thread, straight into the destination. The orientation is not applied.
   *
   * Neither array may be changed, moved or transferred until the promise settles; both are kept referenced until then.
   *
   * @param bytes       a JPEG file
   * @param header      what {@linkcode readHeader} said of these bytes
   * @param destination u8, at least the rows of the scaled image
   * @param scale       both sides are divided by it and rounded up
   * @returns RGB over `destination`, tight rows. A warning may be as harmless as unused bytes: see {@linkcode rescuedJpeg}
   * @throws {ShapeError} If the destination is too short
   */
  async decode(
    bytes: Uint8Array,
    header: JpegHeader,
    destination: Uint8Array,
    scale: JpegScale = 1,
  ): Promise<JpegAttempt> {
    this.#assertIdle();
    const width = Math.ceil(header.width / scale);
    const height = Math.ceil(header.height / scale);
    const image = imageOf(destination, { width, height });
    this.#inFlight = { bytes, destination };
    try {
      const check = isDataDamaged(bytes, header);
      const status = await this.#library.decompress(
        Number(this.#handle),
        addressOf(bytes),
        bytes.length,
        addressOf(destination),
        width,
        image.pitchBytes,
        height,
        TJPF_RGB,
        hasManyScans(header) ? TJFLAG_LIMITSCANS : 0,
      );
      const isDamaged = await check;
      if (status === 0) return { image, outcome: isDamaged ? "warned" : "whole" };
      // libturbojpeg 2 keeps libjpeg's text in a variable of the thread that made the call: only the code is the handle's.
      const isWarning = this.#library.symbols.tjGetErrorCode(this.#handle) === TJERR_WARNING;
      this.#renew();
      return { image, outcome: isWarning ? "warned" : "failed" };
    } finally {
      this.#inFlight = undefined;
      if (this.closed) this.#destroy();
    }
  }

  /** The text of the last failure on this thread. */
  #lastError(): string {
    return readCString(this.#library.symbols.tjGetErrorStr2(this.#handle));
  }

  #assertIdle(): void {
    this.assertOpen("decode an image");
    if (this.isBusy) {
      const found = "the decoder takes one call at a time, and one is in flight";
      throw new BunTensorRtError(
        message("decode an image", found, "await the former call, or make one decoder per image"),
      );
    }
  }

  /** Go on with a new handle: after a file that ends within its tables, libturbojpeg's own refuses every other one. */
  #renew(): void {
    if (this.closed) return;
    this.#destroy();
    this.#handle = createHandle(this.#library);
  }

  #destroy(): void {
    if (this.#library.symbols.tjDestroy(this.#handle) !== 0) {
      throw new BunTensorRtError(message("destroy a JpegDecoder", "tjDestroy failed"));
    }
  }

  protected release(): void {
    if (!this.isBusy) this.#destroy();
  }
}

/** What is wrong with an image whose data is there, but not as it was written. */
export const DAMAGED_DATA = "its data does not fit its pixels";

const END_OF_IMAGE = Uint8Array.of(0xff, 0xd9);
const JFIF = "JFIF\0";
const ADOBE = "Adobe";

/** What is wrong with a JPEG whose data a decoder warns of, in words that are the same for every decoder. */
function damageOf(bytes: Uint8Array, scanOffset: number): string {
  const end = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).lastIndexOf(END_OF_IMAGE);
  return end < scanOffset ? "it ends before its last pixel" : DAMAGED_DATA;
}

/** The segments in front of the first scan, without bytes between them, and with a version that libjpeg knows. */
function plainHeader(file: Buffer, markers: JpegMarkers): Uint8Array[] {
  const parts: Uint8Array[] = [file.subarray(0, 2)];
  let at = 2;
  while (at + 4 <= markers.scanOffset) {
    const marker = file[at + 1]!;
    if (file[at] !== 0xff || marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2;
      continue;
    }
    const end = at + 2 + Math.max(2, file.readUInt16BE(at + 2));
    const segment = Buffer.from(file.subarray(at, Math.min(end, markers.scanOffset)));
    const name = segment.toString("latin1", 4, 9);
    if (marker === 0xe0 && name === JFIF && segment.length > 9) segment[9] = 1;
    // libjpeg takes an unknown transform for the usual one.
    if (marker === 0xee && name === ADOBE && (segment[15] ?? 0) > 2)
      segment[15] = markers.frame?.components === 4 ? 2 : 1;
    parts.push(segment);
    at = end;
  }
  return parts;
}

/** The scan header of a sequential image, whose last three bytes can be only 0, 63 and 0. */
function plainScan(file: Buffer, { scanOffset, isProgressive }: JpegMarkers): Buffer {
  const scan = Buffer.from(file.subarray(scanOffset, scanOffset + 2 + file.readUInt16BE(scanOffset + 2)));
  if (!isProgressive && scan.length >= 8) scan.set([0, 63, 0], scan.length - 3);
  return scan;
}

/** Where the bytes that fill up the data begin: several of one value, or a single 0. The data's own length if there are none. */
function fillingAt(data: Buffer): number {
  const last = data[data.length - 1];
  let at = data.length;
  while (at > 0 && data[at - 1] === last) at -= 1;
  return data.length - at > 1 || last === 0 ? at : data.length;
}

/**
 * Copies of a file that a decoder warned of, each without something that belongs to no pixel: bytes between segments or of
 * one value behind the data, an unknown version, a missing end marker. If a decoder is content with one of them, every
 * pixel of the file is there. Damaged data stays what it is in all of them.
 *
 * @param bytes   a JPEG file
 * @param markers what `readJpegMarkers` read of it
 * @returns the likeliest first; none if there is nothing to leave out
 */
export function repairedJpegs(bytes: Uint8Array, markers: JpegMarkers): Uint8Array[] {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (markers.frame === undefined || markers.scanOffset + 8 > file.length) return [];
  const scans = readJpegScans(bytes, markers);
  // What has ended between two scans looks complete once it has an end marker.
  if (scans.end < 0 && hasManyScans(markers) && !scans.isComplete) return [];
  const head = [...plainHeader(file, markers), plainScan(file, markers)];
  const dataAt = markers.scanOffset + head.at(-1)!.length;
  let data = file.subarray(dataAt, scans.end < 0 ? file.length : scans.end - 2);
  // Half a marker.
  if (scans.end < 0 && data.at(-1) === 0xff) data = data.subarray(0, -1);
  const filling = fillingAt(data);
  // The last byte of the data may be of the same value.
  const ends = new Set([data.length, filling, Math.min(filling + 1, data.length)]);
  const copies = [...ends].map((end) => Buffer.concat([...head, data.subarray(0, end), END_OF_IMAGE]));
  return copies.filter((copy) => !copy.equals(file.subarray(0, Math.max(scans.end, copy.length))));
}

/** Takes what a decoder warned of: {@linkcode rescuedJpeg}. */
interface JpegRescue {
  /** Path, URL or description of the bytes, for messages. */
  readonly source: string;
  /** Told of what is wrong with an image that is taken nevertheless. */
  readonly warnings: RepeatedLine;
  /** The image of a copy, if the decoder is content with it. */
  decodeWhole(copy: Uint8Array): Promise<PackedImage | undefined>;
  /** What the decoder makes of the file itself. @throws If it is not to be taken, given what is wrong with it */
  decodeDamaged(damage: string): Promise<PackedImage>;
}

/** An image, and what is wrong with it. */
export interface RescuedImage {
  readonly image: PackedImage;
  /** Why some of its pixels are not those of the file; `undefined` where all are. */
  readonly damage?: string;
}

/** Look into what a decoder warned of: no other decoder is asked, as others overlook it. */
export async function rescuedJpeg(bytes: Uint8Array, markers: JpegMarkers, rescue: JpegRescue): Promise<RescuedImage> {
  const { source, warnings } = rescue;
  for (const copy of repairedJpegs(bytes, markers)) {
    const image = await rescue.decodeWhole(copy);
    if (image === undefined) continue;
    warnings.tell(`Decoded ${source} despite a harmless fault: every pixel is there`);
    return { image };
  }
  const damage = damageOf(bytes, markers.scanOffset);
  const image = await rescue.decodeDamaged(damage);
  warnings.tell(`Accepted damaged image ${source}: ${damage}`);
  return { image, damage };
}
