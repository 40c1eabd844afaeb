/** @module JpegBoundary: where one JPEG file ends and the next begins in a stream of bytes. Pure. */

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP2 = 0xe2;
/** "MPF\0": the index of a file with several pictures. */
const MPF = 0x4d504600;
const MP_ENTRIES = 0xb002;
const MP_ENTRY_BYTES = 16;

/** First and last offset (exclusive) of something, in bytes. */
export type ByteRange = readonly [start: number, end: number];

/** Offset of the next start marker, with the marker that has to follow it; -1 if there is none. */
export function startOfJpeg(bytes: Uint8Array, from = 0): number {
  for (let at = bytes.indexOf(0xff, from); at >= 0 && at + 2 < bytes.length; at = bytes.indexOf(0xff, at + 1)) {
    if (bytes[at + 1] === SOI && bytes[at + 2] === 0xff) return at;
  }
  return -1;
}

/** A segment that was cut off reaches into the next picture: its start marker is there, and no end, as a thumbnail has. */
function cutAt(bytes: Uint8Array, start: number, end: number): number {
  if (bytes[end] === 0xff) return -1;
  const at = startOfJpeg(bytes.subarray(0, end), start);
  if (at < 0) return -1;
  for (let next = at + 2; next + 1 < end; next++) if (bytes[next] === 0xff && bytes[next + 1] === EOI) return -1;
  return at;
}

/** Follows the markers of the JPEG at the start of the bytes, as more of them come. */
export class JpegBoundary {
  #at = 2;
  #isInScan = false;
  #index: number | undefined;

  /** True once pixels have begun. */
  get isInScan(): boolean {
    return this.#isInScan;
  }

  /**
   * Look on from where the last call ended.
   *
   * @returns offset past the end marker, or of the next start marker where there is no end; `undefined` if the picture goes on
   */
  find(bytes: Uint8Array): number | undefined {
    while (this.#at + 1 < bytes.length) {
      if (bytes[this.#at] !== 0xff) {
        const next = bytes.indexOf(0xff, this.#at);
        // Between the segments there are only markers; bytes that are none are skipped, as decoders do.
        this.#at = next < 0 ? bytes.length : next;
        continue;
      }
      const marker = bytes[this.#at + 1]!;
      if (marker === EOI) return this.#at + 2;
      if (marker === SOI) {
        if (this.#at + 2 >= bytes.length) return undefined;
        if (bytes[this.#at + 2] === 0xff) return this.#at;
      }
      if (marker === 0xff) this.#at += 1;
      else if (marker <= 1 || (marker >= 0xd0 && marker <= SOI)) this.#at += 2;
      else {
        const end = this.#segmentEnd(bytes, marker);
        if (end === undefined) return undefined;
        const cut = cutAt(bytes, this.#at + 2, end);
        if (cut >= 0) return cut;
        this.#at = end;
      }
    }
    return undefined;
  }

  /** A thumbnail inside a segment has markers of its own: segments are stepped over, once they are here. */
  #segmentEnd(bytes: Uint8Array, marker: number): number | undefined {
    const at = this.#at;
    if (at + 3 >= bytes.length) return undefined;
    const end = at + 2 + ((bytes[at + 2]! << 8) | bytes[at + 3]!);
    if (end >= bytes.length) return undefined;
    if (marker === SOS) this.#isInScan = true;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (marker === APP2 && end > at + 8 && view.getUint32(at + 4) === MPF) this.#index = at + 8;
    return end;
  }

  /**
   * Where the further pictures of the same file lie, such as a phone's depth or gain map, by the file's index (CIPA DC-007).
   *
   * @param picture the whole first picture; ranges are relative to its start
   */
  furtherPictures(picture: Uint8Array): ByteRange[] {
    const base = this.#index;
    if (base === undefined) return [];
    const view = new DataView(picture.buffer, picture.byteOffset + base, picture.byteLength - base);
    try {
      const isLittle = view.getUint16(0) === 0x4949;
      const directory = view.getUint32(4, isLittle);
      for (let entry = 0; entry < view.getUint16(directory, isLittle); entry++) {
        const at = directory + 2 + entry * 12;
        if (view.getUint16(at, isLittle) !== MP_ENTRIES) continue;
        const count = Math.floor(view.getUint32(at + 4, isLittle) / MP_ENTRY_BYTES);
        const list = view.getUint32(at + 8, isLittle);
        // The first one is this picture.
        return Array.from({ length: Math.min(count, 64) - 1 }, (_, index): ByteRange => {
          const place = list + (index + 1) * MP_ENTRY_BYTES;
          const start = base + view.getUint32(place + 8, isLittle);
          return [start, start + view.getUint32(place + 4, isLittle)];
        });
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error; // a broken index names nothing
    }
    return [];
  }

  /** Begin with another picture. */
  reset(): void {
    this.#at = 2;
    this.#isInScan = false;
    this.#index = undefined;
  }
}
