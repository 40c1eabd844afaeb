/** @module PictureStream: picture files one after the other in one stream of bytes, such as standard input. */

import { message, VideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { type ByteRange, JpegBoundary, startOfJpeg } from "./jpeg-boundary.ts";

/**
 * How pictures are told apart. `"jpeg"`: JPEG files back to back, as MJPEG cameras write them. `"length"`: each after
 * its length in bytes, u32, little endian.
 */
export type PictureFraming = "jpeg" | "length";

/** Options of {@linkcode readPictures}. */
export interface ReadPicturesOptions {
  readonly framing: PictureFraming;
  /** What the stream is called in messages. Default `"standard input"`. */
  readonly name?: string;
  /** Pictures of more bytes are refused. Default 2^28, 256 MiB. */
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

/** Takes pictures out of the bytes that have come so far. */
interface Splitter {
  /** The next picture; `undefined` if it is not all there yet. */
  next(): Uint8Array | undefined;
  /** After the last bytes: what is left, if it is a picture. */
  rest(): Uint8Array | undefined;
}

/** @returns the error about the picture that is read */
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
      throw this.#refusal(found, "before each picture stands its length in bytes, u32, little endian");
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
  /** Of the file whose first picture was taken last, in the stream. */
  #further: readonly ByteRange[] = [];
  /** True while the bytes begin with a picture. */
  #isBegun = false;
  #hasPicture = false;
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
      const picture = this.#take(end);
      if (picture !== undefined) return picture;
    }
    return undefined;
  }

  /** Of a picture without its end marker every pixel may be there: that is for its decoder to say. */
  rest(): Uint8Array | undefined {
    const byteLength = this.#bytes.length;
    if (this.#isBegun && this.#boundary.isInScan) return this.#take(byteLength);
    if (this.#isBegun) throw this.#refusal(`the stream ends within it, after ${byteLength} bytes`, STOPPED_HINT);
    this.#skip(byteLength);
    if (!this.#hasPicture && this.#skipped > 0) throw this.#noJpeg();
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
    if (start < 0 && !this.#hasPicture && this.#skipped > LONGEST_HEAD_BYTES) throw this.#noJpeg();
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

  /** @returns `undefined` for a further picture of the file before */
  #take(end: number): Uint8Array | undefined {
    const { gone } = this.#bytes;
    const picture = this.#bytes.take(0, end);
    const isFurther = this.#further.some(([start, last]) => start === gone && last === gone + end);
    if (!isFurther) {
      const own = this.#boundary.furtherPictures(picture);
      this.#further = own.map(([start, last]): ByteRange => [start + gone, last + gone]);
    }
    this.#boundary.reset();
    this.#isBegun = false;
    this.#hasPicture = true;
    return isFurther ? undefined : picture;
  }

  #noJpeg(): VideoError {
    const found = `a JPEG begins with ff d8 ff: found ${this.#head}, and none within ${this.#skipped} bytes`;
    return this.#refusal(found, JPEG_HINT);
  }
}

/**
 * Read pictures until the stream ends.
 *
 * Of JPEGs a start marker begins a picture, whatever was before: one without its end marker comes as it is, for its decoder
 * to judge. Bytes between pictures are skipped, and the log says how many. A file of several pictures (MPO, Ultra HDR) is
 * its first one.
 *
 * @returns the bytes of each picture file, a copy of its own; they are not decoded here
 * @throws {VideoError} If a length is 0 or too large, the stream ends within a picture, or holds no JPEG
 */
export async function* readPictures(
  stream: AsyncIterable<Uint8Array>,
  options: ReadPicturesOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { framing, name = "standard input", maxBytes = 2 ** 28 } = options;
  const bytes = new ByteQueue();
  let index = 0;
  const refusal: Refuse = (found, hint) =>
    new VideoError(message(`read picture ${index} from ${name}`, found, hint), name);
  const splitter: Splitter =
    framing === "length"
      ? new LengthSplitter(bytes, maxBytes, refusal)
      : new JpegSplitter(bytes, maxBytes, refusal, name);
  for await (const chunk of stream) {
    bytes.push(chunk);
    for (let picture = splitter.next(); picture !== undefined; picture = splitter.next()) {
      yield picture;
      index += 1;
    }
  }
  const last = splitter.rest();
  if (last !== undefined) yield last;
}
