/** @module PictureTable: the pictures of a batch as the pre-processing kernel reads them, packed in place. */

import type { DevicePtr } from "../../core/handle.ts";
import type { Placement } from "../../image/geometry.ts";
import type { PackedFormat } from "../../image/image.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";
import type { YuvCoefficients } from "../../image/yuv.ts";

/** Bytes of `struct Picture` in kernels/picture.cuh. */
export const PICTURE_BYTES = 96;

const WORDS = PICTURE_BYTES / 4;
const FORMATS: Readonly<Record<PackedFormat, number>> = { RGB: 0, BGR: 0, RGBA: 1 };
const NV12 = 2;
/** Place of the two scales, in 8 bytes. */
const SCALES = 10;

/** A picture of interleaved pixels in device memory: u8 [height, width, 3 or 4], rows `pitchBytes` apart. */
export interface PackedPicture {
  readonly format: PackedFormat;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  readonly pixels: DevicePtr;
  readonly pitchBytes: number;
}

/** A picture of a video decoder in device memory: a plane of Y, and one of interleaved U, V of half the size. */
export interface Nv12Picture {
  readonly format: "NV12";
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** u8 [height, width], rows `pitchBytes` apart. */
  readonly pixels: DevicePtr;
  readonly pitchBytes: number;
  /** u8 [⌈height / 2⌉, ⌈width / 2⌉, 2], rows `chromaPitchBytes` apart. */
  readonly chroma: DevicePtr;
  readonly chromaPitchBytes: number;
  /** From YUV to RGB. Video up to 576 lines is mostly BT.601, above BT.709, and limited in range. */
  readonly coefficients: YuvCoefficients;
}

/** A picture in device memory. */
export type DevicePicture = PackedPicture | Nv12Picture;

/** Writes pictures into memory that is copied to the device; it allocates nothing after it was made. */
export class PictureTable {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;

  /**
   * @param buffer     memory of the table, page-locked where it is to be copied asynchronously
   * @param byteOffset where the table begins, a multiple of 16
   * @param capacity   pictures it has room for
   */
  constructor(buffer: ArrayBuffer, byteOffset: number, capacity: number) {
    this.#words = new Int32Array(buffer, byteOffset, capacity * WORDS);
    this.#doubles = new Float64Array(buffer, byteOffset, (capacity * WORDS) / 2);
  }

  /**
   * Write one picture.
   *
   * @param placement where it goes in the input; its source size may differ from the picture's, which counts here
   * @param colour    order of the tensor's channels
   */
  set(index: number, picture: DevicePicture, placement: Placement, colour: Preprocessing["colour"]): void {
    const words = this.#words;
    const at = index * WORDS;
    const isNv12 = picture.format === "NV12";
    const chroma = isNv12 ? picture.chroma : 0;
    words[at] = picture.pixels % 2 ** 32;
    words[at + 1] = picture.pixels / 2 ** 32;
    words[at + 2] = chroma % 2 ** 32;
    words[at + 3] = chroma / 2 ** 32;
    words[at + 4] = picture.pitchBytes;
    words[at + 5] = isNv12 ? picture.chromaPitchBytes : 0;
    words[at + 6] = picture.width;
    words[at + 7] = picture.height;
    words[at + 8] = placement.contentWidth;
    words[at + 9] = placement.contentHeight;
    words[at + 10] = placement.padX;
    words[at + 11] = placement.padY;
    words[at + 12] = isNv12 ? NV12 : FORMATS[picture.format];
    words[at + 13] = (picture.format === "BGR") !== (colour === "BGR") ? 1 : 0;
    this.#doubles[at / 2 + SCALES] = 1 / (placement.contentWidth / picture.width);
    this.#doubles[at / 2 + SCALES + 1] = 1 / (placement.contentHeight / picture.height);
    if (!isNv12) return;
    const { coefficients } = picture;
    words[at + 14] = coefficients.offset;
    words[at + 15] = coefficients.y;
    words[at + 16] = coefficients.vRed;
    words[at + 17] = coefficients.uGreen;
    words[at + 18] = coefficients.vGreen;
    words[at + 19] = coefficients.uBlue;
  }
}
