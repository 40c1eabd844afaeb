/** @module JpegSurface: the device memory that one image after the other is decoded into. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { copyToDevice } from "../cuda/copy.ts";
import type { Device } from "../cuda/device.ts";
import type { DeviceBuffer } from "../cuda/device-buffer.ts";
import { Event } from "../cuda/event.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../cuda/grown-buffer.ts";
import type { PinnedBuffer, PinnedOptions } from "../cuda/pinned-buffer.ts";
import type { Stream } from "../cuda/stream.ts";
import {
  type DecodedImage,
  type ImageDecodeOptions,
  ImageDecoder,
  type ResidentImage,
} from "../image/image-decoder.ts";

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

function resident(image: DecodedImage, pixels: DeviceBuffer<"u8">): ResidentImage {
  const { width, height, sourceWidth, sourceHeight, pitchBytes, damage } = image;
  const place = { width, height, sourceWidth, sourceHeight, pixels: pixels.pointer, pitchBytes };
  return { format: "RGB", ...place, ...(damage === undefined ? {} : { damage }) };
}
