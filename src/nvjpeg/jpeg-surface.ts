/** @module JpegSurface: the device memory that one picture after the other is decoded into. */

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
  type PictureDecodeOptions,
  PictureDecoder,
  type ResidentPicture,
} from "../image/picture-decoder.ts";

/** How one picture is decoded; a surface holds RGB, so that alpha is dropped. */
export type SurfaceDecodeOptions = Omit<PictureDecodeOptions, "alpha">;

/**
 * Memory for one picture, which only grows: a steady stream of frames allocates nothing. It also holds the CPU's decoder
 * for what nvJPEG refuses. The engines write as soon as they are asked to, in no stream's order: all work on the former
 * picture must have ended, not only been enqueued, before the surface is decoded into again.
 */
export class JpegSurface extends Resource {
  readonly device: Device;
  #pixels: DeviceBuffer<"u8"> | undefined;
  #sideways: DeviceBuffer<"u8"> | undefined;
  #decoder: PictureDecoder | undefined;
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

  /** Memory of the upright picture, at least as large. Called by the decoder. */
  room(byteLength: number): DeviceBuffer<"u8"> {
    this.#pixels = grownDeviceBuffer(this.#pixels, byteLength, this.device);
    return this.#pixels;
  }

  /** Memory of a picture as it is stored, before it is turned. Called by the decoder. */
  sideways(byteLength: number): DeviceBuffer<"u8"> {
    this.#sideways = grownDeviceBuffer(this.#sideways, byteLength, this.device);
    return this.#sideways;
  }

  /**
   * Hold the surface for one picture. Called by the decoder.
   *
   * @throws {BunTensorRtError} If a picture is being decoded into it
   */
  async whileBusy<T>(work: () => Promise<T>): Promise<T> {
    this.assertOpen("decode a picture");
    if (this.#isBusy) {
      const found = "the surface takes one picture at a time, and one is being decoded into it";
      throw new BunTensorRtError(
        message("decode a picture", found, "await the former call, or make one surface per picture"),
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
   * Decode on the CPU and copy the picture here. Called by the decoder.
   *
   * @throws {ImageError} If the bytes are no picture, cut short, damaged, or have more pixels than allowed
   */
  async decodeOnCpu(
    bytes: Uint8Array,
    source: string,
    options: SurfaceDecodeOptions,
    stream: Stream,
  ): Promise<ResidentPicture> {
    this.#decoder ??= PictureDecoder.create({
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

  /** @throws {BunTensorRtError} If a picture is being decoded into it */
  override close(): void {
    if (this.#isBusy) {
      throw new BunTensorRtError(
        message("close a JpegSurface", "a picture is being decoded into it", "await that call first"),
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

function resident(image: DecodedImage, pixels: DeviceBuffer<"u8">): ResidentPicture {
  const { width, height, sourceWidth, sourceHeight, pitchBytes, damage } = image;
  const picture = { width, height, sourceWidth, sourceHeight, pixels: pixels.pointer, pitchBytes };
  return { format: "RGB", ...picture, ...(damage === undefined ? {} : { damage }) };
}
