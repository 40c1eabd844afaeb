/** @module BatchTable: the pictures of a batch as nvJPEG and the kernels read them, packed in place. */

import { Resource } from "../core/resource.ts";
import type { DeviceMemory } from "../cuda/buffer-view.ts";
import type { Device } from "../cuda/device.ts";
import { PinnedBuffer } from "../cuda/pinned-buffer.ts";
import { NVJPEG_IMAGE_BYTES, NVJPEG_IMAGE_PITCH } from "../ffi/nvjpeg-symbols.ts";
import { addressOf } from "../ffi/pointer.ts";
import { OutCells } from "../ffi/scratch.ts";

/** Bytes of `struct Picture` in kernels/jpeg.cu. */
const PICTURE_BYTES = 32;
const WORDS = PICTURE_BYTES / 4;
const IMAGE_CELLS = NVJPEG_IMAGE_BYTES / 8;

/** A picture to be decoded, as stored: before it is turned upright. */
export interface StoredPicture {
  /** The file, up to its end marker. */
  readonly bytes: Uint8Array;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** u8 [height, width, 3], tight rows. */
  readonly pixels: DeviceMemory;
}

/** Tables for batches of up to a number of pictures; they stay in place while native code reads them. */
export class BatchTable extends Resource {
  /** The pictures as the kernels see them. */
  readonly pictures: DeviceMemory;
  readonly #memory: PinnedBuffer<"u8">;
  readonly #words: Int32Array;
  readonly #data: OutCells;
  readonly #lengths: OutCells;
  readonly #images: OutCells;

  /** @param capacity pictures it has room for */
  constructor(device: Device, capacity: number) {
    super("BatchTable", device);
    try {
      this.#memory = PinnedBuffer.create("u8", [capacity * PICTURE_BYTES], device, { use: "mapped" });
    } catch (error) {
      this.close();
      throw error;
    }
    this.pictures = this.#memory.mapped;
    this.#words = new Int32Array(this.#memory.buffer);
    this.#data = new OutCells(capacity);
    this.#lengths = new OutCells(capacity);
    this.#images = new OutCells(capacity * IMAGE_CELLS);
  }

  /** `const unsigned char *const *data` */
  get data(): number {
    return addressOf(this.#data.cells);
  }

  /** `const size_t *lengths` */
  get lengths(): number {
    return addressOf(this.#lengths.cells);
  }

  /** `nvjpegImage_t *destinations` */
  get images(): number {
    return addressOf(this.#images.cells);
  }

  /** Write one picture. The caller keeps its bytes and pixels until the batch is done. */
  set(index: number, picture: StoredPicture): void {
    const { bytes, width, height, pixels } = picture;
    const { pointer } = pixels;
    this.#data.setPointer(index, addressOf(bytes));
    this.#lengths.setPointer(index, bytes.length);
    this.#images.setPointer(index * IMAGE_CELLS, pointer);
    this.#images.setPointer(index * IMAGE_CELLS + NVJPEG_IMAGE_PITCH, width * 3);
    const at = index * WORDS;
    this.#words[at] = pointer % 2 ** 32;
    this.#words[at + 1] = pointer / 2 ** 32;
    this.#words[at + 2] = width;
    this.#words[at + 3] = height;
    this.#words[at + 4] = 0;
  }

  /** True if nothing was written since `jpeg_mark`, once the stream has passed `jpeg_inspect`. */
  isUntouched(index: number): boolean {
    return this.#words[index * WORDS + 4] !== 0;
  }

  protected override release(): void {
    this.#memory?.close();
  }
}
