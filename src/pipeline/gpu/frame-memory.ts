/** @module FrameMemory: one picture of a batch on its way to the device: page-locked staging and device memory. */

import { Resource } from "../../core/resource.ts";
import { copyToDevice } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import type { Stream } from "../../cuda/stream.ts";
import { bytesPerPixel, type Image } from "../../image/image.ts";
import { type DecodedImage, type PictureDecodeOptions, PictureDecoder } from "../../image/picture-decoder.ts";
import type { PackedPicture } from "./picture-table.ts";

/** Growing by a quarter more than asked for keeps pictures of slightly different sizes from reallocating each time. */
const GROWTH = 1.25;

/** Memory for one picture of a batch; it only grows, so a steady stream of frames allocates nothing. */
export class FrameMemory extends Resource {
  readonly #device: Device;
  #staging: PinnedBuffer<"u8"> | undefined;
  #pixels: DeviceBuffer<"u8"> | undefined;
  #decoder: PictureDecoder | undefined;
  #decoded: PinnedBuffer<"u8"> | undefined;

  constructor(device: Device) {
    super("FrameMemory", device);
    this.#device = device;
  }

  /**
   * Decode a picture file straight into page-locked memory.
   *
   * @returns RGB, valid until the next `decode`
   * @throws {ImageError} If the bytes are no picture
   */
  decode(bytes: Uint8Array, source: string, options: PictureDecodeOptions): Promise<DecodedImage> {
    this.#decoder ??= PictureDecoder.create({
      allocate: (byteLength) => {
        this.#decoded?.close();
        this.#decoded = undefined;
        this.#decoded = PinnedBuffer.create("u8", [Math.ceil(byteLength * GROWTH)], this.#device);
        return this.#decoded.data;
      },
    });
    return this.#decoder.decode(bytes, source, options);
  }

  /**
   * Enqueue the copy of a picture to the device. Pixels that lie in page-locked memory are copied from where they are and
   * must stay until the stream has passed; others are copied to the staging memory first, at once.
   *
   * @returns where the picture will be
   */
  upload(image: Image, stream: Stream): PackedPicture {
    const { format, width, height, pitchBytes, data } = image;
    const byteLength = pitchBytes * (height - 1) + width * bytesPerPixel(format);
    const pixels = this.#roomOnDevice(byteLength);
    const pinned = PinnedBuffer.holding(data);
    if (pinned !== undefined) {
      copyToDevice(pixels, pinned.buffer, { stream, byteLength, sourceOffsetBytes: pinned.offsetBytes });
    } else {
      const staging = this.#roomOnHost(byteLength);
      staging.data.set(data.length === byteLength ? data : data.subarray(0, byteLength));
      copyToDevice(pixels, staging, { stream, byteLength });
    }
    return { format, width, height, pixels: pixels.pointer, pitchBytes };
  }

  #roomOnDevice(byteLength: number): DeviceBuffer<"u8"> {
    if (this.#pixels === undefined || this.#pixels.byteLength < byteLength) {
      this.#pixels?.close();
      this.#pixels = undefined;
      this.#pixels = DeviceBuffer.create("u8", [Math.ceil(byteLength * GROWTH)], { device: this.#device });
    }
    return this.#pixels;
  }

  #roomOnHost(byteLength: number): PinnedBuffer<"u8"> {
    if (this.#staging === undefined || this.#staging.byteLength < byteLength) {
      this.#staging?.close();
      this.#staging = undefined;
      this.#staging = PinnedBuffer.create("u8", [Math.ceil(byteLength * GROWTH)], this.#device);
    }
    return this.#staging;
  }

  protected release(): void {
    this.#decoder?.close();
    this.#decoded?.close();
    this.#staging?.close();
    this.#pixels?.close();
  }
}
