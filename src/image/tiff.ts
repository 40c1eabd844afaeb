/** @module Tiff: the tags of TIFF files, and of the EXIF of others, which is one. Pure. */

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
export function readTiffTags(bytes: Uint8Array): ReadonlyMap<number, number> {
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
