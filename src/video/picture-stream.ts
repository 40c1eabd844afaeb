/** @module PictureStream: picture files one after the other in one stream of bytes, such as standard input. */

import { message, VideoError } from "../core/errors.ts";

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

/** Bytes that have come and were not taken yet. */
class ByteQueue {
  #bytes: Uint8Array = new Uint8Array(0);
  #end = 0;

  get length(): number {
    return this.#end;
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
    return taken;
  }
}

/** Where the JPEG at the start of the bytes ends; `undefined` if it goes on. Begins its search where the last one ended. */
class JpegEnd {
  #at = 2;

  /** @returns offset past the end marker */
  find(bytes: Uint8Array): number | undefined {
    while (this.#at + 1 < bytes.length) {
      if (bytes[this.#at] !== 0xff) {
        const next = bytes.indexOf(0xff, this.#at);
        // Between the segments there are only markers; bytes that are none are skipped, as decoders do.
        this.#at = next < 0 ? bytes.length : next;
        continue;
      }
      const marker = bytes[this.#at + 1]!;
      if (marker === 0xff) this.#at += 1;
      else if (marker === 0xd9) return this.#at + 2;
      else if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) this.#at += 2;
      else if (this.#at + 3 >= bytes.length) return undefined;
      // A thumbnail inside a segment has end markers of its own: segments are stepped over.
      else this.#at += 2 + ((bytes[this.#at + 2]! << 8) | bytes[this.#at + 3]!);
    }
    return undefined;
  }

  reset(): void {
    this.#at = 2;
  }
}

/**
 * Read pictures until the stream ends.
 *
 * @returns the bytes of each picture file, a copy of its own; they are not decoded here
 * @throws {VideoError} If a length is 0 or too large, the stream ends within a picture, or bytes are no JPEG
 */
export async function* readPictures(
  stream: AsyncIterable<Uint8Array>,
  options: ReadPicturesOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { framing, name = "standard input", maxBytes = 2 ** 28 } = options;
  const bytes = new ByteQueue();
  const end = new JpegEnd();
  let index = 0;
  const refusal = (found: string, hint: string): VideoError =>
    new VideoError(message(`read picture ${index} from ${name}`, found, hint), name);
  const jpegHint = "send JPEG files back to back, or use lengths before them";

  const next = (): Uint8Array | undefined => {
    const { view } = bytes;
    if (framing === "length") {
      if (view.length < LENGTH_BYTES) return undefined;
      const byteLength = new DataView(view.buffer, view.byteOffset).getUint32(0, true);
      if (byteLength === 0 || byteLength > maxBytes) {
        const found = `as its length must be from 1 to ${maxBytes}: found ${byteLength}`;
        throw refusal(found, "before each picture stands its length in bytes, u32, little endian");
      }
      return view.length < LENGTH_BYTES + byteLength ? undefined : bytes.take(LENGTH_BYTES, LENGTH_BYTES + byteLength);
    }
    if (view.length < 2) return undefined;
    if (view[0] !== 0xff || view[1] !== 0xd8) {
      const found = `as a JPEG begins with ff d8: found ${Buffer.from(view.subarray(0, 4)).toString("hex")}`;
      throw refusal(found, jpegHint);
    }
    const at = end.find(view);
    if (at === undefined) {
      if (view.length > maxBytes) throw refusal(`as it has no end within ${maxBytes} bytes`, jpegHint);
      return undefined;
    }
    end.reset();
    return bytes.take(0, at);
  };

  for await (const chunk of stream) {
    bytes.push(chunk);
    for (let picture = next(); picture !== undefined; picture = next()) {
      yield picture;
      index += 1;
    }
  }
  if (bytes.length > 0) {
    throw refusal(`as the stream ends within it, after ${bytes.length} bytes`, "the sender may have been stopped");
  }
}
