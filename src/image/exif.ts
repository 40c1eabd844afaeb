/** @module Exif: the tags of TIFF files, and of the EXIF of others, which is one; and images turned upright as those tell. */

import { imageOf, type PackedImage } from "./image.ts";

/** A strip or tile, as libtiff makes room for it. */
interface TiffBlock {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Of one pixel with all its channels, rounded up. */
  readonly pixelBytes: number;
}

const IMAGE_WIDTH = 256;
const IMAGE_HEIGHT = 257;
const BITS = 258;
const CHANNELS = 277;
const ROWS_PER_STRIP = 278;
const TILE_WIDTH = 322;
const TILE_HEIGHT = 323;
/** Bytes of a value by its type; types that no size has are left out. */
const TYPE_BYTES: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [3, 2],
  [4, 4],
  [16, 8],
]);

/** How the fields of classic and of big TIFF lie. */
interface Form {
  readonly little: boolean;
  /** Bytes of an offset: 4, or 8 in a big TIFF. */
  readonly offsetBytes: 4 | 8;
  /** Of the offset of the first directory, in the header. */
  readonly headerAt: number;
  /** Of the number of entries, and of an entry. */
  readonly countBytes: 2 | 8;
  readonly entryBytes: 12 | 20;
}

function formOf(view: DataView): Form | undefined {
  if (view.byteLength < 16) return undefined;
  const order = view.getUint16(0);
  if (order !== 0x4949 && order !== 0x4d4d) return undefined;
  const little = order === 0x4949;
  const version = view.getUint16(2, little);
  if (version === 42) return { little, offsetBytes: 4, headerAt: 4, countBytes: 2, entryBytes: 12 };
  return version === 43 ? { little, offsetBytes: 8, headerAt: 8, countBytes: 8, entryBytes: 20 } : undefined;
}

/** An unsigned number; `undefined` where the file ends before it. */
function numberAt(view: DataView, at: number, byteLength: number, little: boolean): number | undefined {
  if (at < 0 || at + byteLength > view.byteLength) return undefined;
  if (byteLength === 1) return view.getUint8(at);
  if (byteLength === 2) return view.getUint16(at, little);
  return byteLength === 4 ? view.getUint32(at, little) : Number(view.getBigUint64(at, little));
}

/**
 * The first value of each tag of the first directory that is a whole number; of a tag that comes twice, the first.
 *
 * @param bytes a TIFF or BigTIFF file; a damaged one gives those that are there
 */
function readTiffTags(bytes: Uint8Array): ReadonlyMap<number, number> {
  const tags = new Map<number, number>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const form = formOf(view);
  if (form === undefined) return tags;
  const { little, offsetBytes, countBytes, entryBytes } = form;
  const directory = numberAt(view, form.headerAt, offsetBytes, little) ?? view.byteLength;
  const count = Math.min(numberAt(view, directory, countBytes, little) ?? 0, 4096);
  for (let entry = 0; entry < count; entry++) {
    const at = directory + countBytes + entry * entryBytes;
    const tag = numberAt(view, at, 2, little);
    const valueBytes = TYPE_BYTES.get(numberAt(view, at + 2, 2, little) ?? 0);
    const values = numberAt(view, at + 4, offsetBytes, little);
    if (tag === undefined || valueBytes === undefined || values === undefined || tags.has(tag)) continue;
    const inline = at + 4 + offsetBytes;
    const place = valueBytes * values <= offsetBytes ? inline : numberAt(view, inline, offsetBytes, little);
    const value = place === undefined ? undefined : numberAt(view, place, valueBytes, little);
    if (value !== undefined) tags.set(tag, value);
  }
  return tags;
}

/**
 * The strips and tiles of a TIFF's first image, as far as its tags tell.
 *
 * @param bytes a TIFF or BigTIFF file; a damaged one gives none, never an error
 * @see TIFF 6.0, sections 3 and 15; the BigTIFF design of libtiff
 */
export function readTiffBlocks(bytes: Uint8Array): readonly TiffBlock[] {
  const tags = readTiffTags(bytes);
  if (tags.size === 0) return [];
  const width = tags.get(IMAGE_WIDTH) ?? 0;
  const height = tags.get(IMAGE_HEIGHT) ?? 0;
  const pixelBytes = Math.max(1, Math.ceil(((tags.get(BITS) ?? 1) * (tags.get(CHANNELS) ?? 1)) / 8));
  const [tileWidth, tileHeight] = [tags.get(TILE_WIDTH), tags.get(TILE_HEIGHT)];
  if (tileWidth !== undefined || tileHeight !== undefined)
    return [{ width: tileWidth ?? width, height: tileHeight ?? height, pixelBytes }];
  return [{ width, height: Math.min(tags.get(ROWS_PER_STRIP) ?? height, height), pixelBytes }];
}

/**
 * The file without its further pages, which libvips counts one by one: a directory of 18 bytes each would cost minutes.
 *
 * @param bytes a TIFF or BigTIFF file
 * @returns the bytes themselves where there is one page
 */
export function firstTiffPage(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const form = formOf(view);
  if (form === undefined) return bytes;
  const { little, offsetBytes, countBytes, entryBytes } = form;
  const directory = numberAt(view, form.headerAt, offsetBytes, little) ?? view.byteLength;
  const count = numberAt(view, directory, countBytes, little);
  if (count === undefined) return bytes;
  const nextAt = directory + countBytes + count * entryBytes;
  if ((numberAt(view, nextAt, offsetBytes, little) ?? 0) === 0) return bytes;
  const copy = new Uint8Array(bytes);
  copy.fill(0, nextAt, nextAt + offsetBytes);
  return copy;
}

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
