/** @module FrameMemory: one image of a batch on its way to the device: page-locked staging and device memory. */

import { Resource } from "../../core/resource.ts";
import type { DType } from "../../core/tensor.ts";
import type { DevicePtr } from "../../core/units.ts";
import { type DeviceBuffer, PinnedBuffer, type PinnedOptions } from "../../cuda/buffers.ts";
import { copyHost, copyHostRectangle, copyRectangleToDevice, copyToDevice } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../../cuda/kept-memory.ts";
import type { OnStream, Stream } from "../../cuda/stream.ts";
import {
  byteLengthOf,
  bytesPerPixel,
  chromaOffsetOf,
  chromaPitchOf,
  type DevicePlanes,
  type Image,
  type ImageForm,
  isDeep,
  yuvCoefficients,
  yuvRangeOf,
  yuvStandardOf,
} from "../../image/image.ts";
import type { DecodedImage, ImageDecodeOptions, ResidentImage } from "../../image/image-decoder.ts";
import { packedImage } from "../../image/nv12.ts";
import type { RowRuns, RowsRead } from "../../image/resize-taps.ts";
import { JpegSurface, type NvJpegDecoder, PinnedDecoder } from "../../nvjpeg/nvjpeg-decoder.ts";
import type { InputForm } from "../../runtime/task.ts";
import type { ZeroCopy } from "../accelerator-options.ts";
import type { Turn } from "./gpu-streams.ts";
import type { DeviceImage, PackedFrame, PlanarImage } from "./preprocess.ts";

/**
 * What is staged goes to the device in bands of this many bytes and more, while the next one is staged; in one where other batches
 * are under way, as each copy costs the JS thread 4 µs.
 */
const BAND_BYTES = 2 ** 20;
const MOST_BANDS = 4;

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Memory for one image of a batch. It only grows, so that a steady stream of frames allocates nothing. */
export class FrameMemory extends Resource {
  readonly #device: Device;
  readonly #zeroCopy: ZeroCopy;
  readonly #pinned: PinnedOptions;
  readonly #input: Pick<InputForm, "channels" | "levels">;
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
  readonly #planes: Writable<PlanarImage> = {
    format: "NV12",
    width: 0,
    height: 0,
    pixels: 0 as DevicePtr,
    pitchBytes: 0,
    chroma: 0 as DevicePtr,
    chromaPitchBytes: 0,
    coefficients: yuvCoefficients("BT.709", "limited"),
  };
  /** Most bands of the image that is copied. */
  #bands = 1;
  #staging: PinnedBuffer<"u8"> | undefined;
  #pixels: DeviceBuffer<"u8"> | undefined;
  readonly #decoder: PinnedDecoder;
  #surface: JpegSurface | undefined;

  /**
   * @param on       names the stream that copies an image, which may be another for the next: it is asked at each `upload`
   * @param zeroCopy true: kernels read the pixels in mapped host memory, and nothing is copied to the device; `"auto"`: they do where
   *   that is quicker
   * @param input    what the images are for: one of three channels takes samples of 16 bits rounded to levels. Default: such a one
   */
  constructor(on: OnStream, zeroCopy: ZeroCopy, input: Pick<InputForm, "channels" | "levels"> = { channels: 3 }) {
    super("FrameMemory", on.stream.device);
    this.#device = on.stream.device;
    this.#zeroCopy = zeroCopy;
    this.#input = input;
    this.#pinned = { use: zeroCopy === true ? "mapped" : "copy" };
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
   * @param turn    of the batch. Where others come before it, the copies of frames in page-locked memory are what spaces the starts
   *   of their graphs: they are copied whole. With 32 in flight of which each third row was copied, an H200 ran 4 % fewer
   * @returns where the image will be; the same object each time for its kind of format
   */
  upload(given: Image, rows?: RowsRead, turn: Turn = "alone"): DeviceImage {
    const { channels, levels } = this.#input;
    // The kernels of three channels read levels.
    const isRounded = channels === 3 && isDeep(given.format);
    const image = isRounded ? packedImage({ ...given, levels: given.levels ?? levels }) : given;
    const { data, format } = image;
    const byteLength = byteLengthOf(image);
    const pixels = this.#isReadInPlace(image, rows, turn)
      ? this.#mapped(data, byteLength)
      : this.#copied(image, byteLength, rows, turn);
    if (format === "NV12") return this.#planesAt(pixels, image);
    const packed = this.#packed;
    packed.format = format;
    packed.levels = image.levels;
    packed.width = image.width;
    packed.height = image.height;
    packed.pitchBytes = image.pitchBytes;
    packed.pixels = pixels;
    return packed;
  }

  /**
   * NV12 in mapped memory is read where it lies if its batch is alone and not all of its rows are read: on an H200 that saves 0.010 of
   * the 0.042 ms of two copies, of which that of U and V has rows that nothing reads. RGB, one copy, gains nothing by it.
   */
  #isReadInPlace({ data, format }: Image, rows: RowsRead | undefined, turn: Turn): boolean {
    if (this.#zeroCopy !== "auto") return this.#zeroCopy;
    const isSparse = format === "NV12" && rows !== undefined && turn === "alone";
    return isSparse && PinnedBuffer.owning(data)?.isMapped === true;
  }

  /** Where an image is that lies on the device already; the same object as of NV12 that is uploaded. */
  adopt(image: ImageForm, { bits, pixels, pitchBytes, chroma, chromaPitchBytes }: DevicePlanes): PlanarImage {
    const planes = this.#planes;
    planes.format = bits === 8 ? "NV12" : "P016";
    planes.width = image.width;
    planes.height = image.height;
    planes.pitchBytes = pitchBytes;
    planes.pixels = pixels;
    planes.chroma = chroma;
    planes.chromaPitchBytes = chromaPitchBytes;
    planes.coefficients = yuvCoefficients(yuvStandardOf(image), yuvRangeOf(image));
    return planes;
  }

  #planesAt(pixels: DevicePtr, image: Image): PlanarImage {
    const planes = this.#planes;
    planes.format = "NV12";
    planes.width = image.width;
    planes.height = image.height;
    planes.pitchBytes = image.pitchBytes;
    planes.pixels = pixels;
    planes.chroma = (pixels + chromaOffsetOf(image)) as DevicePtr;
    planes.chromaPitchBytes = chromaPitchOf(image);
    planes.coefficients = yuvCoefficients(yuvStandardOf(image), yuvRangeOf(image));
    return planes;
  }

  #copied(image: Image, byteLength: number, rows: RowsRead | undefined, turn: Turn): DevicePtr {
    const { data } = image;
    const pixels = grownDeviceBuffer(this.#pixels, byteLength, this.#device);
    this.#pixels = pixels;
    const owner = PinnedBuffer.owning(data);
    this.#copy.stream = this.#on.stream;
    this.#bands = owner === undefined && turn === "alone" ? MOST_BANDS : 1;
    if (rows !== undefined && (turn !== "ahead" || owner === undefined))
      this.#copyRows(pixels, owner, image, byteLength, rows);
    else if (owner !== undefined) this.#copyBytes(pixels, owner, 0, byteLength, data.byteOffset);
    else this.#copyStaged(pixels, data, byteLength);
    return pixels.pointer;
  }

  /** Copy all bytes to staging memory, and from there to the device, a band after the other. */
  #copyStaged(to: DeviceBuffer, data: Uint8Array, byteLength: number): void {
    const staging = this.#stagingFor(byteLength);
    const rectangle = this.#rectangle;
    const most = Math.ceil(byteLength / this.#bandsOf(byteLength));
    rectangle.height = 1;
    for (let start = 0; start < byteLength; start += most) {
      rectangle.widthBytes = Math.min(most, byteLength - start);
      rectangle.targetPitchBytes = rectangle.widthBytes;
      rectangle.sourcePitchBytes = rectangle.widthBytes;
      rectangle.targetOffsetBytes = start;
      rectangle.sourceOffsetBytes = start;
      copyHostRectangle(staging.data, data, rectangle);
      this.#copyBytes(to, staging, start, rectangle.widthBytes, 0);
    }
  }

  /** In how many bands so many bytes are staged: each is on its way to the device while the next is copied. */
  #bandsOf(byteLength: number): number {
    return Math.max(1, Math.min(this.#bands, Math.floor(byteLength / BAND_BYTES)));
  }

  /** Enqueue the copy of the rows that are read, each to where it lies in the image. @param owner holds it; without one rows are staged */
  #copyRows(
    to: DeviceBuffer,
    owner: PinnedBuffer | undefined,
    image: Image,
    byteLength: number,
    { pixels, chroma }: RowsRead,
  ): void {
    const { data, width, pitchBytes } = image;
    const staging = owner === undefined ? this.#stagingFor(byteLength) : undefined;
    const from = owner ?? staging!;
    const offset = owner === undefined ? 0 : data.byteOffset;
    const rowBytes = image.format === "NV12" ? width : width * bytesPerPixel(image.format);
    this.#setRuns(pixels, 0, rowBytes, pitchBytes);
    this.#copyRuns(to, from, data, staging?.data, offset);
    if (image.format !== "NV12") return;
    const start = chromaOffsetOf(image);
    this.#setRuns(chroma, start, width + (width & 1), chromaPitchOf(image));
    this.#copyRuns(to, from, data, staging?.data, offset);
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
    const { height } = rectangle;
    const most = Math.ceil(height / this.#bandsOf(height * rectangle.widthBytes));
    for (let row = 0; row < height; row += most) {
      rectangle.height = Math.min(most, height - row);
      rectangle.sourceOffsetBytes = rectangle.targetOffsetBytes;
      if (staging !== undefined) copyHostRectangle(staging, data, rectangle);
      rectangle.sourceOffsetBytes += offset;
      copyRectangleToDevice(to, from, rectangle, this.#copy);
      rectangle.targetOffsetBytes += most * rectangle.targetPitchBytes;
    }
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
