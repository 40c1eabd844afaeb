/** @module FrameMemory: one image of a batch on its way to the device: page-locked staging and device memory. */

import { Resource } from "../../core/resource.ts";
import type { DType } from "../../core/tensor.ts";
import type { DevicePtr } from "../../core/units.ts";
import { copyHost, copyHostRectangle, copyRectangleToDevice, copyToDevice } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import type { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../../cuda/grown-buffer.ts";
import { PinnedBuffer, type PinnedOptions } from "../../cuda/pinned-buffer.ts";
import type { OnStream, Stream } from "../../cuda/stream.ts";
import {
  byteLengthOf,
  bytesPerPixel,
  chromaOffsetOf,
  chromaPitchOf,
  type Image,
  isPacked,
  yuvRangeOf,
  yuvStandardOf,
} from "../../image/image.ts";
import type { DecodedImage, ImageDecodeOptions, ResidentImage } from "../../image/image-decoder.ts";
import { packedImage } from "../../image/nv12.ts";
import type { RowRuns, RowsRead } from "../../image/resize-taps.ts";
import { yuvCoefficients } from "../../image/yuv.ts";
import { JpegSurface, PinnedDecoder } from "../../nvjpeg/jpeg-surface.ts";
import type { NvJpegDecoder } from "../../nvjpeg/nvjpeg-decoder.ts";
import type { DeviceImage, Nv12Image, PackedFrame } from "./preprocess.ts";

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Memory for one image of a batch. It only grows, so that a steady stream of frames allocates nothing. */
export class FrameMemory extends Resource {
  readonly #device: Device;
  readonly #zeroCopy: boolean;
  readonly #pinned: PinnedOptions;
  readonly #on: OnStream;
  readonly #copy: { stream: Stream; byteLength: number; targetOffsetBytes: number; sourceOffsetBytes: number };
  readonly #rectangle = {
    widthBytes: 0,
    height: 0,
    targetPitchBytes: 0,
    sourcePitchBytes: 0,
    targetOffsetBytes: 0,
    sourceOffsetBytes: 0,
  };
  /** Where the last image is; the same object each time. */
  readonly #packed: Writable<PackedFrame> = {
    format: "RGB",
    width: 0,
    height: 0,
    pixels: 0 as PackedFrame["pixels"],
    pitchBytes: 0,
  };
  /** Likewise, of NV12. */
  readonly #nv12: Writable<Nv12Image> = {
    format: "NV12",
    width: 0,
    height: 0,
    pixels: 0 as DevicePtr,
    pitchBytes: 0,
    chroma: 0 as DevicePtr,
    chromaPitchBytes: 0,
    coefficients: yuvCoefficients("BT.709", "limited"),
  };
  #staging: PinnedBuffer<"u8"> | undefined;
  #pixels: DeviceBuffer<"u8"> | undefined;
  readonly #decoder: PinnedDecoder;
  #surface: JpegSurface | undefined;

  /**
   * @param on       names the stream that copies an image, which may be another for the next: it is asked at each `upload`
   * @param zeroCopy kernels read the pixels in mapped host memory: nothing is copied to the device
   */
  constructor(on: OnStream, zeroCopy: boolean) {
    super("FrameMemory", on.stream.device);
    this.#device = on.stream.device;
    this.#zeroCopy = zeroCopy;
    this.#pinned = { use: zeroCopy ? "mapped" : "copy" };
    this.#decoder = new PinnedDecoder(this.#device, this.#pinned);
    this.#on = on;
    this.#copy = { stream: on.stream, byteLength: 0, targetOffsetBytes: 0, sourceOffsetBytes: 0 };
  }

  /**
   * Decode an image file straight into page-locked memory.
   *
   * @returns RGB, valid until the next `decode`
   * @throws {ImageError} If the bytes are no image
   */
  decode(bytes: Uint8Array, source: string, options: ImageDecodeOptions): Promise<DecodedImage> {
    return this.#decoder.decode(bytes, source, options);
  }

  /**
   * Decode an image file on the device.
   *
   * @returns upright RGB, valid until the next call
   * @throws {ImageError} If the bytes are no image
   */
  decodeOnDevice(
    decoder: NvJpegDecoder,
    bytes: Uint8Array,
    source: string,
    options: ImageDecodeOptions,
  ): Promise<ResidentImage> {
    this.#surface ??= JpegSurface.create(this.#device);
    return decoder.decode(bytes, this.#surface, { ...options, source });
  }

  /**
   * Enqueue the copy of an image to the device. Pixels in page-locked memory are copied from where they are, and must
   * stay until the stream has passed; others are copied to staging memory first, at once.
   *
   * @param rows    those that will be read; others of the image need not be on the device. Default: all
   * @param isAhead true: the batches before have yet to run, and the copies of frames in page-locked memory are what spaces their
   *   starts: they are copied whole. With 32 in flight of which each third row was copied, an H200 ran 4 % fewer
   * @returns where the image will be; the same object each time for its kind of format
   */
  upload(given: Image, rows?: RowsRead, isAhead = false): DeviceImage {
    // Kernels read bytes of colours, and NV12.
    const image = given.format === "NV12" ? given : packedImage(given);
    const { data } = image;
    const byteLength = byteLengthOf(image);
    const pixels = this.#zeroCopy ? this.#mapped(data, byteLength) : this.#copied(image, byteLength, rows, isAhead);
    if (!isPacked(image)) return this.#nv12At(pixels, image);
    const packed = this.#packed;
    packed.format = image.format;
    packed.width = image.width;
    packed.height = image.height;
    packed.pitchBytes = image.pitchBytes;
    packed.pixels = pixels;
    return packed;
  }

  #nv12At(pixels: DevicePtr, image: Image): Nv12Image {
    const nv12 = this.#nv12;
    nv12.width = image.width;
    nv12.height = image.height;
    nv12.pitchBytes = image.pitchBytes;
    nv12.pixels = pixels;
    nv12.chroma = (pixels + chromaOffsetOf(image)) as DevicePtr;
    nv12.chromaPitchBytes = chromaPitchOf(image);
    nv12.coefficients = yuvCoefficients(yuvStandardOf(image), yuvRangeOf(image));
    return nv12;
  }

  #copied(image: Image, byteLength: number, rows: RowsRead | undefined, isAhead: boolean): DevicePtr {
    const { data } = image;
    const pixels = grownDeviceBuffer(this.#pixels, byteLength, this.#device);
    this.#pixels = pixels;
    const owner = PinnedBuffer.owning(data);
    const offset = owner === undefined ? 0 : data.byteOffset;
    this.#copy.stream = this.#on.stream;
    if (rows !== undefined && !(isAhead && owner !== undefined)) {
      this.#copyRows(pixels, owner ?? this.#stagingFor(byteLength), image, rows, offset);
    } else {
      this.#copyBytes(pixels, owner ?? this.#stage(data, byteLength), 0, byteLength, offset);
    }
    return pixels.pointer;
  }

  /**
   * Enqueue the copy of the rows that are read, each to where it lies in the image.
   *
   * @param from   holds the image, or is the staging memory that takes its rows first
   * @param offset of the image in `from`
   */
  #copyRows(to: DeviceBuffer, from: PinnedBuffer, image: Image, { pixels, chroma }: RowsRead, offset: number): void {
    const { data, width, pitchBytes } = image;
    const staging = from === this.#staging ? this.#staging.data : undefined;
    const rowBytes = isPacked(image) ? width * bytesPerPixel(image.format) : width;
    this.#setRuns(pixels, 0, rowBytes, pitchBytes);
    this.#copyRuns(to, from, data, staging, offset);
    if (isPacked(image)) return;
    const start = chromaOffsetOf(image);
    this.#setRuns(chroma, start, width + (width & 1), chromaPitchOf(image));
    this.#copyRuns(to, from, data, staging, offset);
  }

  /** Let the rectangle be runs of rows of a plane, that begins at `start` of the image. */
  #setRuns({ first, length, stride, count }: RowRuns, start: number, rowBytes: number, pitchBytes: number): void {
    const rectangle = this.#rectangle;
    rectangle.widthBytes = (length - 1) * pitchBytes + rowBytes;
    rectangle.height = count;
    rectangle.targetPitchBytes = Math.max(stride * pitchBytes, rectangle.widthBytes);
    rectangle.sourcePitchBytes = rectangle.targetPitchBytes;
    rectangle.targetOffsetBytes = start + first * pitchBytes;
  }

  /** Copy what the rectangle says. @param staging where the pixels are copied first */
  #copyRuns(
    to: DeviceBuffer,
    from: PinnedBuffer,
    data: Uint8Array,
    staging: Uint8Array | undefined,
    offset: number,
  ): void {
    const rectangle = this.#rectangle;
    rectangle.sourceOffsetBytes = rectangle.targetOffsetBytes;
    if (staging !== undefined) copyHostRectangle(staging, data, rectangle);
    rectangle.sourceOffsetBytes += offset;
    copyRectangleToDevice(to, from, rectangle, this.#copy);
  }

  #copyBytes(to: DeviceBuffer, from: PinnedBuffer, start: number, byteLength: number, offset: number): void {
    const copy = this.#copy;
    copy.byteLength = byteLength;
    copy.targetOffsetBytes = start;
    copy.sourceOffsetBytes = offset + start;
    copyToDevice(to, from, copy);
  }

  /** Where kernels find the pixels in host memory; what is not mapped is staged first. */
  #mapped(data: Uint8Array, byteLength: number): DevicePtr {
    const owner = PinnedBuffer.owning(data);
    if (owner === undefined || !owner.isMapped) return this.#stage(data, byteLength).mapped.pointer;
    return (owner.mapped.pointer + data.byteOffset) as DevicePtr;
  }

  #stage(data: Uint8Array, byteLength: number): PinnedBuffer<DType> {
    const staging = this.#stagingFor(byteLength);
    copyHost(staging.data, data, byteLength);
    return staging;
  }

  #stagingFor(byteLength: number): PinnedBuffer<"u8"> {
    this.#staging = grownPinnedBuffer(this.#staging, byteLength, this.#device, this.#pinned);
    return this.#staging;
  }

  protected release(): void {
    // Each is closed whatever happens to the others.
    using owned = new DisposableStack();
    owned.use(this.#pixels);
    owned.use(this.#staging);
    owned.use(this.#decoder);
    owned.use(this.#surface);
  }
}
