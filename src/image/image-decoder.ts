/** @module ImageDecoder: image files to upright RGB, frame after frame, in memory that is kept. */

import { BunTensorRtError, ImageError, LibraryLoadError, message } from "../core/errors.ts";
import { logger, RepeatedLine } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { allocate } from "../core/tensor.ts";
import { type DevicePtr, grownLength } from "../core/units.ts";
import { findTurboJpeg } from "../ffi/turbojpeg.ts";
import {
  assertJpegScans,
  DEFAULT_DECODE_TIMEOUT_MS,
  type DecodingLimits,
  decodeGate,
  imageKind,
  tooLargeError,
  undecodableError,
} from "./decode-limits.ts";
import { LARGEST_ORIENTABLE, orient, swapsSides } from "./exif.ts";
import { freePixels, type Image } from "./image.ts";
import { DEFAULT_MAX_PIXELS } from "./image-options.ts";
import {
  JpegDecoder,
  type JpegHeader,
  type JpegScale,
  jpegScale,
  type RescuedImage,
  rescuedJpeg,
} from "./jpeg-decoder.ts";
import { decodeWithSharp } from "./sharp.ts";

/** How one image is decoded. */
export interface ImageDecodeOptions extends DecodingLimits {
  /**
   * Where fewer pixels will do: a JPEG may come at 1/2, 1/4 or 1/8 of its size, which decodes faster, but never narrower
   * than this; pixels. Only libturbojpeg uses it. Default: the whole size.
   */
  readonly minWidth?: number | undefined;
  /** As `minWidth`, for the height. */
  readonly minHeight?: number | undefined;
  /** `either`: one of the two sides is enough, as where the image is fitted inside at its own ratio. Default `both`. */
  readonly needs?: "both" | "either" | undefined;
  /** `keep`: a file with an alpha channel gives RGBA. Default `drop`: all files give RGB. */
  readonly alpha?: "drop" | "keep" | undefined;
  /** `keep`: a grey file of 16 bits gives GREY16, one with alpha that is kept RGBA16. Default `drop`: all files give 8 bits. */
  readonly depth?: "drop" | "keep" | undefined;
}

/** A decoded image in device memory: upright RGB, u8 [height, width, 3], rows `pitchBytes` apart. */
export interface ResidentImage {
  readonly format: "RGB";
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Width of the file in pixels, upright; larger than `width` where the image was shrunk while decoding. */
  readonly sourceWidth: number;
  readonly sourceHeight: number;
  /** With `damaged: "take"`: why some of the pixels are not those of the file. */
  readonly damage?: string;
  /** Borrowed from what decoded it. */
  readonly pixels: DevicePtr;
  readonly pitchBytes: number;
}

/** How images were decoded by a device that decodes JPEG. */
export interface JpegCounts {
  /** Decoded on the device. */
  readonly gpu: number;
  /** Decoded on the CPU. */
  readonly cpu: number;
  /** No images, or damaged: the CPU's decoder refused them as well. */
  readonly failed: number;
  /** Why images went to the CPU. */
  readonly refusals: Readonly<Record<string, number>>;
}

/**
 * An image that came from a file: RGB, upright, tight rows; RGBA where alpha was to be kept and there is any. Alpha that is
 * dropped is not blended; colour profiles are ignored.
 */
export interface DecodedImage extends Image {
  /** Width of the file in pixels, upright; larger than `width` where the image was shrunk while decoding. */
  readonly sourceWidth: number;
  /** Height of the file in pixels, upright. */
  readonly sourceHeight: number;
  /** With `damaged: "take"`: why some of the pixels are not those of the file. */
  readonly damage?: string;
}

/** What {@linkcode ImageDecoder.create} takes. */
interface ImageDecoderOptions {
  /**
   * Where the pixels go: called when more bytes than before are needed, after which the former memory is not used any
   * more. For pinned memory; it stays its owner's. Default: JS memory, with a quarter to spare from the second time on.
   */
  readonly allocate?: ((byteLength: number) => Uint8Array) | undefined;
  /**
   * Goes with `allocate`: decoding took too long, and native code may write to the memory that was given last until `ended`
   * settles. What `allocate` gives next must be other memory.
   */
  readonly abandon?: ((ended: Promise<unknown>) => void) | undefined;
}

/** What is there of a damaged image where nothing was decoded. */
const GREY = 128;

let isAbsenceLogged = false;

function createJpegDecoder(): JpegDecoder | undefined {
  const library = findTurboJpeg();
  if (!(library instanceof LibraryLoadError)) return JpegDecoder.create();
  if (!isAbsenceLogged) logger.info(`JPEG is decoded by sharp, which is slower. ${library.message}`);
  isAbsenceLogged = true;
  return undefined;
}

/** `undefined` for what sharp may know more of: a broken header, and CMYK. */
function readHeader(jpeg: JpegDecoder, bytes: Uint8Array, source: string): JpegHeader | undefined {
  try {
    const header = jpeg.readHeader(bytes, source);
    return header.isCmyk ? undefined : header;
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    logger.debug(`Decoding with sharp. ${error.message}`);
    return undefined;
  }
}

/** Memory in the place of some that was too small. For a single image there is nothing to spare. */
function larger(former: Uint8Array, byteLength: number): Uint8Array {
  return allocate("u8", former.length === 0 ? byteLength : grownLength(byteLength));
}

/** What native code of a decode uses; one that takes too long keeps it for good. */
class Workplace {
  readonly jpeg: JpegDecoder | undefined = createJpegDecoder();
  readonly #allocate: ((byteLength: number) => Uint8Array) | undefined;
  #memory: Uint8Array = new Uint8Array(0);
  #sideways: Uint8Array = new Uint8Array(0);
  #isAbandoned = false;

  constructor(allocateRoom: ((byteLength: number) => Uint8Array) | undefined) {
    this.#allocate = allocateRoom;
  }

  /** Memory of exactly this length, the same as for the former image where that is enough. */
  room(byteLength: number): Uint8Array {
    // The memory of others is not to be asked for any more; nobody waits for what is decoded into this.
    if (this.#isAbandoned) return new Uint8Array(byteLength);
    if (this.#memory.length < byteLength) {
      this.#memory = this.#allocate?.(byteLength) ?? larger(this.#memory, byteLength);
    }
    return this.#memory.length === byteLength ? this.#memory : this.#memory.subarray(0, byteLength);
  }

  /** Likewise, for the stored pixels of images that must be turned. */
  sideways(byteLength: number): Uint8Array {
    if (this.#sideways.length < byteLength) this.#sideways = larger(this.#sideways, byteLength);
    return this.#sideways;
  }

  abandon(): void {
    this.#isAbandoned = true;
    this.jpeg?.close();
  }
}

/**
 * Decodes image files one after the other: JPEG through libturbojpeg where the machine has it, everything else, and
 * JPEG without it, through sharp; both give the same pixels. One call at a time: make one per image in flight.
 *
 * Frames from a camera:
 * ```ts
 * using decoder = ImageDecoder.create();
 * for await (const bytes of frames) {
 *   const image = await decoder.decode(bytes, "camera"); // valid until the next decode
 * }
 * ```
 */
export class ImageDecoder extends Resource {
  readonly #options: ImageDecoderOptions;
  #workplace: Workplace;
  /** A client that sends nothing but damaged files must not fill the log. */
  readonly #warnings = new RepeatedLine((text) => logger.warn(text));
  #isBusy = false;

  private constructor(options: ImageDecoderOptions) {
    super("ImageDecoder");
    this.#options = options;
    this.#workplace = new Workplace(options.allocate);
  }

  /** A new decoder; without libturbojpeg it logs one line, once a process, and uses sharp. */
  static create(options: ImageDecoderOptions = {}): ImageDecoder {
    return new ImageDecoder(options);
  }

  /**
   * Decode an image file off the JS thread.
   *
   * @param bytes  the whole file; not to be changed until the promise settles
   * @param source path, URL or description (`a frame of camera 2`) for messages
   * @returns RGB, or RGBA where alpha is kept, over memory of this decoder, valid until its next `decode`
   * @throws {ImageError} If the bytes are not an image, cut short, damaged, or cost more than allowed: pixels, scans, time
   * @throws {DecodeStalledError} If every thread is held by images that take longer than allowed
   */
  async decode(bytes: Uint8Array, source: string, options: ImageDecodeOptions = {}): Promise<DecodedImage> {
    this.assertOpen("decode an image");
    if (this.#isBusy) {
      const found = "the decoder takes one call at a time, and one is in flight";
      throw new BunTensorRtError(
        message("decode an image", found, "await the former call, or make one decoder per image"),
      );
    }
    this.#isBusy = true;
    try {
      const { decodeTimeoutMs = DEFAULT_DECODE_TIMEOUT_MS } = options;
      const workplace = this.#workplace;
      const work = (): Promise<DecodedImage> => this.#decode(workplace, bytes, source, options);
      return await decodeGate.run(work, source, decodeTimeoutMs, (ended) => this.#abandon(ended));
    } finally {
      this.#isBusy = false;
    }
  }

  /** Go on without what native code still uses. */
  #abandon(ended: Promise<unknown>): void {
    this.#workplace.abandon();
    this.#options.abandon?.(ended.catch(() => undefined));
    if (!this.closed) this.#workplace = new Workplace(this.#options.allocate);
  }

  async #decode(
    workplace: Workplace,
    bytes: Uint8Array,
    source: string,
    options: ImageDecodeOptions,
  ): Promise<DecodedImage> {
    return (
      (await this.#decodeJpeg(workplace, bytes, source, options)) ??
      (await this.#decodeOther(workplace, bytes, source, options))
    );
  }

  /** Through sharp, into this decoder's memory. */
  async #decodeOther(
    workplace: Workplace,
    bytes: Uint8Array,
    source: string,
    options: ImageDecodeOptions,
  ): Promise<DecodedImage> {
    const { maxPixels = DEFAULT_MAX_PIXELS, alpha = "drop", depth = "drop", vectors = false } = options;
    const { damaged = "refuse" } = options;
    const { decodeTimeoutMs: timeoutMs = DEFAULT_DECODE_TIMEOUT_MS } = options;
    const warnings = this.#warnings;
    const image = await decodeWithSharp(bytes, source, {
      maxPixels,
      alpha,
      depth,
      damaged,
      vectors,
      timeoutMs,
      warnings,
    });
    const memory = workplace.room(image.data.length);
    memory.set(image.data);
    freePixels(image.data);
    return { ...image, data: memory, sourceWidth: image.width, sourceHeight: image.height };
  }

  /** Through libturbojpeg; `undefined` for what it is not there for or cannot decode, of which sharp may know more. */
  async #decodeJpeg(
    workplace: Workplace,
    bytes: Uint8Array,
    source: string,
    options: ImageDecodeOptions,
  ): Promise<DecodedImage | undefined> {
    const { jpeg } = workplace;
    if (jpeg === undefined || imageKind(bytes)?.name !== "JPEG") return undefined;
    const header = readHeader(jpeg, bytes, source);
    if (header === undefined) return undefined;
    const { orientation } = header;
    const { minWidth, minHeight, needs, maxPixels = DEFAULT_MAX_PIXELS } = options;
    const sourceWidth = swapsSides(orientation) ? header.height : header.width;
    const sourceHeight = swapsSides(orientation) ? header.width : header.height;
    if (sourceWidth * sourceHeight > maxPixels) throw tooLargeError(source, sourceWidth, sourceHeight, maxPixels);
    assertJpegScans(bytes, header, [header.width, header.height], source, maxPixels);
    const isPart = minWidth !== undefined || minHeight !== undefined;
    const scale = isPart ? jpegScale(sourceWidth, sourceHeight, minWidth ?? 1, minHeight ?? 1, needs) : 1;
    const byteLength = Math.ceil(header.width / scale) * Math.ceil(header.height / scale) * 3;
    if (orientation !== 1 && byteLength > LARGEST_ORIENTABLE) return undefined;
    const memory = workplace.room(byteLength);
    const stored = orientation === 1 ? memory : workplace.sideways(byteLength);
    const decoded = await this.#judged(jpeg, bytes, header, stored, scale, source, options.damaged);
    if (decoded === undefined) return undefined;
    const { damage } = decoded;
    const image = orientation === 1 ? decoded.image : await orient(decoded.image, orientation, memory);
    return { ...image, sourceWidth, sourceHeight, ...(damage === undefined ? {} : { damage }) };
  }

  /** @returns `undefined` for a file that libturbojpeg cannot decode at all */
  async #judged(
    jpeg: JpegDecoder,
    bytes: Uint8Array,
    header: JpegHeader,
    destination: Uint8Array,
    scale: JpegScale,
    source: string,
    damaged: "refuse" | "take" = "refuse",
  ): Promise<RescuedImage | undefined> {
    const first = await jpeg.decode(bytes, header, destination, scale);
    if (first.outcome === "whole") return first;
    if (first.outcome === "failed") {
      logger.debug(`Decoding ${source} with sharp: libturbojpeg cannot decode its data`);
      return undefined;
    }
    return rescuedJpeg(bytes, header, {
      source,
      warnings: this.#warnings,
      decodeWhole: async (copy) => {
        const { image, outcome } = await jpeg.decode(copy, header, destination, scale);
        return outcome === "whole" ? image : undefined;
      },
      decodeDamaged: async (damage) => {
        if (damaged === "refuse") throw undecodableError(bytes, source, damage);
        // What is not written must not show the image before.
        destination.fill(GREY);
        return (await jpeg.decode(bytes, header, destination, scale)).image;
      },
    });
  }

  protected release(): void {
    this.#workplace.jpeg?.close();
  }
}
