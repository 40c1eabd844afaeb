/** @module JpegScans: how many scans a JPEG has, whether they give every component all of its detail, and where it ends. Pure. */

import type { JpegMarkers } from "./jpeg-markers.ts";

/** What the scans of a JPEG say of themselves. */
export interface JpegScans {
  /** At least one, unless the file ends in front of them. */
  readonly count: number;
  /** Offset in bytes behind the end marker; -1 where there is none. */
  readonly end: number;
  /**
   * False if a component, or the last bits of its coefficients, come in none of the scans: the file ends between two
   * scans, which no decoder reports. Whether the last scan itself is complete is not looked at.
   */
  readonly isComplete: boolean;
}

const START_OF_SCAN = 0xda;
const END_OF_IMAGE = 0xd9;
/** Coefficients of a block. */
const COEFFICIENTS = 64;

/** The offset of the next marker that is neither stuffing nor a restart; -1 if there is none. */
function nextMarker(file: Buffer, from: number): number {
  for (let at = file.indexOf(0xff, from); at >= 0 && at + 1 < file.length; at = file.indexOf(0xff, at + 1)) {
    const marker = file[at + 1]!;
    if (marker !== 0 && marker !== 0xff && (marker < 0xd0 || marker > 0xd7)) return at;
  }
  return -1;
}

/** Note which coefficients of which components a scan completes. `at` is its marker. */
function noteScan(complete: Map<number, Set<number>>, file: Buffer, at: number): void {
  const components = file[at + 4] ?? 0;
  const table = at + 5 + components * 2;
  const [first = 0, last = 0, bits = 0] = file.subarray(table, table + 3);
  // The lower half is the lowest bit that the scan gives: 0 for the last one.
  if ((bits & 15) !== 0) return;
  for (let index = 0; index < components; index++) {
    const id = file[at + 5 + index * 2] ?? 0;
    const known = complete.get(id) ?? new Set<number>();
    for (let place = first; place <= Math.min(last, COEFFICIENTS - 1); place++) known.add(place);
    complete.set(id, known);
  }
}

/**
 * Walk from scan to scan. A few milliseconds for 10 MB.
 *
 * @param bytes   a JPEG file
 * @param markers what `readJpegMarkers` read of it
 */
export function readJpegScans(bytes: Uint8Array, markers: JpegMarkers): JpegScans {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const complete = new Map<number, Set<number>>();
  let count = 0;
  let end = -1;
  for (let at = markers.scanOffset; at >= 0 && at + 4 <= file.length; at = nextMarker(file, at)) {
    const marker = file[at + 1];
    if (marker === END_OF_IMAGE) {
      end = at + 2;
      break;
    }
    if (marker === START_OF_SCAN) {
      count += 1;
      noteScan(complete, file, at);
    }
    // One marker alone has no segment.
    at += marker === 1 ? 2 : 2 + file.readUInt16BE(at + 2);
  }
  if (end < 0 && file.length >= 2 && file.readUInt16BE(file.length - 2) === 0xffd9) end = file.length;
  const expected = markers.isProgressive ? COEFFICIENTS : 1;
  const whole = [...complete.values()].filter((places) => places.size >= expected).length;
  return { count, end, isComplete: whole >= (markers.frame?.components ?? 1) };
}

/** True if libjpeg may have to keep all coefficients until the last scan is read, so that each further scan costs time. */
export function hasManyScans({ isProgressive, frame }: JpegMarkers): boolean {
  return isProgressive || frame === undefined || frame.scanComponents < frame.components;
}
