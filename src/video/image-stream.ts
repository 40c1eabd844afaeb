/** @module ImageStream: image files one after the other in one stream of bytes, such as standard input. */

import { message, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";

/**
 * How images are told apart. `"jpeg"`: JPEG files back to back, as MJPEG cameras write them. `"length"`: each after
 * its length in bytes, u32, little endian.
 */
export type ImageFraming = "jpeg" | "length";

/** Options of {@linkcode readImages}. */
export interface ReadImagesOptions {
  readonly framing: ImageFraming;
  /** What the stream is called in messages. Default `"standard input"`. */
  readonly name?: string;
  /** Images of more bytes are refused. Default 2^28, 256 MiB. */
  readonly maxBytes?: number;
}

const LENGTH_BYTES = 4;
/** A stream that holds no JPEG within so many bytes is none of JPEGs. */
const LONGEST_HEAD_BYTES = 2 ** 16;
const STOPPED_HINT = "the sender may have been stopped";
const JPEG_HINT = "send JPEG files back to back, or use lengths before them";

/** Bytes that have come and were not taken yet. */
class ByteQueue {
  #bytes: Uint8Array = new Uint8Array(0);
  #end = 0;
  #gone = 0;

  get length(): number {
    return this.#end;
  }

  /** Bytes of the stream before those that are here. */
  get gone(): number {
    return this.#gone;
  }

  get view(): Uint8Array {
    return this.#bytes.subarray(0, this.#end);
  }

  push(chunk: Uint8Array): void {
    if (this.#end + chunk.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#end + chunk.length));
      grown.set(this.view);
      this.#bytes = grown;
    }
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /** A copy of the bytes from `start` to `end`; all before `end` go. */
  take(start: number, end: number): Uint8Array {
    const taken = this.#bytes.slice(start, end);
    this.#bytes.copyWithin(0, end, this.#end);
    this.#end -= end;
    this.#gone += end;
    return taken;
  }
}

/** Takes images out of the bytes that have come so far. */
interface Splitter {
  /** The next image; `undefined` if it is not all there yet. */
  next(): Uint8Array | undefined;
  /** After the last bytes: what is left, if it is an image. */
  rest(): Uint8Array | undefined;
}

/** @returns the error about the image that is read */
type Refuse = (found: string, hint: string) => VideoError;

class LengthSplitter implements Splitter {
  readonly #bytes: ByteQueue;
  readonly #maxBytes: number;
  readonly #refusal: Refuse;

  constructor(bytes: ByteQueue, maxBytes: number, refusal: Refuse) {
    this.#bytes = bytes;
    this.#maxBytes = maxBytes;
    this.#refusal = refusal;
  }

  next(): Uint8Array | undefined {
    const { view } = this.#bytes;
    if (view.length < LENGTH_BYTES) return undefined;
    const byteLength = new DataView(view.buffer, view.byteOffset).getUint32(0, true);
    if (byteLength === 0 || byteLength > this.#maxBytes) {
      const found = `its length must be from 1 to ${this.#maxBytes}: found ${byteLength}`;
      throw this.#refusal(found, "before each image stands its length in bytes, u32, little endian");
    }
    if (view.length < LENGTH_BYTES + byteLength) return undefined;
    return this.#bytes.take(LENGTH_BYTES, LENGTH_BYTES + byteLength);
  }

  rest(): undefined {
    const byteLength = this.#bytes.length;
    if (byteLength > 0) throw this.#refusal(`the stream ends within it, after ${byteLength} bytes`, STOPPED_HINT);
  }
}

class JpegSplitter implements Splitter {
  readonly #bytes: ByteQueue;
  readonly #maxBytes: number;
  readonly #refusal: Refuse;
  readonly #name: string;
  readonly #boundary = new JpegBoundary();
  /** Of the file whose first image was taken last, in the stream. */
  #further: readonly ByteRange[] = [];
  /** True while the bytes begin with an image. */
  #isBegun = false;
  #hasImage = false;
  #head = "";
  #skipped = 0;
  #told = 0;

  constructor(bytes: ByteQueue, maxBytes: number, refusal: Refuse, name: string) {
    this.#bytes = bytes;
    this.#maxBytes = maxBytes;
    this.#refusal = refusal;
    this.#name = name;
  }

  next(): Uint8Array | undefined {
    while (this.#begin()) {
      const { view } = this.#bytes;
      const end = this.#boundary.find(view);
      if (end === undefined) {
        if (view.length <= this.#maxBytes) return undefined;
        throw this.#refusal(`it has no end within ${this.#maxBytes} bytes`, JPEG_HINT);
      }
      const image = this.#take(end);
      if (image !== undefined) return image;
    }
    return undefined;
  }

  /** Of an image without its end marker every pixel may be there: that is for its decoder to say. */
  rest(): Uint8Array | undefined {
    const byteLength = this.#bytes.length;
    if (this.#isBegun && this.#boundary.isInScan) return this.#take(byteLength);
    if (this.#isBegun) throw this.#refusal(`the stream ends within it, after ${byteLength} bytes`, STOPPED_HINT);
    this.#skip(byteLength);
    if (!this.#hasImage && this.#skipped > 0) throw this.#noJpeg();
    if (this.#skipped > this.#told) logger.warn(`${this.#name}: skipped ${this.#skipped} bytes between JPEGs in all`);
    return undefined;
  }

  /** Skip what is before the next start marker. @returns false if more bytes are needed */
  #begin(): boolean {
    if (this.#isBegun) return true;
    const { view } = this.#bytes;
    const start = startOfJpeg(view);
    // The last two bytes may be the first of a marker.
    this.#skip(start < 0 ? Math.max(0, view.length - 2) : start);
    if (start < 0 && !this.#hasImage && this.#skipped > LONGEST_HEAD_BYTES) throw this.#noJpeg();
    this.#isBegun = start >= 0;
    if (this.#isBegun && this.#skipped > 0 && this.#told === 0) {
      this.#told = this.#skipped;
      logger.warn(`${this.#name}: skipped ${this.#skipped} bytes before a JPEG; what follows of that kind is counted`);
    }
    return this.#isBegun;
  }

  #skip(byteLength: number): void {
    if (byteLength === 0) return;
    const skipped = this.#bytes.take(0, byteLength);
    if (this.#skipped === 0) this.#head = Buffer.from(skipped.subarray(0, 4)).toString("hex");
    this.#skipped += byteLength;
  }

  /** @returns `undefined` for a further image of the file before */
  #take(end: number): Uint8Array | undefined {
    const { gone } = this.#bytes;
    const image = this.#bytes.take(0, end);
    const isFurther = this.#further.some(([start, last]) => start === gone && last === gone + end);
    if (!isFurther) {
      const own = this.#boundary.furtherImages(image);
      this.#further = own.map(([start, last]): ByteRange => [start + gone, last + gone]);
    }
    this.#boundary.reset();
    this.#isBegun = false;
    this.#hasImage = true;
    return isFurther ? undefined : image;
  }

  #noJpeg(): VideoError {
    const found = `a JPEG begins with ff d8 ff: found ${this.#head}, and none within ${this.#skipped} bytes`;
    return this.#refusal(found, JPEG_HINT);
  }
}

/**
 * Read images until the stream ends.
 *
 * Of JPEGs a start marker begins an image, whatever was before: one without its end marker comes as it is, for its decoder
 * to judge. Bytes between images are skipped, and the log says how many. A file of several images (MPO, Ultra HDR) is
 * its first one.
 *
 * @returns the bytes of each image file, a copy of its own; they are not decoded here
 * @throws {VideoError} If a length is 0 or too large, the stream ends within an image, or holds no JPEG
 */
export async function* readImages(
  stream: AsyncIterable<Uint8Array>,
  options: ReadImagesOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { framing, name = "standard input", maxBytes = 2 ** 28 } = options;
  const bytes = new ByteQueue();
  let index = 0;
  const refusal: Refuse = (found, hint) =>
    new VideoError(message(`read image ${index} from ${name}`, found, hint), name);
  const splitter: Splitter =
    framing === "length"
      ? new LengthSplitter(bytes, maxBytes, refusal)
      : new JpegSplitter(bytes, maxBytes, refusal, name);
  for await (const chunk of stream) {
    bytes.push(chunk);
    for (let image = splitter.next(); image !== undefined; image = splitter.next()) {
      yield image;
      index += 1;
    }
  }
  const last = splitter.rest();
  if (last !== undefined) yield last;
}

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP2 = 0xe2;
/** "MPF\0": the index of a file with several images. */
const MPF = 0x4d504600;
const MP_ENTRIES = 0xb002;
const MP_ENTRY_BYTES = 16;

/** First and last offset (exclusive) of something, in bytes. */
export type ByteRange = readonly [start: number, end: number];

/** Offset of the next start marker, with the marker that has to follow it; -1 if there is none. */
export function startOfJpeg(bytes: Uint8Array, from = 0): number {
  for (let at = bytes.indexOf(0xff, from); at >= 0 && at + 2 < bytes.length; at = bytes.indexOf(0xff, at + 1)) {
    if (bytes[at + 1] === SOI && bytes[at + 2] === 0xff) return at;
  }
  return -1;
}

/** A segment that was cut off reaches into the next image: its start marker is there, and no end, as a thumbnail has. */
function cutAt(bytes: Uint8Array, start: number, end: number): number {
  if (bytes[end] === 0xff) return -1;
  const at = startOfJpeg(bytes.subarray(0, end), start);
  if (at < 0) return -1;
  for (let next = at + 2; next + 1 < end; next++) if (bytes[next] === 0xff && bytes[next + 1] === EOI) return -1;
  return at;
}

/** Follows the markers of the JPEG at the start of the bytes, as more of them come. */
export class JpegBoundary {
  #at = 2;
  #isInScan = false;
  #index: number | undefined;

  /** True once pixels have begun. */
  get isInScan(): boolean {
    return this.#isInScan;
  }

  /**
   * Look on from where the last call ended.
   *
   * @returns offset past the end marker, or of the next start marker where there is no end; `undefined` if the image goes on
   */
  find(bytes: Uint8Array): number | undefined {
    while (this.#at + 1 < bytes.length) {
      if (bytes[this.#at] !== 0xff) {
        const next = bytes.indexOf(0xff, this.#at);
        // Between the segments there are only markers; bytes that are none are skipped, as decoders do.
        this.#at = next < 0 ? bytes.length : next;
        continue;
      }
      const marker = bytes[this.#at + 1]!;
      if (marker === EOI) return this.#at + 2;
      if (marker === SOI) {
        if (this.#at + 2 >= bytes.length) return undefined;
        if (bytes[this.#at + 2] === 0xff) return this.#at;
      }
      if (marker === 0xff) this.#at += 1;
      else if (marker <= 1 || (marker >= 0xd0 && marker <= SOI)) this.#at += 2;
      else {
        const end = this.#segmentEnd(bytes, marker);
        if (end === undefined) return undefined;
        const cut = cutAt(bytes, this.#at + 2, end);
        if (cut >= 0) return cut;
        this.#at = end;
      }
    }
    return undefined;
  }

  /** A thumbnail inside a segment has markers of its own: segments are stepped over, once they are here. */
  #segmentEnd(bytes: Uint8Array, marker: number): number | undefined {
    const at = this.#at;
    if (at + 3 >= bytes.length) return undefined;
    const end = at + 2 + ((bytes[at + 2]! << 8) | bytes[at + 3]!);
    if (end >= bytes.length) return undefined;
    if (marker === SOS) this.#isInScan = true;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (marker === APP2 && end > at + 8 && view.getUint32(at + 4) === MPF) this.#index = at + 8;
    return end;
  }

  /**
   * Where the further images of the same file lie, such as a phone's depth or gain map, by the file's index (CIPA DC-007).
   *
   * @param image the whole first image; ranges are relative to its start
   */
  furtherImages(image: Uint8Array): ByteRange[] {
    const base = this.#index;
    if (base === undefined) return [];
    const view = new DataView(image.buffer, image.byteOffset + base, image.byteLength - base);
    try {
      const isLittle = view.getUint16(0) === 0x4949;
      const directory = view.getUint32(4, isLittle);
      for (let entry = 0; entry < view.getUint16(directory, isLittle); entry++) {
        const at = directory + 2 + entry * 12;
        if (view.getUint16(at, isLittle) !== MP_ENTRIES) continue;
        const count = Math.floor(view.getUint32(at + 4, isLittle) / MP_ENTRY_BYTES);
        const list = view.getUint32(at + 8, isLittle);
        // The first one is this image.
        return Array.from({ length: Math.min(count, 64) - 1 }, (_, index): ByteRange => {
          const place = list + (index + 1) * MP_ENTRY_BYTES;
          const start = base + view.getUint32(place + 8, isLittle);
          return [start, start + view.getUint32(place + 4, isLittle)];
        });
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error; // a broken index names nothing
    }
    return [];
  }

  /** Begin with another image. */
  reset(): void {
    this.#at = 2;
    this.#isInScan = false;
    this.#index = undefined;
  }
}
