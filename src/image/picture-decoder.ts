/** @module PictureDecoder: picture files to upright RGB, frame after frame, in memory that is kept. */

import { allocate } from "../core/dtype.ts";
import { ImageError, LibraryLoadError, message } from "../core/errors.ts";
import { grownLength } from "../core/grown-length.ts";
import { logger } from "../core/log.ts";
import { RepeatedLine } from "../core/repeated-line.ts";
import { Resource } from "../core/resource.ts";
import { findTurboJpeg } from "../ffi/turbojpeg.ts";
import { tooLargeError } from "./decode-errors.ts";
import { swapsSides } from "./exif.ts";
import type { PackedImage } from "./image.ts";
import { JpegDecoder, type JpegHeader, jpegScale } from "./jpeg-decoder.ts";
import { LARGEST_ORIENTABLE, orient } from "./orientation.ts";
import { pictureKind } from "./picture-kind.ts";
import { decodeWithSharp } from "./sharp-decode.ts";

/** Pictures with more pixels are refused unless the caller raises the limit: 268 million, 768 MiB of RGB. */
export const DEFAULT_MAX_PIXELS: number = 2 ** 28;

/** How one picture is decoded. */
export interface PictureDecodeOptions {
  /** Refuse pictures with more pixels, before any is allocated; default {@linkcode DEFAULT_MAX_PIXELS}. */
  readonly maxPixels?: number;
  /**
   * Where fewer pixels will do: a JPEG may come at 1/2, 1/4 or 1/8 of its size, which decodes faster, but never narrower
   * than this; pixels. Only libturbojpeg uses it. Default: the whole size.
   */
  readonly minWidth?: number;
  /** As `minWidth`, for the height. */
  readonly minHeight?: number;
  /** `either`: one of the two sides is enough, as where the picture is fitted inside at its own ratio. Default `both`. */
  readonly needs?: "both" | "either";
  /** `keep`: a file with an alpha channel gives RGBA. Default `drop`: all files give RGB. */
  readonly alpha?: "drop" | "keep";
}

/**
 * A picture that came from a file: RGB, upright, tight rows; RGBA where alpha was to be kept and there is any. Alpha that is
 * dropped is not blended; colour profiles are ignored.
 */
export interface DecodedImage extends PackedImage {
  /** Width of the file in pixels, upright; larger than `width` where the picture was shrunk while decoding. */
  readonly sourceWidth: number;
  /** Height of the file in pixels, upright. */
  readonly sourceHeight: number;
}

/** What {@linkcode PictureDecoder.create} takes. */
export interface PictureDecoderOptions {
  /**
   * Where the pixels go: called when more bytes than before are needed, after which the former memory is not used any
   * more. For pinned memory; it stays its owner's. Default: JS memory, with a quarter to spare from the second time on.
   */
  readonly allocate?: (byteLength: number) => Uint8Array;
}

let isAbsenceLogged = false;

function createJpegDecoder(): JpegDecoder | undefined {
  const library = findTurboJpeg();
  if (!(library instanceof LibraryLoadError)) return JpegDecoder.create();
  if (!isAbsenceLogged) logger.info(`JPEG is decoded by sharp, which is slower. ${library.message}`);
  isAbsenceLogged = true;
  return undefined;
}

/** Memory in the place of some that was too small. For a single picture there is nothing to spare. */
function larger(former: Uint8Array, byteLength: number): Uint8Array {
  return allocate("u8", former.length === 0 ? byteLength : grownLength(byteLength));
}

/**
 * Decodes picture files one after the other: JPEG through libturbojpeg where the machine has it, everything else, and
 * JPEG without it, through sharp; both give the same pixels. One call at a time: make one per picture in flight.
 *
 * @example Frames from a camera
 * ```ts
 * using decoder = PictureDecoder.create();
 * for await (const bytes of frames) {
 *   const image = await decoder.decode(bytes, "camera"); // valid until the next decode
 * }
 * ```
 */
export class PictureDecoder extends Resource {
  readonly #jpeg: JpegDecoder | undefined;
  readonly #allocate: ((byteLength: number) => Uint8Array) | undefined;
  #memory: Uint8Array = new Uint8Array(0);
  /** Stored pixels of pictures that must be turned. */
  #sideways: Uint8Array = new Uint8Array(0);
  /** A client that sends nothing but damaged files must not fill the log. */
  readonly #warnings = new RepeatedLine((text) => logger.warn(text));
  #isBusy = false;

  private constructor(jpeg: JpegDecoder | undefined, options: PictureDecoderOptions) {
    super("PictureDecoder");
    this.#jpeg = jpeg;
    this.#allocate = options.allocate;
  }

  /** A new decoder; without libturbojpeg it logs one line, once a process, and uses sharp. */
  static create(options: PictureDecoderOptions = {}): PictureDecoder {
    return new PictureDecoder(createJpegDecoder(), options);
  }

  /**
   * Decode a picture file off the JS thread.
   *
   * @param bytes  the whole file; not to be changed until the promise settles
   * @param source path, URL or description (`a frame of camera 2`) for messages
   * @returns RGB, or RGBA where alpha is kept, over memory of this decoder, valid until its next `decode`
   * @throws {ImageError} If the bytes are not a picture, cut short, damaged, or have more pixels than allowed
   */
  async decode(bytes: Uint8Array, source: string, options: PictureDecodeOptions = {}): Promise<DecodedImage> {
    this.assertOpen("decode a picture");
    if (this.#isBusy) {
      const found = "as the decoder takes one call at a time, and one is in flight";
      throw new Error(message("decode a picture", found, "await the former call, or make one decoder per picture"));
    }
    this.#isBusy = true;
    try {
      return (await this.#decodeJpeg(bytes, source, options)) ?? (await this.#decodeOther(bytes, source, options));
    } finally {
      this.#isBusy = false;
    }
  }

  /** Through sharp, into this decoder's memory. */
  async #decodeOther(bytes: Uint8Array, source: string, options: PictureDecodeOptions): Promise<DecodedImage> {
    const { maxPixels = DEFAULT_MAX_PIXELS, alpha = "drop" } = options;
    const image = await decodeWithSharp(bytes, source, { maxPixels, alpha, warnings: this.#warnings });
    const memory = this.#room(image.data.length);
    memory.set(image.data);
    return { ...image, data: memory, sourceWidth: image.width, sourceHeight: image.height };
  }

  /** Through libturbojpeg; `undefined` for what it is not there for or refuses, on which sharp has the last word. */
  async #decodeJpeg(
    bytes: Uint8Array,
    source: string,
    options: PictureDecodeOptions,
  ): Promise<DecodedImage | undefined> {
    const header = this.#readHeader(bytes, source);
    if (header === undefined) return undefined;
    const { orientation } = header;
    const { minWidth, minHeight, needs, maxPixels = DEFAULT_MAX_PIXELS } = options;
    const sourceWidth = swapsSides(orientation) ? header.height : header.width;
    const sourceHeight = swapsSides(orientation) ? header.width : header.height;
    if (sourceWidth * sourceHeight > maxPixels) throw tooLargeError(source, sourceWidth, sourceHeight, maxPixels);
    const isPart = minWidth !== undefined || minHeight !== undefined;
    const scale = isPart ? jpegScale(sourceWidth, sourceHeight, minWidth ?? 1, minHeight ?? 1, needs) : 1;
    const byteLength = Math.ceil(header.width / scale) * Math.ceil(header.height / scale) * 3;
    if (orientation !== 1 && byteLength > LARGEST_ORIENTABLE) return undefined;
    const memory = this.#room(byteLength);
    if (orientation !== 1 && this.#sideways.length < byteLength) this.#sideways = larger(this.#sideways, byteLength);
    let image: PackedImage;
    try {
      image = await this.#jpeg!.decode(bytes, header, orientation === 1 ? memory : this.#sideways, { source, scale });
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      this.#warnings.tell(`Decoding again with sharp. ${error.message}`);
      return undefined;
    }
    if (orientation !== 1) image = await orient(image, orientation, memory);
    return { ...image, sourceWidth, sourceHeight };
  }

  #readHeader(bytes: Uint8Array, source: string): JpegHeader | undefined {
    if (this.#jpeg === undefined || pictureKind(bytes)?.name !== "JPEG") return undefined;
    try {
      const header = this.#jpeg.readHeader(bytes, source);
      return header.isCmyk ? undefined : header;
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      logger.debug(`Decoding with sharp. ${error.message}`);
      return undefined;
    }
  }

  /** Memory of exactly this length, the same as for the former picture where that is enough. */
  #room(byteLength: number): Uint8Array {
    if (this.#memory.length < byteLength) {
      this.#memory = this.#allocate?.(byteLength) ?? larger(this.#memory, byteLength);
    }
    return this.#memory.length === byteLength ? this.#memory : this.#memory.subarray(0, byteLength);
  }

  protected release(): void {
    this.#jpeg?.close();
  }
}
