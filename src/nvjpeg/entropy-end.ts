/**
 * @module EntropyEnd: whether the data of a JPEG says itself that its last pixels have one colour. A decoder that runs
 * out of data fills the rest with one colour too, and nvJPEG does not tell: only libjpeg does. Pure.
 */

import type { JpegMarkers } from "../image/jpeg-markers.ts";

const DEFINE_TABLES = 0xc4;
/** Bytes at the end that are looked at: ten blocks of two longest codes, twice, with every byte stuffed. */
const WINDOW_BYTES = 160;
/** Bits that must agree: fewer could by chance. */
const ENOUGH_BITS = 32;

/** The code of symbol 0 in a Huffman table, as ones and zeros: "no change" of a DC table, "nothing more" of an AC table. */
function zeroCode(bytes: Uint8Array, counts: number): string | undefined {
  let code = 0;
  let symbol = counts + 16;
  for (let length = 1; length <= 16; length++) {
    const count = bytes[counts + length - 1] ?? 0;
    for (let at = 0; at < count; at++, code++, symbol++) {
      if (bytes[symbol] === 0) return code.toString(2).padStart(length, "0");
    }
    code *= 2;
  }
  return undefined;
}

/** {@linkcode zeroCode} of every table in front of the scan, by class and number: 0x10 is AC table 0. */
function zeroCodes(bytes: Uint8Array, scanOffset: number): Map<number, string | undefined> {
  const codes = new Map<number, string | undefined>();
  let at = 2;
  while (at + 4 <= scanOffset) {
    if (bytes[at] !== 0xff || bytes[at + 1] === 0xff) {
      at += 1;
      continue;
    }
    const marker = bytes[at + 1]!;
    const end = at + 2 + Math.max(2, bytes[at + 2]! * 256 + bytes[at + 3]!);
    if (marker === DEFINE_TABLES) {
      let table = at + 4;
      while (table + 17 <= end) {
        codes.set(bytes[table]!, zeroCode(bytes, table + 1));
        let symbols = 0;
        for (let length = 1; length <= 16; length++) symbols += bytes[table + length]!;
        table += 17 + symbols;
      }
    }
    at = end;
  }
  return codes;
}

/** Horizontal times vertical factor of a component, by its number; 0 if the frame has no such component. */
function blocksOf(bytes: Uint8Array, frameTable: number, components: number, id: number): number {
  for (let at = 0; at < components; at++) {
    const factors = bytes[frameTable + at * 3 + 1]!;
    if (bytes[frameTable + at * 3] === id) return (factors >> 4) * (factors & 15);
  }
  return 0;
}

/** The bits of a unit of pixels (MCU) that repeats the colour before it. */
function flatUnit(bytes: Uint8Array, { scanOffset, frame, frameTable }: JpegMarkers): string | undefined {
  const components = frame?.components ?? 0;
  const codes = zeroCodes(bytes, scanOffset);
  const inScan = bytes[scanOffset + 4] ?? 0;
  let bits = "";
  for (let at = 0; at < inScan; at++) {
    const selector = scanOffset + 5 + at * 2;
    const tables = bytes[selector + 1] ?? 0;
    const unchanged = codes.get(tables >> 4);
    const nothing = codes.get(0x10 | (tables & 15));
    if (unchanged === undefined || nothing === undefined) return undefined;
    const blocks = inScan === 1 ? 1 : blocksOf(bytes, frameTable, components, bytes[selector]!);
    bits += (unchanged + nothing).repeat(blocks);
  }
  return bits === "" ? undefined : bits;
}

/** The last bits of the data, as ones and zeros, without the zero bytes that are stuffed behind 0xff. */
function lastBits(bytes: Uint8Array, from: number, end: number): string {
  let bits = "";
  for (let at = Math.max(from, end - WINDOW_BYTES); at < end; at++) {
    if (bytes[at] === 0 && bytes[at - 1] === 0xff) continue;
    bits += bytes[at]!.toString(2).padStart(8, "0");
  }
  return bits;
}

/**
 * True if the data of a sequential JPEG of one scan ends in pixels that repeat the colour before them. False for every
 * other file: that its last pixels have one colour then means that the data ended before them.
 *
 * @param end offset behind the end marker
 */
export function endsFlat(bytes: Uint8Array, markers: JpegMarkers, end: number): boolean {
  const unit = flatUnit(bytes, markers);
  if (unit === undefined) return false;
  const wanted = unit.repeat(Math.ceil(ENOUGH_BITS / unit.length));
  const bits = lastBits(bytes, markers.scanOffset, end - 2);
  // The last byte is filled up with ones.
  for (let padding = 0; padding < 8; padding++) {
    if (padding > 0 && bits.at(-padding) !== "1") return false;
    if (bits.endsWith(wanted, bits.length - padding)) return true;
  }
  return false;
}
