/** @module JpegRepair: copies of a JPEG without what a decoder warns of although every pixel is there. Pure. */

import type { JpegMarkers } from "./jpeg-markers.ts";
import { hasManyScans, readJpegScans } from "./jpeg-scans.ts";

const END_OF_IMAGE = Uint8Array.of(0xff, 0xd9);
const JFIF = "JFIF\0";
const ADOBE = "Adobe";

/**
 * What is wrong with a JPEG whose data a decoder warns of, in words that are the same for every decoder.
 *
 * @param scanOffset of the first scan
 */
export function damageOf(bytes: Uint8Array, scanOffset: number): string {
  const end = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).lastIndexOf(END_OF_IMAGE);
  return end < scanOffset ? "it ends before its last pixel" : "its data does not fit its pixels";
}

/** The segments in front of the first scan, without bytes between them, and with a version that libjpeg knows. */
function plainHeader(file: Buffer, markers: JpegMarkers): Uint8Array[] {
  const parts: Uint8Array[] = [file.subarray(0, 2)];
  let at = 2;
  while (at + 4 <= markers.scanOffset) {
    const marker = file[at + 1]!;
    if (file[at] !== 0xff || marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2;
      continue;
    }
    const end = at + 2 + Math.max(2, file.readUInt16BE(at + 2));
    const segment = Buffer.from(file.subarray(at, Math.min(end, markers.scanOffset)));
    const name = segment.toString("latin1", 4, 9);
    if (marker === 0xe0 && name === JFIF && segment.length > 9) segment[9] = 1;
    // libjpeg takes an unknown transform for the usual one.
    if (marker === 0xee && name === ADOBE && (segment[15] ?? 0) > 2)
      segment[15] = markers.frame?.components === 4 ? 2 : 1;
    parts.push(segment);
    at = end;
  }
  return parts;
}

/** The scan header of a sequential picture, whose last three bytes can be only 0, 63 and 0. */
function plainScan(file: Buffer, { scanOffset, isProgressive }: JpegMarkers): Buffer {
  const scan = Buffer.from(file.subarray(scanOffset, scanOffset + 2 + file.readUInt16BE(scanOffset + 2)));
  if (!isProgressive && scan.length >= 8) scan.set([0, 63, 0], scan.length - 3);
  return scan;
}

/** Where the bytes that fill up the data begin: several of one value, or a single 0. The data's own length if there are none. */
function fillingAt(data: Buffer): number {
  const last = data[data.length - 1];
  let at = data.length;
  while (at > 0 && data[at - 1] === last) at -= 1;
  return data.length - at > 1 || last === 0 ? at : data.length;
}

/**
 * Copies of a file that a decoder warned of, each without something that belongs to no pixel: bytes between segments or of
 * one value behind the data, an unknown version, a missing end marker. If a decoder is content with one of them, every
 * pixel of the file is there. Damaged data stays what it is in all of them.
 *
 * @param bytes   a JPEG file
 * @param markers what `readJpegMarkers` read of it
 * @returns the likeliest first; none if there is nothing to leave out
 */
export function repairedJpegs(bytes: Uint8Array, markers: JpegMarkers): Uint8Array[] {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (markers.frame === undefined || markers.scanOffset + 8 > file.length) return [];
  const scans = readJpegScans(bytes, markers);
  // What has ended between two scans looks complete once it has an end marker.
  if (scans.end < 0 && hasManyScans(markers) && !scans.isComplete) return [];
  const head = [...plainHeader(file, markers), plainScan(file, markers)];
  const dataAt = markers.scanOffset + head.at(-1)!.length;
  let data = file.subarray(dataAt, scans.end < 0 ? file.length : scans.end - 2);
  // Half a marker.
  if (scans.end < 0 && data.at(-1) === 0xff) data = data.subarray(0, -1);
  const filling = fillingAt(data);
  // The last byte of the data may be of the same value.
  const ends = new Set([data.length, filling, Math.min(filling + 1, data.length)]);
  const copies = [...ends].map((end) => Buffer.concat([...head, data.subarray(0, end), END_OF_IMAGE]));
  return copies.filter((copy) => !copy.equals(file.subarray(0, Math.max(scans.end, copy.length))));
}
