/** @module NvJpegDecoder: JPEG files to images in device memory, and whatever nvJPEG refuses through the CPU. */

import { ImageError, inShort, LibraryLoadError, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Owner } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import type { DeviceBuffer } from "../cuda/device-buffer.ts";
import { EventWaits } from "../cuda/event-waits.ts";
import { Stream } from "../cuda/stream.ts";
import { nvJpegLibrary } from "../ffi/nvjpeg.ts";
import { tooLargeError } from "../image/decode-limits.ts";
import { DEFAULT_MAX_PIXELS } from "../image/decode-options.ts";
import type { JpegCounts, ResidentImage } from "../image/image-decoder.ts";
import { isDataWhole } from "../image/jpeg-markers.ts";
import { LARGEST_ORIENTABLE, orientationSteps } from "../image/orientation.ts";
import { JpegKernels } from "./jpeg-kernels.ts";
import { LaneQueue } from "./jpeg-lane.ts";
import { type JpegRefusal, type JpegRoute, routeJpeg } from "./jpeg-route.ts";
import type { JpegSurface, SurfaceDecodeOptions } from "./jpeg-surface.ts";
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
    return residentImage(target, steps.width, steps.height);
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

function residentImage(pixels: DeviceBuffer<"u8">, width: number, height: number): ResidentImage {
  const pitchBytes = width * 3;
  return { format: "RGB", width, height, sourceWidth: width, sourceHeight: height, pixels: pixels.pointer, pitchBytes };
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
