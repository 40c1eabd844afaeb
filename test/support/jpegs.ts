/** @module JPEG files for tests that sharp does not make: see test/fixtures/jpeg/make.py. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

const FOLDER = join(import.meta.dir, "../fixtures/jpeg");

/** Names of the files, 67x45, without their ending. */
export const JPEG_FIXTURES = ["420", "422", "440", "411", "444", "grey", "cmyk", "arithmetic", "restart"] as const;

/** One of the files. */
export function jpegFixture(name: (typeof JPEG_FIXTURES)[number]): Buffer {
  return readFileSync(join(FOLDER, `${name}.jpg`));
}

/** The offset of a segment's marker. */
function segmentAt(jpeg: Uint8Array, isWanted: (marker: number) => boolean): number {
  for (let at = 2; at + 4 <= jpeg.length; at += 2 + jpeg[at + 2]! * 256 + jpeg[at + 3]!) {
    if (isWanted(jpeg[at + 1]!)) return at;
  }
  throw new Error("There is no such segment");
}

/** The file with another frame marker, precision or height: its header says what its pixels are not. */
export function withFrame(
  jpeg: Uint8Array,
  change: { readonly marker?: number; readonly precision?: number; readonly height?: number },
): Buffer {
  const copy = Buffer.from(jpeg);
  const at = segmentAt(jpeg, (marker) => marker >= 0xc0 && marker <= 0xc2);
  if (change.marker !== undefined) copy[at + 1] = change.marker;
  if (change.precision !== undefined) copy[at + 4] = change.precision;
  if (change.height !== undefined) copy.writeUInt16BE(change.height, at + 5);
  return copy;
}

/** The file without a segment. */
export function withoutSegment(jpeg: Uint8Array, marker: number): Buffer {
  const at = segmentAt(jpeg, (found) => found === marker);
  return Buffer.concat([jpeg.subarray(0, at), jpeg.subarray(at + 2 + jpeg[at + 2]! * 256 + jpeg[at + 3]!)]);
}
