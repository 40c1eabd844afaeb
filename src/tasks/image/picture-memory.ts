/** @module PictureMemory: where the tiles of a picture are listed and what is made of it lies, on the device and on its way back. */

import type { DevicePtr } from "../../core/handle.ts";
import { Resource } from "../../core/resource.ts";
import type { DeviceMemory } from "../../cuda/buffer-view.ts";
import { copyToDevice, copyToHost } from "../../cuda/copy.ts";
import type { Device } from "../../cuda/device.ts";
import { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../../cuda/grown-buffer.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import { type DeviceFrame, FRAME_BYTES, packFrame, packTile, TILE_BYTES } from "./frame-table.ts";
import type { Tile } from "./tile-grid.ts";

const FRAME_WORDS: number = FRAME_BYTES / 4;
const TILE_WORDS: number = TILE_BYTES / 4;

/** Memory for one picture in flight. It only grows, so that pictures of one size allocate nothing. Nothing of it may be in use when it grows. */
export class PictureMemory extends Resource {
  /** The frame on the device; it stays where it is. */
  readonly frame: DeviceBuffer<"u8">;
  readonly #device: Device;
  #table: PinnedBuffer<"i32"> | undefined;
  #tiles: DeviceBuffer<"u8"> | undefined;
  #result: DeviceBuffer<"u8"> | undefined;
  #staging: PinnedBuffer<"u8"> | undefined;

  constructor(device: Device) {
    super("PictureMemory", device);
    this.#device = device;
    try {
      this.frame = DeviceBuffer.create("u8", [FRAME_BYTES], { device });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Make room for what is made of a picture. @returns where it will be */
  reserve(byteLength: number): DevicePtr {
    const device = this.#device;
    this.#result = grownDeviceBuffer(this.#result, byteLength, device);
    this.#staging = grownPinnedBuffer(this.#staging, byteLength, device);
    return this.#result.pointer;
  }

  /**
   * Enqueue the copy of a frame and its tiles.
   *
   * @param rows tiles rounded up to whole batches; nothing is kept of those that are too many
   * @returns all tiles on the device
   */
  upload(frame: DeviceFrame, tiles: readonly Tile[], rows: number, { stream }: OnStream): DeviceMemory {
    const length = FRAME_WORDS + rows * TILE_WORDS;
    if (this.#tiles === undefined || this.#table!.length < length) this.#growTable(length, rows);
    const table = this.#table!;
    packFrame(table.data, frame);
    for (let row = 0; row < rows; row++) packTile(table.data, FRAME_WORDS + row * TILE_WORDS, tiles[row]);
    copyToDevice(this.frame, table, { stream, byteLength: FRAME_BYTES });
    copyToDevice(this.#tiles!, table, { stream, byteLength: rows * TILE_BYTES, sourceOffsetBytes: FRAME_BYTES });
    return this.#tiles!;
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

  #growTable(length: number, rows: number): void {
    const device = this.#device;
    this.#tiles?.close();
    this.#tiles = undefined;
    this.#table?.close();
    this.#table = undefined;
    this.#table = PinnedBuffer.create("i32", [length], device);
    this.#tiles = DeviceBuffer.create("u8", [rows * TILE_BYTES], { device });
  }

  protected release(): void {
    // Each is closed whatever happens to the others.
    using owned = new DisposableStack();
    owned.use(this.frame);
    owned.use(this.#table);
    owned.use(this.#tiles);
    owned.use(this.#result);
    owned.use(this.#staging);
  }
}
