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
  readonly name?: string | undefined;
  /** Images of more bytes are refused. Default 2^28, 256 MiB. */
  readonly maxBytes?: number | undefined;
}

const LENGTH_BYTES = 4;
/** A stream that holds no JPEG within so many bytes is none of JPEGs. */
const LONGEST_HEAD_BYTES = 2 ** 16;
const JPEG_HINT = "send JPEG files back to back, or use lengths before them";

/** Bytes of a stream that have come and were not taken yet. */
class ByteQueue {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #bytes: Uint8Array = new Uint8Array(0);
  #end = 0;
  /** Bytes of the stream before those that are here. */
  gone = 0;

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  get length(): number {
    return this.#end;
  }

  get view(): Uint8Array {
    return this.#bytes.subarray(0, this.#end);
  }

  /** Wait for more. @returns false at the end of the stream */
  async more(): Promise<boolean> {
    const { done, value: chunk } = await this.#chunks.next();
    if (done === true) return false;
    if (this.#end + chunk.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#end + chunk.length));
      grown.set(this.view);
      this.#bytes = grown;
    }
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
    return true;
  }

  /** Wait for so many bytes. @returns false if the stream ends before */
  async atLeast(byteLength: number): Promise<boolean> {
    while (this.#end < byteLength) if (!(await this.more())) return false;
    return true;
  }

  /** A copy of the bytes from `start` to `end`; all before `end` go. */
  take(start: number, end: number): Uint8Array {
    const taken = this.#bytes.slice(start, end);
    this.#bytes.copyWithin(0, end, this.#end);
    this.#end -= end;
    this.gone += end;
    return taken;
  }

  /** Leave the stream. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** What images are read with. */
interface ImageInput {
  readonly bytes: ByteQueue;
  readonly name: string;
  readonly maxBytes: number;
  /** @returns the error about the image that is read */
  refusal(found: string, hint: string): VideoError;
}

function cutShort({ bytes, refusal }: ImageInput): VideoError {
  return refusal(`the stream ends within it, after ${bytes.length} bytes`, "the sender may have been stopped");
}

async function* imagesByLength(input: ImageInput): AsyncGenerator<Uint8Array, void, undefined> {
  const { bytes, maxBytes, refusal } = input;
  while (await bytes.atLeast(LENGTH_BYTES)) {
    const { buffer, byteOffset } = bytes.view;
    const byteLength = new DataView(buffer, byteOffset).getUint32(0, true);
    if (byteLength === 0 || byteLength > maxBytes) {
      const found = `its length must be from 1 to ${maxBytes}, got ${byteLength}`;
      throw refusal(found, "before each image stands its length in bytes, u32, little endian");
    }
    if (!(await bytes.atLeast(LENGTH_BYTES + byteLength))) throw cutShort(input);
    yield bytes.take(LENGTH_BYTES, LENGTH_BYTES + byteLength);
  }
  if (bytes.length > 0) throw cutShort(input);
}

/** Takes JPEGs out of a stream. */
class JpegReader {
  readonly #input: ImageInput;
  readonly #bytes: ByteQueue;
  /** Of the file whose first image was taken last, in the stream. */
  #further: readonly ByteRange[] = [];
  #hasImage = false;
  #head = "";
  #skipped = 0;
  #told = 0;

  constructor(input: ImageInput) {
    this.#input = input;
    this.#bytes = input.bytes;
  }

  async *images(): AsyncGenerator<Uint8Array, void, undefined> {
    while (await this.#findStart()) {
      const boundary = new JpegBoundary();
      const end = await this.#findEnd(boundary);
      const { gone } = this.#bytes;
      const image = this.#bytes.take(0, end);
      this.#hasImage = true;
      // A further image of the file before is none of its own.
      if (this.#further.some(([start, last]) => start === gone && last === gone + end)) continue;
      this.#further = boundary.furtherImages(image).map(([start, last]): ByteRange => [start + gone, last + gone]);
      yield image;
    }
    if (!this.#hasImage && this.#skipped > 0) throw this.#noJpeg();
    if (this.#skipped <= this.#told) return;
    logger.warn(`${this.#input.name}: skipped ${this.#skipped} bytes between JPEGs in all`);
  }

  /** Skip what is before the next start marker. @returns false if there is none */
  async #findStart(): Promise<boolean> {
    for (;;) {
      const { view } = this.#bytes;
      const start = startOfJpeg(view);
      // The last two bytes may be the first of a marker.
      this.#skip(start < 0 ? Math.max(0, view.length - 2) : start);
      if (start >= 0) break;
      if (!this.#hasImage && this.#skipped > LONGEST_HEAD_BYTES) throw this.#noJpeg();
      if (await this.#bytes.more()) continue;
      this.#skip(this.#bytes.length);
      return false;
    }
    if (this.#skipped > 0 && this.#told === 0) {
      this.#told = this.#skipped;
      logger.warn(`${this.#input.name}: skipped ${this.#skipped} bytes before a JPEG; further ones are only counted`);
    }
    return true;
  }

  /** @returns offset past the image that the bytes begin with */
  async #findEnd(boundary: JpegBoundary): Promise<number> {
    const { maxBytes, refusal } = this.#input;
    for (;;) {
      const { view } = this.#bytes;
      const end = boundary.find(view);
      if (end !== undefined) return end;
      if (view.length > maxBytes) throw refusal(`it has no end within ${maxBytes} bytes`, JPEG_HINT);
      if (await this.#bytes.more()) continue;
      // Of an image without its end marker every pixel may be there: that is for its decoder to say.
      if (boundary.isInScan) return view.length;
      throw cutShort(this.#input);
    }
  }

  #skip(byteLength: number): void {
    if (byteLength === 0) return;
    const skipped = this.#bytes.take(0, byteLength);
    if (this.#skipped === 0) this.#head = skipped.subarray(0, 4).toHex();
    this.#skipped += byteLength;
  }

  #noJpeg(): VideoError {
    const found = `none of its ${this.#skipped} bytes begin a JPEG (ff d8 ff), and the first are ${this.#head}`;
    return this.#input.refusal(found, JPEG_HINT);
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
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { readImages } from "bun-tensorrt/video";
 *
 * await using detector = await Detector.load("yolo11n");
 * const stream = Bun.file("street.jpg").stream(); // or Bun.stdin.stream(), with one JPEG after the other
 * for await (const bytes of readImages(stream, { framing: "jpeg" })) {
 *   console.log((await detector.detect(bytes)).detections.length);
 * }
 * ```
 */
export async function* readImages(
  stream: AsyncIterable<Uint8Array>,
  options: ReadImagesOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { framing, name = "standard input", maxBytes = 2 ** 28 } = options;
  let index = 0;
  const bytes = new ByteQueue(stream);
  const refusal = (found: string, hint: string): VideoError =>
    new VideoError(message(`read image ${index} from ${name}`, found, hint), name);
  const input = { bytes, name, maxBytes, refusal };
  try {
    for await (const image of framing === "length" ? imagesByLength(input) : new JpegReader(input).images()) {
      yield image;
      index += 1;
    }
  } finally {
    await bytes.close();
  }
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
type ByteRange = readonly [start: number, end: number];

/** Offset of the next start marker, with the marker that has to follow it; -1 if there is none. */
function startOfJpeg(bytes: Uint8Array, from = 0): number {
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
class JpegBoundary {
  #at = 2;
  #index: number | undefined;
  /** True once pixels have begun. */
  isInScan = false;

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
    if (marker === SOS) this.isInScan = true;
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
}
