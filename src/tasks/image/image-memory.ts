/** @module FrameTable: an image, what is made of it, and its tiles, as kernels/transform.cu reads them. */

import { IMAGE_BYTES, ImageTable } from "../../accelerators/tensorrt/preprocess.ts";
import { Resource } from "../../core/resource.ts";
import type { DevicePtr } from "../../core/units.ts";
import { type DeviceBuffer, type DeviceMemory, PinnedBuffer } from "../../cuda/buffers.ts";
import { copyHost, copyToDevice, copyToHost } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../../cuda/kept-memory.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { Tile } from "../image-grid.ts";

/** Bytes of `struct Frame`. */
export const FRAME_BYTES = 48;

/** Bytes of `struct Tile`. */
export const TILE_BYTES = 32;

/** An image and what is made of it, in device memory. */
export interface DeviceFrame {
  readonly pixels: DevicePtr;
  readonly result: DevicePtr;
  /** Bytes between rows. */
  readonly pitchBytes: number;
  readonly resultPitchBytes: number;
  /** Of the source in pixels. */
  readonly width: number;
  readonly height: number;
  readonly pixelBytes: number;
  /** True if the first byte of a pixel is blue. */
  readonly isBgr: boolean;
}

/** Write a frame. @param words i32 [12] */
export function packFrame(words: Int32Array, frame: DeviceFrame): void {
  const { pixels, result } = frame;
  words[0] = pixels % 2 ** 32;
  words[1] = pixels / 2 ** 32;
  words[2] = result % 2 ** 32;
  words[3] = result / 2 ** 32;
  words[4] = frame.pitchBytes;
  words[5] = frame.resultPitchBytes;
  words[6] = frame.width;
  words[7] = frame.height;
  words[8] = frame.pixelBytes;
  words[9] = frame.isBgr ? 1 : 0;
  words[10] = 0;
  words[11] = 0;
}

/** Write a tile; `undefined` for one of which nothing is kept. @param words i32, eight from `at` on */
export function packTile(words: Int32Array, at: number, tile: Tile | undefined): void {
  words[at] = tile?.x ?? 0;
  words[at + 1] = tile?.y ?? 0;
  words[at + 2] = tile?.left ?? 0;
  words[at + 3] = tile?.top ?? 0;
  words[at + 4] = tile?.right ?? 0;
  words[at + 5] = tile?.bottom ?? 0;
  words[at + 6] = 0;
  words[at + 7] = 0;
}

/** Bytes of what a run of so many tiles reads: the frame, the regions, and the tiles. */
export function runBytes(batch: number): number {
  return FRAME_BYTES + batch * (IMAGE_BYTES + TILE_BYTES);
}

/** What is written of one run on the host, before it is copied. */
interface RunTable {
  /** All of it, in words: the frame, what the model sees of each tile, and the tiles. */
  readonly words: Int32Array;
  /** What the model sees of each tile. */
  readonly regions: ImageTable;
  /** Where it lies in the memory of all runs. */
  readonly offsetBytes: number;
}

/** Memory for one image in flight. It only grows, so that images of one size allocate nothing. Nothing of it may be in use when it grows. */
export class ImageMemory extends Resource {
  readonly #device: Device;
  #runs: readonly RunTable[] = [];
  /** Tiles that each run has room for. */
  #rows = 0;
  #table: PinnedBuffer<"u8"> | undefined;
  #result: DeviceBuffer<"u8"> | undefined;
  #staging: PinnedBuffer<"u8"> | undefined;

  constructor(device: Device) {
    super("ImageMemory", device);
    this.#device = device;
  }

  /** Make room for what is made of an image. @returns where it will be */
  reserve(byteLength: number): DevicePtr {
    const device = this.#device;
    this.#result = grownDeviceBuffer(this.#result, byteLength, device);
    this.#staging = grownPinnedBuffer(this.#staging, byteLength, device);
    return this.#result.pointer;
  }

  /** Where so many runs, each of at most so many tiles, are written. */
  runs(count: number, rows: number): readonly RunTable[] {
    if (this.#runs.length < count || this.#rows < rows) this.#grow(count, rows);
    return this.#runs;
  }

  /** Enqueue the copy of a run to the device. */
  upload(target: DeviceMemory, { offsetBytes }: RunTable, { stream }: OnStream): void {
    copyToDevice(target, this.#table!, { stream, byteLength: target.byteLength, sourceOffsetBytes: offsetBytes });
  }

  /** Enqueue the copy of what was made to the host. */
  download(byteLength: number, { stream }: OnStream): void {
    copyToHost(this.#staging!, this.#result!, { stream, byteLength });
  }

  /** Copy what came back out, once the stream has passed. */
  read(target: Uint8Array): void {
    copyHost(target, this.#staging!.data, target.length);
  }

  #grow(count: number, rows: number): void {
    this.#runs = [];
    this.#table?.close();
    const bytes = runBytes(rows);
    this.#table = PinnedBuffer.create("u8", [count * bytes], this.#device);
    this.#rows = rows;
    const { buffer } = this.#table;
    this.#runs = Array.from({ length: count }, (_, run): RunTable => {
      const offsetBytes = run * bytes;
      const regions = new ImageTable(buffer, offsetBytes + FRAME_BYTES, rows);
      return { words: new Int32Array(buffer, offsetBytes, bytes / 4), regions, offsetBytes };
    });
  }

  protected release(): void {
    // Each is closed whatever happens to the others.
    using owned = new DisposableStack();
    owned.use(this.#table);
    owned.use(this.#result);
    owned.use(this.#staging);
  }
}
