/** @module JpegSurface: the device memory that one image after the other is decoded into. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { copyToDevice } from "../cuda/copy.ts";
import type { Device } from "../cuda/device.ts";
import type { DeviceBuffer } from "../cuda/device-buffer.ts";
import { Event } from "../cuda/event.ts";
import { abandonPinned, grownDeviceBuffer, grownPinnedBuffer } from "../cuda/grown-buffer.ts";
import type { PinnedBuffer } from "../cuda/pinned-buffer.ts";
import type { Stream } from "../cuda/stream.ts";
import {
  type DecodedImage,
  type ImageDecodeOptions,
  ImageDecoder,
  type ResidentImage,
} from "../image/image-decoder.ts";

/** How one image is decoded; a surface holds RGB, so that alpha is dropped. */
export type SurfaceDecodeOptions = Omit<ImageDecodeOptions, "alpha">;

/**
 * Memory for one image, which only grows: a steady stream of frames allocates nothing. It also holds the CPU's decoder
 * for what nvJPEG refuses. The engines write as soon as they are asked to, in no stream's order: all work on the former
 * image must have ended, not only been enqueued, before the surface is decoded into again.
 */
export class JpegSurface extends Resource {
  readonly device: Device;
  #pixels: DeviceBuffer<"u8"> | undefined;
  #sideways: DeviceBuffer<"u8"> | undefined;
  #decoder: ImageDecoder | undefined;
  #decoded: PinnedBuffer<"u8"> | undefined;
  #uploaded: Event | undefined;
  #isBusy = false;

  private constructor(device: Device) {
    super("JpegSurface", device);
    this.device = device;
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
    this.#decoder ??= ImageDecoder.create({
      allocate: (byteLength) => this.#allocateDecoded(byteLength),
      abandon: (ended) => {
        this.#decoded = abandonPinned(this.#decoded, ended);
      },
    });
    const image = await this.#decoder.decode(bytes, source, { ...options, alpha: "drop" });
    const byteLength = image.pitchBytes * (image.height - 1) + image.width * 3;
    const pixels = this.room(byteLength);
    copyToDevice(pixels, this.#decoded!, { stream, byteLength, sourceOffsetBytes: image.data.byteOffset });
    this.#uploaded ??= Event.create(this.device);
    this.#uploaded.record({ stream });
    await this.#uploaded.wait();
    return resident(image, pixels);
  }

  #allocateDecoded(byteLength: number): Uint8Array {
    this.#decoded = grownPinnedBuffer(this.#decoded, byteLength, this.device);
    return this.#decoded.data;
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
    // Each is closed whatever happens to the others: the decoder before the memory it writes to.
    using owned = new DisposableStack();
    owned.use(this.#pixels);
    owned.use(this.#sideways);
    owned.use(this.#decoded);
    owned.use(this.#decoder);
    owned.use(this.#uploaded);
  }
}

function resident(image: DecodedImage, pixels: DeviceBuffer<"u8">): ResidentImage {
  const { width, height, sourceWidth, sourceHeight, pitchBytes, damage } = image;
  const place = { width, height, sourceWidth, sourceHeight, pixels: pixels.pointer, pitchBytes };
  return { format: "RGB", ...place, ...(damage === undefined ? {} : { damage }) };
}
