/** @module FrameTable: an image, what is made of it, and its tiles, as kernels/transform.cu reads them. */

import { IMAGE_BYTES, ImageTable } from "../../accelerators/tensorrt/preprocess.ts";
import { Resource } from "../../core/resource.ts";
import type { DevicePtr } from "../../core/units.ts";
import { copyToDevice, copyToHost } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import { DeviceBuffer, type DeviceMemory } from "../../cuda/device-buffer.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../../cuda/grown-buffer.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { Tile } from "./tile-grid.ts";

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

/** What is written of an image and its tiles on the host, before it is copied. */
export interface HostTables {
  /** The frame, then the tiles. */
  readonly words: Int32Array;
  /** What the model sees of each tile. */
  readonly regions: ImageTable;
}

/** Memory for one image in flight. It only grows, so that images of one size allocate nothing. Nothing of it may be in use when it grows. */
export class ImageMemory extends Resource {
  /** The frame on the device; it stays where it is. */
  readonly frame: DeviceBuffer<"u8">;
  readonly #device: Device;
  #tables: HostTables | undefined;
  #table: PinnedBuffer<"u8"> | undefined;
  #tiles: DeviceBuffer<"u8"> | undefined;
  #regions: DeviceBuffer<"u8"> | undefined;
  /** Tiles there is room for. */
  #capacity = 0;
  #result: DeviceBuffer<"u8"> | undefined;
  #staging: PinnedBuffer<"u8"> | undefined;

  constructor(device: Device) {
    super("ImageMemory", device);
    this.#device = device;
    try {
      this.frame = DeviceBuffer.create("u8", [FRAME_BYTES], { device });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Make room for what is made of an image. @returns where it will be */
  reserve(byteLength: number): DevicePtr {
    const device = this.#device;
    this.#result = grownDeviceBuffer(this.#result, byteLength, device);
    this.#staging = grownPinnedBuffer(this.#staging, byteLength, device);
    return this.#result.pointer;
  }

  /** All tiles on the device, after `upload`. */
  get tiles(): DeviceMemory {
    return this.#tiles!;
  }

  /** All regions on the device, likewise. */
  get regions(): DeviceMemory {
    return this.#regions!;
  }

  /** Where a frame and so many tiles are written. */
  tables(rows: number): HostTables {
    if (this.#tables === undefined || this.#capacity < rows) this.#tables = this.#grow(rows);
    return this.#tables;
  }

  /** Enqueue the copy of the frame and of so many tiles. */
  upload(rows: number, { stream }: OnStream): void {
    const table = this.#table!;
    const sourceOffsetBytes = FRAME_BYTES + this.#capacity * TILE_BYTES;
    copyToDevice(this.frame, table, { stream, byteLength: FRAME_BYTES });
    copyToDevice(this.#tiles!, table, { stream, byteLength: rows * TILE_BYTES, sourceOffsetBytes: FRAME_BYTES });
    copyToDevice(this.#regions!, table, { stream, byteLength: rows * IMAGE_BYTES, sourceOffsetBytes });
  }

  /** Enqueue the copy of what was made to the host. */
  download(byteLength: number, { stream }: OnStream): void {
    copyToHost(this.#staging!, this.#result!, { stream, byteLength });
  }

  /** Copy what came back out, once the stream has passed. */
  read(target: Uint8Array): void {
    const { data } = this.#staging!;
    target.set(data.length === target.length ? data : data.subarray(0, target.length));
  }

  #grow(rows: number): HostTables {
    const device = this.#device;
    for (const buffer of [this.#tiles, this.#regions, this.#table]) buffer?.close();
    this.#tables = undefined;
    const regionsAt = FRAME_BYTES + rows * TILE_BYTES;
    this.#table = PinnedBuffer.create("u8", [regionsAt + rows * IMAGE_BYTES], device);
    this.#tiles = DeviceBuffer.create("u8", [rows * TILE_BYTES], { device });
    this.#regions = DeviceBuffer.create("u8", [rows * IMAGE_BYTES], { device });
    this.#capacity = rows;
    const { buffer } = this.#table;
    return { words: new Int32Array(buffer, 0, regionsAt / 4), regions: new ImageTable(buffer, regionsAt, rows) };
  }

  protected release(): void {
    // Each is closed whatever happens to the others.
    using owned = new DisposableStack();
    owned.use(this.frame);
    owned.use(this.#table);
    owned.use(this.#tiles);
    owned.use(this.#regions);
    owned.use(this.#result);
    owned.use(this.#staging);
  }
}
