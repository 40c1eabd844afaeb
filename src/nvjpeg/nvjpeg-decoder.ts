/** @module NvJpegDecoder: JPEG files to pictures in device memory, and whatever nvJPEG refuses through the CPU. */

import { NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import type { DeviceBuffer } from "../cuda/device-buffer.ts";
import { Stream } from "../cuda/stream.ts";
import { tooLargeError } from "../image/decode-errors.ts";
import { LARGEST_ORIENTABLE, orientationSteps } from "../image/orientation.ts";
import { DEFAULT_MAX_PIXELS, type PictureDecodeOptions } from "../image/picture-decoder.ts";
import { endsFlat } from "./entropy-end.ts";
import { type JpegCounts, JpegTally } from "./jpeg-counts.ts";
import { JpegKernels } from "./jpeg-kernels.ts";
import type { JpegJob, JpegVerdict } from "./jpeg-lane.ts";
import { type JpegRefusal, type JpegRoute, routeJpeg } from "./jpeg-route.ts";
import type { JpegSurface, ResidentPicture } from "./jpeg-surface.ts";
import { LaneQueue } from "./lane-queue.ts";
import { NvJpegHandle } from "./nvjpeg-handle.ts";
import { type NvJpegOptions, parseNvJpegOptions } from "./nvjpeg-options.ts";

/** Batches under way: one that the engines work off, one that waits for them, one that is parsed. */
const HARDWARE_LANES = 3;
/** Pictures under way: each keeps a CPU core busy for a while. */
const HYBRID_LANES = 8;

const BOTH = ["hardware", "hybrid"] as const;
const HYBRID_ALONE = ["hybrid"] as const;

type Queues = Readonly<{ hardware: LaneQueue | undefined; hybrid: LaneQueue }>;

/** How one picture is decoded; `minWidth`, `minHeight` and `needs` count for pictures that the CPU decodes alone. */
export interface NvJpegDecodeOptions extends PictureDecodeOptions {
  /** Path, URL or description of the bytes, for messages; default `bytes`. */
  readonly source?: string;
}

/**
 * Decodes JPEG files into device memory. Calls may overlap, from any callers: the pictures that are asked for at the same
 * time share a batch, and one that is damaged fails alone. What nvJPEG refuses is decoded by the CPU's decoder and copied
 * over; `counts` says how many and why. Pixels are those of libjpeg-turbo, or differ by a level or two: see docs.
 *
 * @example
 * ```ts
 * using device = Device.open();
 * using decoder = await NvJpegDecoder.create(device);
 * using surface = JpegSurface.create(device);
 * const picture = await decoder.decode(await Bun.file("street.jpg").bytes(), surface);
 * ```
 */
export class NvJpegDecoder extends Resource {
  readonly device: Device;
  /** What decodes baseline pictures; others go to the hybrid backend, or the CPU. */
  readonly backend: "hardware" | "hybrid";
  /** For people: `nvJPEG 13.0.1, 7 engines`. */
  readonly description: string;
  readonly #queues: Queues;
  readonly #stream: Stream;
  readonly #owned: DisposableStack;
  readonly #tally = new JpegTally();
  #running = 0;

  private constructor(device: Device, description: string, queues: Queues, stream: Stream, owned: DisposableStack) {
    super(`NvJpegDecoder (${queues.hardware === undefined ? "hybrid" : "hardware"})`, device);
    this.device = device;
    this.backend = queues.hardware === undefined ? "hybrid" : "hardware";
    this.description = description;
    this.#queues = queues;
    this.#stream = stream;
    this.#owned = owned;
  }

  /**
   * Set nvJPEG up on a device; takes half a second, off the JS thread.
   *
   * @throws {LibraryLoadError} If libnvjpeg is nowhere, or the package has no shim for this platform
   * @throws {NativeError} If the backend that was asked for is not to be had
   * @throws {OptionError} If an option is unknown or out of range
   */
  static async create(device: Device, options: NvJpegOptions = {}): Promise<NvJpegDecoder> {
    const { backend, batch, lanes } = parseNvJpegOptions(options);
    using owned = new DisposableStack();
    const hybrid = owned.use(await NvJpegHandle.create(device, "hybrid"));
    const hardware = backend === "hybrid" ? undefined : await hardwareHandle(device, backend);
    if (hardware !== undefined) owned.use(hardware);
    const kernels = owned.use(JpegKernels.create(device));
    const stream = owned.use(Stream.create(device));
    const queue = (handle: NvJpegHandle, most: number, pictures: number): LaneQueue => {
      const made = new LaneQueue(handle, kernels, { lanes: lanes ?? most, batch: pictures });
      owned.defer(() => made.close());
      return made;
    };
    const queues: Queues = {
      hardware: hardware && queue(hardware, HARDWARE_LANES, batch ?? hardware.engines),
      hybrid: queue(hybrid, HYBRID_LANES, 1),
    };
    const engines = hardware === undefined ? "no engines" : `${hardware.engines} engines`;
    return new NvJpegDecoder(device, `nvJPEG ${hybrid.library.version}, ${engines}`, queues, stream, owned.move());
  }

  /** How many pictures went which way since the decoder was made, and why. */
  get counts(): JpegCounts {
    return this.#tally.counts();
  }

  /**
   * Decode a picture file into a surface, upright.
   *
   * The engines write at once, in no stream's order: whatever worked on the surface's former picture must have ended.
   *
   * @param bytes   a JPEG, or any other picture file; not to be changed until the promise settles
   * @param surface of the same device; holds the picture until it is decoded into again
   * @returns the picture, once it is there
   * @throws {ImageError} If the bytes are no picture, cut short, damaged, or have more pixels than allowed: in the words of
   *   the CPU's decoder
   * @throws {CudaError} If the device fails
   */
  async decode(bytes: Uint8Array, surface: JpegSurface, options: NvJpegDecodeOptions = {}): Promise<ResidentPicture> {
    this.assertOpen("decode a picture");
    return surface.whileBusy(async () => {
      this.#running += 1;
      try {
        return await this.#decode(bytes, surface, options);
      } catch (error) {
        this.#tally.failed();
        throw error;
      } finally {
        this.#running -= 1;
        if (this.closed && this.#running === 0) this.#owned.dispose();
      }
    });
  }

  async #decode(bytes: Uint8Array, surface: JpegSurface, options: NvJpegDecodeOptions): Promise<ResidentPicture> {
    const { source = "bytes", ...rest } = options;
    const route = routeJpeg(bytes);
    const refusal = route.refusal ?? (await this.#decodeByNvJpeg(bytes, route, surface, source, rest.maxPixels));
    if (typeof refusal === "object") return refusal;
    this.#tally.refused(refusal);
    const picture = await surface.decodeOnCpu(bytes, source, rest, this.#stream);
    this.#tally.decoded("cpu");
    return picture;
  }

  /** The picture, or why the CPU has to decode it. */
  async #decodeByNvJpeg(
    bytes: Uint8Array,
    route: JpegRoute,
    surface: JpegSurface,
    source: string,
    maxPixels = DEFAULT_MAX_PIXELS,
  ): Promise<ResidentPicture | JpegRefusal> {
    const { width, height, unitWidth, unitHeight } = route.markers.frame!;
    const steps = orientationSteps(route.markers.orientation, width, height, width * 3);
    if (width * height > maxPixels) throw tooLargeError(source, steps.width, steps.height, maxPixels);
    const isUpright = route.markers.orientation === 1;
    const byteLength = width * height * 3;
    if (!isUpright && byteLength > LARGEST_ORIENTABLE) return "too large to turn";
    const target = surface.room(byteLength);
    const job: JpegJob = {
      bytes: bytes.subarray(0, route.byteLength),
      width,
      height,
      pixels: isUpright ? target : surface.sideways(byteLength),
      tailWidth: tail(width, unitWidth),
      tailHeight: tail(height, unitHeight),
      turn: isUpright ? undefined : { target, steps },
    };
    let refusal: JpegRefusal | undefined;
    for (const path of route.path === "hardware" ? BOTH : HYBRID_ALONE) {
      const queue = this.#queues[path];
      if (queue === undefined) continue;
      if (refusal !== undefined) this.#tally.refused(refusal);
      refusal = refusalOf(await queue.decode(job), bytes, route);
      if (refusal === undefined) {
        this.#tally.decoded(path);
        return residentPicture(target, steps.width, steps.height);
      }
      logger.debug(`nvJPEG (${path}) does not decode ${source}: ${refusal}`);
      // Another of its backends would fill the picture up just the same.
      if (refusal === "damaged data") break;
    }
    return refusal!;
  }

  protected override release(): void {
    if (this.#running === 0) this.#owned.dispose();
  }
}

/** The engines' handle; `undefined` where there are none and they were not asked for by name. */
async function hardwareHandle(device: Device, backend: "auto" | "hardware"): Promise<NvJpegHandle | undefined> {
  try {
    return await NvJpegHandle.create(device, "hardware");
  } catch (error) {
    if (backend === "hardware" || !(error instanceof NativeError)) throw error;
    logger.info(`JPEG is decoded by the multiprocessors, as ${device.name} has no engines for it: ${error.code}`);
    return undefined;
  }
}

/** What is seen of the last unit along a side, in pixels, without the first, into which its neighbour's colour runs. */
function tail(side: number, unit: number): number {
  return Math.max(1, (side - 1) % unit);
}

/** What a verdict means for a file. */
function refusalOf(verdict: JpegVerdict, bytes: Uint8Array, route: JpegRoute): JpegRefusal | undefined {
  if (verdict === "decoded") return undefined;
  if (verdict !== "one colour") return verdict;
  return endsFlat(bytes, route.markers, route.byteLength) ? undefined : "damaged data";
}

function residentPicture(pixels: DeviceBuffer<"u8">, width: number, height: number): ResidentPicture {
  const pitchBytes = width * 3;
  return { format: "RGB", width, height, sourceWidth: width, sourceHeight: height, pixels: pixels.pointer, pitchBytes };
}
