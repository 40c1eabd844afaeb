/**
 * @module NvJpegDecoder: JPEG files to images in device memory, one after the other into a surface, and whatever nvJPEG refuses through
 * the CPU.
 */

import { BunTensorRtError, ImageError, inShort, LibraryLoadError, message, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Owner, Resource } from "../core/resource.ts";
import type { DeviceBuffer, PinnedBuffer, PinnedOptions } from "../cuda/buffers.ts";
import { copyToDevice } from "../cuda/copy.ts";
import type { Device } from "../cuda/device.ts";
import { Event } from "../cuda/event.ts";
import { EventWaits } from "../cuda/event-waits.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../cuda/kept-memory.ts";
import { Stream } from "../cuda/stream.ts";
import { nvJpegLibrary } from "../ffi/nvidia-libraries.ts";
import { tooLargeError } from "../image/decode-limits.ts";
import { LARGEST_ORIENTABLE, orientationSteps } from "../image/exif.ts";
import {
  type DecodedImage,
  type ImageDecodeOptions,
  ImageDecoder,
  type JpegCounts,
  type ResidentImage,
} from "../image/image-decoder.ts";
import { DEFAULT_MAX_PIXELS } from "../image/image-options.ts";
import { isDataWhole } from "../image/jpeg-markers.ts";
import { JpegKernels } from "./batch-check.ts";
import { LaneQueue } from "./jpeg-lane.ts";
import { type JpegRefusal, type JpegRoute, routeJpeg } from "./jpeg-route.ts";
import { type HeldHandle, type NvJpegBackend, NvJpegHandle } from "./nvjpeg-handle.ts";
import { type NvJpegOptions, parseNvJpegOptions } from "./nvjpeg-options.ts";

/**
 * Batches under way. The engines need one to work off and one that waits for them; each batch is also marked, parsed and
 * checked, which takes several times as long as the engines where the device is busy with inference. More do not help:
 * their images are then missing there.
 */
const HARDWARE_LANES = 5;
/** Images under way: each keeps a CPU core busy for a while. */
const HYBRID_LANES = 8;

/** How one image is decoded; `minWidth`, `minHeight` and `needs` count for images that the CPU decodes alone. */
export interface NvJpegDecodeOptions extends SurfaceDecodeOptions {
  /** Path, URL or description of the bytes, for messages; default `bytes`. */
  readonly source?: string | undefined;
}

/**
 * Decodes JPEG files into device memory. Calls may overlap, from any callers: the images that are asked for at the same
 * time share a batch, and one that is damaged fails alone. What nvJPEG refuses, or cannot be trusted with, is decoded by
 * the CPU's decoder and copied over; `counts` says how many and why. The engines' pixels are those of libjpeg-turbo, to
 * the bit as far as measured; the hybrid backend's differ by up to 3 levels.
 *
 * @example
 * ```ts
 * import { Device } from "bun-tensorrt/cuda";
 * import { JpegSurface, NvJpegDecoder } from "bun-tensorrt/nvjpeg";
 *
 * using device = Device.open();
 * using decoder = await NvJpegDecoder.create(device);
 * using surface = JpegSurface.create(device);
 * const image = await decoder.decode(await Bun.file("street.jpg").bytes(), surface);
 * console.log(image.width, image.height);
 * ```
 */
export class NvJpegDecoder extends Owner {
  readonly device: Device;
  readonly backend: NvJpegBackend;
  /** For people: `nvJPEG 13.0.1, 7 engines`. */
  readonly description: string;
  readonly #queue: LaneQueue;
  readonly #stream: Stream;
  readonly #refusals = new Map<JpegRefusal, number>();
  #decodedByGpu = 0;
  #decodedByCpu = 0;
  #failed = 0;
  #running = 0;

  private constructor(device: Device, handle: NvJpegHandle, queue: LaneQueue, stream: Stream, owned: DisposableStack) {
    const { backend, engines, library } = handle;
    super(`NvJpegDecoder (${backend})`, device, owned);
    this.device = device;
    this.backend = backend;
    this.description = `nvJPEG ${library.version}, ${backend === "hybrid" ? "no engines" : `${engines} engines`}`;
    this.#queue = queue;
    this.#stream = stream;
  }

  /**
   * Set nvJPEG up on a device; takes a quarter of a second, off the JS thread.
   *
   * @throws {LibraryLoadError} If libnvjpeg is nowhere, or the package has no shim for this platform
   * @throws {NativeError} If the backend that was asked for is not to be had
   * @throws {OptionError} If an option is unknown or out of range
   */
  static create(device: Device, options: NvJpegOptions = {}): Promise<NvJpegDecoder> {
    return NvJpegDecoder.sharing(new EventWaits("auto", device), device, options);
  }

  /** The same, with waits that others of the device share: one thread watches for all. */
  static async sharing(waits: EventWaits, device: Device, options: NvJpegOptions): Promise<NvJpegDecoder> {
    const { backend, batch, lanes, check } = parseNvJpegOptions(options);
    using owned = new DisposableStack();
    const { handle } = owned.use(await holdHandle(device, backend));
    const kernels = owned.use(JpegKernels.create(device));
    const stream = owned.use(Stream.create(device));
    const queue = new LaneQueue(handle, kernels, {
      batch: batch ?? handle.engines,
      check,
      waits,
      lanes: lanes ?? (handle.backend === "hardware" ? HARDWARE_LANES : HYBRID_LANES),
    });
    owned.defer(() => queue.close());
    return new NvJpegDecoder(device, handle, queue, stream, owned.move());
  }

  /** How many images went which way since the decoder was made, and why. */
  get counts(): JpegCounts {
    const refusals = Object.fromEntries(this.#refusals);
    return { gpu: this.#decodedByGpu, cpu: this.#decodedByCpu, failed: this.#failed, refusals };
  }

  /**
   * Decode an image file into a surface, upright.
   *
   * The engines write at once, in no stream's order: whatever worked on the surface's former image must have ended.
   *
   * @param bytes   a JPEG, or any other image file; not to be changed until the promise settles
   * @param surface of the same device; holds the image until it is decoded into again
   * @returns the image, once it is there
   * @throws {ImageError} If the bytes are no image, cut short, damaged, or have more pixels than allowed: in the words of
   *   the CPU's decoder
   * @throws {CudaError} If the device fails
   */
  async decode(bytes: Uint8Array, surface: JpegSurface, options: NvJpegDecodeOptions = {}): Promise<ResidentImage> {
    this.assertOpen("decode an image");
    return surface.whileBusy(async () => {
      this.#running += 1;
      try {
        return await this.#decode(bytes, surface, options);
      } catch (error) {
        if (error instanceof ImageError) this.#failed += 1;
        throw error;
      } finally {
        this.#running -= 1;
        if (this.closed && this.#running === 0) super.release();
      }
    });
  }

  async #decode(bytes: Uint8Array, surface: JpegSurface, options: NvJpegDecodeOptions): Promise<ResidentImage> {
    const { source = "bytes", ...rest } = options;
    const route = routeJpeg(bytes);
    const refusal = route.refusal ?? (await this.#decodeByNvJpeg(bytes, route, surface, source, rest.maxPixels));
    if (typeof refusal === "object") return refusal;
    this.#refusals.set(refusal, (this.#refusals.get(refusal) ?? 0) + 1);
    logger.debug(`The CPU decodes ${source}, not nvJPEG: ${refusal}`);
    const image = await surface.decodeOnCpu(bytes, source, rest, this.#stream);
    this.#decodedByCpu += 1;
    return image;
  }

  /** The image, or why the CPU has to decode it. */
  async #decodeByNvJpeg(
    bytes: Uint8Array,
    { markers, byteLength }: JpegRoute,
    surface: JpegSurface,
    source: string,
    maxPixels = DEFAULT_MAX_PIXELS,
  ): Promise<ResidentImage | JpegRefusal> {
    const { width, height } = markers.frame!;
    const steps = orientationSteps(markers.orientation, width, height, width * 3);
    if (width * height > maxPixels) throw tooLargeError(source, steps.width, steps.height, maxPixels);
    const isUpright = markers.orientation === 1;
    const pixelBytes = width * height * 3;
    if (!isUpright && pixelBytes > LARGEST_ORIENTABLE) return "too large to turn";
    const target = surface.room(pixelBytes);
    const file = bytes.subarray(0, byteLength);
    const verdict = await this.#queue.decode({
      bytes: file,
      width,
      height,
      pixels: isUpright ? target : surface.sideways(pixelBytes),
      turn: isUpright ? undefined : { target, steps },
    });
    if (verdict === "unchecked") {
      if (!(await isDataWhole(file))) return "damaged data";
    } else if (verdict !== "decoded") return verdict;
    this.#decodedByGpu += 1;
    const size = { width: steps.width, height: steps.height, sourceWidth: steps.width, sourceHeight: steps.height };
    return resident({ ...size, pitchBytes: steps.width * 3 }, target);
  }

  protected override release(): void {
    if (this.#running === 0) super.release();
  }
}

/** @param backend `auto` takes the hybrid one where there are no engines */
async function holdHandle(device: Device, backend: NvJpegBackend | "auto"): Promise<HeldHandle> {
  if (backend !== "auto") return NvJpegHandle.hold(device, backend);
  try {
    return await NvJpegHandle.hold(device, "hardware");
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    logger.info(
      `JPEG is decoded by the multiprocessors, as nvJPEG cannot use the engines of ${device.name}: ${error.code}`,
    );
    return NvJpegHandle.hold(device, "hybrid");
  }
}

/** Why nvJPEG cannot be used, in one line; `undefined` where it can. Opens the library, but no device. */
export function nvJpegUnavailable(): string | undefined {
  try {
    nvJpegLibrary();
    return undefined;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return inShort(error);
  }
}

/** How one image is decoded; a surface holds RGB of 8 bits, so that alpha and further bits are dropped. */
export type SurfaceDecodeOptions = Omit<ImageDecodeOptions, "alpha" | "depth">;

/**
 * Memory for one image, which only grows: a steady stream of frames allocates nothing. It also holds the CPU's decoder
 * for what nvJPEG refuses. The engines write as soon as they are asked to, in no stream's order: all work on the former
 * image must have ended, not only been enqueued, before the surface is decoded into again.
 */
export class JpegSurface extends Resource {
  readonly device: Device;
  #pixels: DeviceBuffer<"u8"> | undefined;
  #sideways: DeviceBuffer<"u8"> | undefined;
  readonly #decoder: PinnedDecoder;
  #uploaded: Event | undefined;
  #isBusy = false;

  private constructor(device: Device) {
    super("JpegSurface", device);
    this.device = device;
    this.#decoder = new PinnedDecoder(device);
  }

  /** A surface without memory yet. */
  static create(device: Device): JpegSurface {
    return new JpegSurface(device);
  }

  /** Memory of the upright image, at least as large. Called by the decoder. */
  room(byteLength: number): DeviceBuffer<"u8"> {
    this.#pixels = grownDeviceBuffer(this.#pixels, byteLength, this.device);
    return this.#pixels;
  }

  /** Memory of an image as it is stored, before it is turned. Called by the decoder. */
  sideways(byteLength: number): DeviceBuffer<"u8"> {
    this.#sideways = grownDeviceBuffer(this.#sideways, byteLength, this.device);
    return this.#sideways;
  }

  /**
   * Hold the surface for one image. Called by the decoder.
   *
   * @throws {BunTensorRtError} If an image is being decoded into it
   */
  async whileBusy<T>(work: () => Promise<T>): Promise<T> {
    this.assertOpen("decode an image");
    if (this.#isBusy) {
      const found = "the surface takes one image at a time, and one is being decoded into it";
      throw new BunTensorRtError(
        message("decode an image", found, "await the former call, or make one surface per image"),
      );
    }
    this.#isBusy = true;
    try {
      return await work();
    } finally {
      this.#isBusy = false;
    }
  }

  /**
   * Decode on the CPU and copy the image here. Called by the decoder.
   *
   * @throws {ImageError} If the bytes are no image, cut short, damaged, or have more pixels than allowed
   */
  async decodeOnCpu(
    bytes: Uint8Array,
    source: string,
    options: SurfaceDecodeOptions,
    stream: Stream,
  ): Promise<ResidentImage> {
    const image = await this.#decoder.decode(bytes, source, { ...options, alpha: "drop", depth: "drop" });
    const byteLength = image.pitchBytes * (image.height - 1) + image.width * 3;
    const pixels = this.room(byteLength);
    copyToDevice(pixels, this.#decoder.memory!, { stream, byteLength, sourceOffsetBytes: image.data.byteOffset });
    this.#uploaded ??= Event.create(this.device);
    this.#uploaded.record({ stream });
    await this.#uploaded.wait();
    return resident(image, pixels);
  }

  /** @throws {BunTensorRtError} If an image is being decoded into it */
  override close(): void {
    if (this.#isBusy) {
      throw new BunTensorRtError(
        message("close a JpegSurface", "an image is being decoded into it", "await that call first"),
      );
    }
    super.close();
  }

  protected override release(): void {
    // Each is closed whatever happens to the others.
    using owned = new DisposableStack();
    owned.use(this.#pixels);
    owned.use(this.#sideways);
    owned.use(this.#decoder);
    owned.use(this.#uploaded);
  }
}

/** The CPU's decoder, into page-locked memory that only grows. */
export class PinnedDecoder implements Disposable {
  readonly #device: Device;
  readonly #options: PinnedOptions;
  #decoder: ImageDecoder | undefined;
  #memory: PinnedBuffer<"u8"> | undefined;

  constructor(device: Device, options: PinnedOptions = {}) {
    this.#device = device;
    this.#options = options;
  }

  /** What the last image lies in. */
  get memory(): PinnedBuffer<"u8"> | undefined {
    return this.#memory;
  }

  /** Decode an image; valid until the next one. @throws {ImageError} If the bytes are no image */
  decode(bytes: Uint8Array, source: string, options: ImageDecodeOptions): Promise<DecodedImage> {
    this.#decoder ??= ImageDecoder.create({
      allocate: (byteLength) => {
        this.#memory = grownPinnedBuffer(this.#memory, byteLength, this.#device, this.#options);
        return this.#memory.data;
      },
      // Native code may still write to it: it is closed once that has ended.
      abandon: (ended) => {
        const abandoned = this.#memory;
        this.#memory = undefined;
        void ended.finally(() => abandoned?.close());
      },
    });
    return this.#decoder.decode(bytes, source, options);
  }

  [Symbol.dispose](): void {
    // The decoder is closed before the memory it writes to.
    using owned = new DisposableStack();
    owned.use(this.#memory);
    owned.use(this.#decoder);
  }
}

/** An image in a surface, without what else there is of it. */
function resident(image: Omit<ResidentImage, "format" | "pixels">, pixels: DeviceBuffer<"u8">): ResidentImage {
  const { width, height, sourceWidth, sourceHeight, pitchBytes, damage } = image;
  const place = { width, height, sourceWidth, sourceHeight, pixels: pixels.pointer, pitchBytes };
  return { format: "RGB", ...place, ...(damage === undefined ? {} : { damage }) };
}
