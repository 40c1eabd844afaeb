/** @module Exif: the orientation that a JPEG file carries, read from its markers. Pure. */

/** How the stored picture must be turned to be upright: the value of EXIF tag 0x0112. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/** What the markers in front of a JPEG's pixels say. */
export interface JpegMarkers {
  /** 1 where there is no EXIF, or no valid tag in it. */
  readonly orientation: Orientation;
  /** True if the picture comes in scans of growing detail, of which a small file can hold very many. */
  readonly isProgressive: boolean;
  /** Offset in bytes of the first scan, or the length of the file where there is none. */
  readonly scanOffset: number;
}

const TAG_ORIENTATION = 0x0112;
/** The standard wants a SHORT; some writers use a BYTE or LONG, which libexif, and so sharp, accepts as well. */
const TYPE_BYTE = 1;
const TYPE_SHORT = 3;
const TYPE_LONG = 4;
/** "Exif\0\0" */
const EXIF_HEADER = [0x45, 0x78, 0x69, 0x66, 0, 0] as const;

/** True if the stored picture lies on its side, so that width and height change places. */
export function swapsSides(orientation: Orientation): boolean {
  return orientation >= 5;
}

/** The value of a directory entry; 0 if its type is none that an orientation has. */
function tagValue(tiff: DataView, entry: number, little: boolean): number {
  switch (tiff.getUint16(entry + 2, little)) {
    case TYPE_BYTE:
      return tiff.getUint8(entry + 8);
    case TYPE_SHORT:
      return tiff.getUint16(entry + 8, little);
    case TYPE_LONG:
      return tiff.getUint32(entry + 8, little);
    default:
      return 0;
  }
}

/** The orientation in a TIFF block (what follows "Exif\0\0"); 1 if it is absent or broken. */
function tiffOrientation(tiff: DataView): Orientation {
  if (tiff.byteLength < 8) return 1;
  const order = tiff.getUint16(0);
  if (order !== 0x4949 && order !== 0x4d4d) return 1;
  const little = order === 0x4949;
  const directory = tiff.getUint32(4, little);
  if (directory + 2 > tiff.byteLength) return 1;
  const count = tiff.getUint16(directory, little);
  for (let entry = 0; entry < count; entry++) {
    const at = directory + 2 + entry * 12;
    if (at + 12 > tiff.byteLength) return 1;
    if (tiff.getUint16(at, little) !== TAG_ORIENTATION) continue;
    const value = tagValue(tiff, at, little);
    return value >= 1 && value <= 8 ? (value as Orientation) : 1;
  }
  return 1;
}

/**
 * Read the markers of a JPEG up to its first scan.
 *
 * @param bytes a JPEG file; a damaged one gives orientation 1, never an error
 */
export function readJpegMarkers(bytes: Uint8Array): JpegMarkers {
  let orientation: Orientation = 1;
  let isProgressive = false;
  let isFound = false;
  let at = 2;
  while (at + 4 <= bytes.length) {
    // Bytes between two markers are skipped, as libjpeg does.
    if (bytes[at] !== 0xff || bytes[at + 1] === 0xff) {
      at += 1;
      continue;
    }
    const marker = bytes[at + 1]!;
    if (marker === 0xda) return { orientation, isProgressive, scanOffset: at };
    if (marker === 0xd9) break;
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2;
      continue;
    }
    if (marker === 0xc2 || marker === 0xca) isProgressive = true;
    const length = bytes[at + 2]! * 256 + bytes[at + 3]!;
    if (marker === 0xe1 && !isFound && EXIF_HEADER.every((byte, index) => bytes[at + 4 + index] === byte)) {
      const end = Math.min(at + 2 + length, bytes.length);
      orientation = tiffOrientation(new DataView(bytes.buffer, bytes.byteOffset + at + 10, Math.max(0, end - at - 10)));
      isFound = true;
    }
    at += 2 + Math.max(2, length);
  }
  return { orientation, isProgressive, scanOffset: bytes.length };
}
