/** @module Exif: the orientation of a picture, as its EXIF block has it. Pure. */

/** How the stored picture must be turned to be upright: the value of EXIF tag 0x0112. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

const TAG_ORIENTATION = 0x0112;
/** The standard wants a SHORT; some writers use a BYTE or LONG, which libexif, and so sharp, accepts as well. */
const TYPE_BYTE = 1;
const TYPE_SHORT = 3;
const TYPE_LONG = 4;

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

/**
 * The orientation in an EXIF block.
 *
 * @param block the TIFF file in it: what follows "Exif\0\0"
 * @returns 1 if there is none, or the block is broken
 */
export function exifOrientation(block: Uint8Array): Orientation {
  const tiff = new DataView(block.buffer, block.byteOffset, block.byteLength);
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
