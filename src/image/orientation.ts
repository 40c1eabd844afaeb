/** @module Orientation: turn a stored image upright, in slices that let the JS thread breathe. */

import { imageOf, type PackedImage } from "./image.ts";
import { readTiffTags } from "./tiff.ts";

/** Both the rows read and the rows written of a tile of this side stay in the first-level cache. */
const TILE = 32;
/** Bytes of an RGB or BGR pixel. */
const PIXEL = 3;
/** One to two milliseconds of work. */
const PIXELS_PER_SLICE = 2 ** 20;

/**
 * Copy the pixels [0, width) x [top, bottom) of the destination; `start`, `stepX` and `stepY` say where they come from.
 * All in bytes but `width`, `top` and `bottom`. `| 0` keeps the engine at integers, which is three times as fast.
 */
function copyRows(
  from: Uint8Array,
  to: Uint8Array,
  width: number,
  top: number,
  bottom: number,
  start: number,
  stepX: number,
  stepY: number,
): void {
  const step = stepX | 0;
  for (let tileY = top; tileY < bottom; tileY = (tileY + TILE) | 0) {
    const endY = Math.min(bottom, tileY + TILE) | 0;
    for (let tileX = 0; tileX < width; tileX = (tileX + TILE) | 0) {
      const columns = Math.min(width - tileX, TILE) | 0;
      for (let y = tileY; y < endY; y = (y + 1) | 0) {
        let source = (start + tileX * step + y * stepY) | 0;
        let target = ((y * width + tileX) * PIXEL) | 0;
        const end = (target + columns * PIXEL) | 0;
        for (; target < end; target = (target + PIXEL) | 0) {
          to[target] = from[source]!;
          to[(target + 1) | 0] = from[(source + 1) | 0]!;
          to[(target + 2) | 0] = from[(source + 2) | 0]!;
          source = (source + step) | 0;
        }
      }
    }
  }
}

/** Most bytes of an image that {@linkcode orient} turns: its offsets are 32-bit integers. */
export const LARGEST_ORIENTABLE: number = 2 ** 31 - 1;

/** Where the pixels of an upright image lie in the stored one: (x, y) at `start` + x·`stepX` + y·`stepY`. */
export interface OrientationSteps {
  /** Of the upright image, in pixels. */
  readonly width: number;
  readonly height: number;
  /** In bytes, as are the steps. */
  readonly start: number;
  readonly stepX: number;
  readonly stepY: number;
}

/**
 * How a stored image of three bytes a pixel is walked so that it comes out upright.
 *
 * @param storedWidth  in pixels
 * @param storedHeight in pixels
 * @param pitchBytes   between its rows
 */
export function orientationSteps(
  orientation: Orientation,
  storedWidth: number,
  storedHeight: number,
  pitchBytes: number,
): OrientationSteps {
  const isSideways = swapsSides(orientation);
  const lastColumn = (storedWidth - 1) * PIXEL;
  const lastRow = (storedHeight - 1) * pitchBytes;
  const mirrorsX = orientation === 2 || orientation === 3 || orientation === 7 || orientation === 8;
  const mirrorsY = orientation === 3 || orientation === 4 || orientation === 6 || orientation === 7;
  const alongColumns = mirrorsX ? -PIXEL : PIXEL;
  const alongRows = mirrorsY ? -pitchBytes : pitchBytes;
  return {
    width: isSideways ? storedHeight : storedWidth,
    height: isSideways ? storedWidth : storedHeight,
    start: (mirrorsX ? lastColumn : 0) + (mirrorsY ? lastRow : 0),
    stepX: isSideways ? alongRows : alongColumns,
    stepY: isSideways ? alongColumns : alongRows,
  };
}

/**
 * Turn an image upright.
 *
 * The work is done on the JS thread in slices of one or two milliseconds; timers and requests are served in between.
 *
 * @param image       the image as it is stored, RGB or BGR, at most {@linkcode LARGEST_ORIENTABLE} bytes
 * @param orientation what its EXIF says
 * @param destination u8, at least width × height × 3 bytes, apart from the image's own; keeps no reference to it
 * @returns the upright image over `destination`, tight rows
 * @throws {ShapeError} If the destination is too short
 * @see the EXIF standard, tag Orientation
 */
export async function orient(
  image: PackedImage,
  orientation: Orientation,
  destination: Uint8Array,
): Promise<PackedImage> {
  const { format, data } = image;
  const steps = orientationSteps(orientation, image.width, image.height, image.pitchBytes);
  const { width, height, start, stepX, stepY } = steps;
  const upright = imageOf(destination, { width, height, format });

  const rows = Math.max(TILE, Math.floor(PIXELS_PER_SLICE / width / TILE) * TILE);
  for (let top = 0; top < height; top += rows) {
    if (top > 0) await new Promise((resolve) => setImmediate(resolve));
    copyRows(data, destination, width, top, Math.min(height, top + rows), start, stepX, stepY);
  }
  return upright;
}

/** How the stored image must be turned to be upright: the value of EXIF tag 0x0112. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

const TAG_ORIENTATION = 0x0112;

/** True if the stored image lies on its side, so that width and height change places. */
export function swapsSides(orientation: Orientation): boolean {
  return orientation >= 5;
}

/**
 * The orientation in an EXIF block.
 *
 * @param block the TIFF file in it: what follows "Exif\0\0"
 * @returns 1 if there is none, or the block is broken
 */
export function exifOrientation(block: Uint8Array): Orientation {
  const value = readTiffTags(block).get(TAG_ORIENTATION) ?? 1;
  return value >= 1 && value <= 8 ? (value as Orientation) : 1;
}
