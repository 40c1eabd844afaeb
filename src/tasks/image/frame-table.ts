/** @module FrameTable: a picture, what is made of it, and its tiles, as kernels/transform.cu reads them. */

import type { DevicePtr } from "../../core/handle.ts";
import type { Tile } from "./tile-grid.ts";

/** Bytes of `struct Frame`. */
export const FRAME_BYTES = 48;

/** Bytes of `struct Tile`. */
export const TILE_BYTES = 32;

/** A picture and what is made of it, in device memory. */
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
