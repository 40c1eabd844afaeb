/** @module GpuJpeg: nvJPEG for all slots of a model on a device, set up when the first JPEG file comes. */

import {
  CudaError,
  LibraryLoadError,
  message,
  NativeError,
  TensorRtError,
  UnavailableError,
} from "../../core/errors.ts";
import { logger, RepeatedLine } from "../../core/log.ts";
import { Resource } from "../../core/resource.ts";
import { MEMORY_ALLOCATION } from "../../cuda/check.ts";
import type { Device } from "../../cuda/device.ts";
import type { EventWaits } from "../../cuda/event-waits.ts";
import { imageKind } from "../../image/decode-limits.ts";
import type { ImageDecodeOptions, JpegCounts } from "../../image/image-decoder.ts";
import type { SourceBytes } from "../../image/source.ts";
import { NvJpegDecoder, nvJpegUnavailable } from "../../nvjpeg/nvjpeg-decoder.ts";
import type { SlotImage } from "../../runtime/backend.ts";
import type { JpegDecoding } from "../accelerator-options.ts";
import type { FrameMemory } from "./frame-memory.ts";

/** How {@linkcode GpuJpeg} decodes. */
interface GpuJpegOptions {
  readonly mode: JpegDecoding;
  /** False: files whose data is damaged are not looked for. */
  readonly check: boolean;
  /** Shared with the slots. */
  readonly waits: EventWaits;
  /** How long `auto` leaves JPEG to the CPU where memory for nvJPEG was missing, in milliseconds. Default 10 s. */
  readonly retryMs?: number;
}

const RETRY_MS = 10_000;

/** Owns the decoder once there is one. */
export class GpuJpeg extends Resource {
  readonly #device: Device;
  readonly #options: GpuJpegOptions;
  #opening: Promise<NvJpegDecoder | undefined> | undefined;
  #decoder: NvJpegDecoder | undefined;
  /** When it is tried again, by `performance.now()`. */
  #retryAt = Number.POSITIVE_INFINITY;
  readonly #shortage = new RepeatedLine((text) => logger.warn(text));

  private constructor(device: Device, options: GpuJpegOptions) {
    super("GpuJpeg", device);
    this.#device = device;
    this.#options = options;
  }

  /**
   * Look whether nvJPEG is there; where it is not, `auto` leaves JPEG to the CPU with a line in the log.
   *
   * @returns `undefined` where the CPU decodes
   * @throws {UnavailableError} If it was asked for and is not there
   */
  static open(device: Device, options: GpuJpegOptions): GpuJpeg | undefined {
    const { mode } = options;
    if (mode === "cpu") return undefined;
    const fault = nvJpegUnavailable();
    if (fault === undefined) return new GpuJpeg(device, options);
    if (mode === "gpu") throw refusal(fault, "run `bunx bun-tensorrt install nvjpeg`");
    logger.info(`JPEG is decoded on the CPU: ${fault}`);
    return undefined;
  }

  /**
   * The decoder. `auto` takes it only where the device has engines for JPEG: without them a CPU core is busy for longer
   * than libjpeg-turbo would keep it. Where memory is missing for it, `auto` tries again after a while.
   *
   * @returns `undefined` where the CPU decodes
   * @throws {UnavailableError} If nvJPEG was asked for and cannot be set up
   */
  decoder(): Promise<NvJpegDecoder | undefined> {
    if (performance.now() >= this.#retryAt) {
      this.#retryAt = Number.POSITIVE_INFINITY;
      this.#opening = undefined;
    }
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /**
   * Decode an image file on the device; where its memory does not suffice, `auto` leaves the image to the CPU, as does either mode
   * what may have an alpha channel or 16 bits that are to be kept.
   *
   * @throws {ImageError} If the bytes are no image
   * @throws {CudaError} If the device fails
   */
  async decode(
    decoder: NvJpegDecoder,
    frame: FrameMemory,
    { bytes, name }: SourceBytes,
    options: ImageDecodeOptions,
  ): Promise<SlotImage> {
    const isKept = options.alpha === "keep" || options.depth === "keep";
    if (isKept && imageKind(bytes)?.name !== "JPEG") return frame.decode(bytes, name, options);
    try {
      return await frame.decodeOnDevice(decoder, bytes, name, options);
    } catch (error) {
      if (this.#options.mode === "gpu" || !isOutOfMemory(error)) throw error;
      this.#shortage.tell(`The CPU decodes ${name}, as the GPU has no memory for it: ${error.code}`);
    }
    return frame.decode(bytes, name, options);
  }

  /** How files were decoded so far. */
  get counts(): JpegCounts | undefined {
    return this.#decoder?.counts;
  }

  async #open(): Promise<NvJpegDecoder | undefined> {
    this.assertOpen("decode a JPEG");
    const { mode, check, waits } = this.#options;
    const backend = mode === "gpu" ? "auto" : "hardware";
    try {
      this.#decoder = await NvJpegDecoder.sharing(waits, this.#device, { backend, check });
      logger.debug(`JPEG is decoded by ${this.#decoder.description}`);
      return this.#decoder;
    } catch (error) {
      if (!(error instanceof NativeError) && !(error instanceof LibraryLoadError)) throw error;
      const fault = error instanceof NativeError ? error.code : (error.message.split("\n", 1)[0] ?? "");
      if (mode === "gpu") {
        // What was in the way may be gone when the next image comes, such as a lack of memory.
        this.#opening = undefined;
        throw refusal(fault, 'leave "jpeg" out');
      }
      logger.info(`JPEG is decoded on the CPU, as nvJPEG cannot use the engines of ${this.#device.name}: ${fault}`);
      if (isOutOfMemory(error)) this.#retryAt = performance.now() + (this.#options.retryMs ?? RETRY_MS);
      return undefined;
    }
  }

  protected override release(): void {
    this.#decoder?.close();
  }
}

function refusal(fault: string, hint: string): UnavailableError {
  return new UnavailableError(message("decode JPEG by nvJPEG", fault, hint), "jpeg");
}

/**
 * True where memory has run out, which others may give back: what CUDA or nvJPEG was asked for, or what TensorRT takes for
 * itself, of which its log alone may tell.
 */
export function isOutOfMemory(error: unknown): error is NativeError {
  if (error instanceof CudaError) return error.status === MEMORY_ALLOCATION;
  if (error instanceof TensorRtError) {
    return error.code === "FAILED_ALLOCATION" || error.log.some((line) => /out[ _]?of[ _]?memory/i.test(line));
  }
  return error instanceof NativeError && error.code === "NVJPEG_STATUS_ALLOCATOR_FAILURE";
}
