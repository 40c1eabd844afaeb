/**
 * @module SequenceHeader: H.264 and HEVC as decoders take them, of packets as MP4 and Matroska hold them, and what their streams say that
 * a decoder is made by, before a parser has seen them. Pure.
 */

import { grownLength } from "../core/units.ts";
import { CHROMAS, type VideoChroma, type VideoCodec } from "./nvdec-options.ts";

/** True for an `avcC` or `hvcC`, rather than a stream in the Annex B form. */
function isRecord(bytes: Uint8Array, isHevc: boolean): boolean {
  return bytes[0] === 1 && bytes.length > (isHevc ? 22 : 6);
}

/** Units of a stream in the Annex B form. */
export function* unitsOf(stream: Uint8Array): Generator<Uint8Array, void, undefined> {
  let from = -1;
  for (let at = 0; at + 3 <= stream.length; at++) {
    if (stream[at] !== 0 || stream[at + 1] !== 0 || stream[at + 2] !== 1) continue;
    if (from >= 0) yield stream.subarray(from, at);
    from = at + 3;
    at += 2;
  }
  if (from >= 0) yield stream.subarray(from);
}

/** Units of an `avcC` or `hvcC`, as files hold them: each behind its length of two bytes. */
function* unitsOfRecord(record: Uint8Array, isHevc: boolean): Generator<Uint8Array, void, undefined> {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  let at = isHevc ? 23 : 5;
  let lists = isHevc ? record[22]! : 2;
  while (lists-- > 0 && at + 3 <= record.length) {
    let units = isHevc ? view.getUint16(at + 1) : record[at]! & (at === 5 ? 31 : 255);
    at += isHevc ? 3 : 1;
    while (units-- > 0 && at + 2 <= record.length) {
      const length = view.getUint16(at);
      yield record.subarray(at + 2, at + 2 + length);
      at += 2 + length;
    }
  }
}

const START = Uint8Array.of(0, 0, 0, 1);

/** Turns packets of one stream into the Annex B form. */
export class AnnexB {
  readonly #isHevc: boolean;
  /** Bytes that a unit's length takes. */
  readonly #lengthBytes: number;
  /** Parameter sets, each behind a start code. */
  readonly #sets: Uint8Array;
  #memory: Uint8Array = new Uint8Array(0);
  #length = 0;

  private constructor(record: Uint8Array, isHevc: boolean) {
    this.#isHevc = isHevc;
    this.#lengthBytes = (record[isHevc ? 21 : 4]! & 3) + 1;
    this.#sets = Buffer.concat([...unitsOfRecord(record, isHevc)].flatMap((unit) => [START, unit]));
  }

  /** @param record what the file holds beside the packets @returns `undefined` where its packets need no other form */
  static of(codec: string, record: Uint8Array): AnnexB | undefined {
    const isHevc = codec === "hevc";
    if (!isHevc && codec !== "h264") return undefined;
    return isRecord(record, isHevc) ? new AnnexB(record, isHevc) : undefined;
  }

  /** @returns the packet, with parameter sets where decoding may begin; valid until the next one is converted */
  convert(packet: Uint8Array): Uint8Array {
    const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    this.#length = 0;
    let needsSets = true;
    for (let at = 0; at + this.#lengthBytes <= packet.length; ) {
      let length = 0;
      for (let byte = 0; byte < this.#lengthBytes; byte++) length = length * 256 + view.getUint8(at++);
      const unit = packet.subarray(at, at + length);
      at += length;
      if (unit.length === 0) continue;
      if (this.#isSet(unit)) needsSets = false;
      if (needsSets && this.#beginsDecoding(unit)) {
        this.#append(this.#sets);
        needsSets = false;
      }
      this.#append(START);
      this.#append(unit);
    }
    return this.#memory.subarray(0, this.#length);
  }

  #isSet(unit: Uint8Array): boolean {
    return this.#isHevc ? unit[0]! >> 1 === 33 : (unit[0]! & 31) === 7;
  }

  /** IDR of H.264; IRAP of HEVC. */
  #beginsDecoding(unit: Uint8Array): boolean {
    const kind = this.#isHevc ? unit[0]! >> 1 : unit[0]! & 31;
    return this.#isHevc ? kind >= 16 && kind <= 23 : kind === 5;
  }

  #append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#memory.length) {
      const larger = new Uint8Array(new ArrayBuffer(grownLength(needed)));
      larger.set(this.#memory.subarray(0, this.#length));
      this.#memory = larger;
    }
    this.#memory.set(bytes, this.#length);
    this.#length = needed;
  }
}

/** What a sequence parameter set says. */
export interface SequenceHeader {
  /** As coded, in pixels: whole blocks, of which a part may be cropped off. */
  readonly width: number;
  readonly height: number;
  readonly chroma: VideoChroma;
  /** Of a sample. */
  readonly bits: number;
  /** Decoded images that are kept at once, at most: references, and those that are still to be shown. Of HEVC what its level allows. */
  readonly images: number;
  /** It says how far images are reordered: a decoder knows of each when it is due, and waits for no later one. */
  readonly tellsOrder: boolean;
}

/** Reads bits of a unit, without the bytes that keep start codes out of it; behind its end there are zeros. */
class Bits {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(unit: Uint8Array) {
    this.#bytes = unit.filter((byte, at) => byte !== 3 || at < 2 || unit[at - 1] !== 0 || unit[at - 2] !== 0);
  }

  get isOver(): boolean {
    return this.#at > this.#bytes.length * 8;
  }

  skip(count: number): void {
    this.#at += count;
  }

  /** Up to 32 bits. */
  read(count: number): number {
    let value = 0;
    for (let left = count; left > 0; left--, this.#at++) {
      value = value * 2 + (((this.#bytes[this.#at >> 3] ?? 0) >> (7 - (this.#at & 7))) & 1);
    }
    return value;
  }

  flag(): boolean {
    return this.read(1) === 1;
  }

  /** `ue(v)` */
  unsigned(): number {
    let zeros = 0;
    while (zeros < 32 && !this.flag()) zeros += 1;
    return 2 ** zeros - 1 + this.read(zeros);
  }

  /** `se(v)` */
  signed(): number {
    const value = this.unsigned();
    return value % 2 === 0 ? -value / 2 : (value + 1) / 2;
  }

  skipUnsigned(count: number): void {
    for (let left = count; left > 0 && !this.isOver; left--) this.unsigned();
  }
}

/** Profiles of H.264 that tell their chroma. */
const TELLS_CHROMA: ReadonlySet<number> = new Set([44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244]);
const BASELINE = 66;
/** By the `level_idc` from which it holds: most macroblocks of all images that are kept. @see ITU-T H.264, table A-1 */
const KEPT_MACROBLOCKS: readonly (readonly [level: number, macroblocks: number])[] = [
  [10, 396],
  [11, 900],
  [12, 2376],
  [21, 4752],
  [22, 8100],
  [31, 18_000],
  [32, 20_480],
  [40, 32_768],
  [42, 34_816],
  [50, 110_400],
  [51, 184_320],
  [60, 696_320],
];
const MOST_IMAGES = 16;
/** By the `general_level_idc` from which it holds: most pixels of an image. @see ITU-T H.265, table A.8 */
const LEVEL_PIXELS: readonly (readonly [level: number, pixels: number])[] = [
  [30, 36_864],
  [60, 122_880],
  [63, 245_760],
  [90, 552_960],
  [93, 983_040],
  [120, 2_228_224],
  [150, 8_912_896],
  [180, 35_651_584],
];

/** Images that a level of HEVC allows to be kept: the smaller they are, the more. @see ITU-T H.265, A.4.2 */
function imagesOfLevel(level: number, pixels: number): number {
  const [, most] = LEVEL_PIXELS.findLast(([from]) => level >= from) ?? LEVEL_PIXELS[0]!;
  if (pixels <= most / 4) return 16;
  return pixels <= most / 2 ? 12 : pixels <= (most * 3) / 4 ? 8 : 6;
}

function skipScalingList(bits: Bits, length: number): void {
  let last = 8;
  let next = 8;
  for (let at = 0; at < length; at++) {
    if (next !== 0) next = (last + bits.signed() + 256) % 256;
    if (next !== 0) last = next;
  }
}

function skipHrd(bits: Bits): void {
  const buffers = bits.unsigned() + 1;
  bits.skip(8);
  for (let at = 0; at < buffers && !bits.isOver; at++) {
    bits.skipUnsigned(2);
    bits.skip(1);
  }
  bits.skip(20);
}

/** `max_dec_frame_buffering`, where the stream tells it, as it then does how far it reorders. */
function readRestriction(bits: Bits): number | undefined {
  if (bits.flag() && bits.read(8) === 255) bits.skip(32); // aspect_ratio_info
  if (bits.flag()) bits.skip(1); // overscan_info
  if (bits.flag()) {
    bits.skip(4); // video_signal_type
    if (bits.flag()) bits.skip(24); // colour_description
  }
  if (bits.flag()) bits.skipUnsigned(2); // chroma_loc_info
  if (bits.flag()) bits.skip(65); // timing_info
  const hasNalHrd = bits.flag();
  if (hasNalHrd) skipHrd(bits);
  const hasVclHrd = bits.flag();
  if (hasVclHrd) skipHrd(bits);
  bits.skip(hasNalHrd || hasVclHrd ? 2 : 1); // low_delay_hrd, pic_struct_present
  if (!bits.flag()) return undefined;
  bits.skip(1); // motion_vectors_over_pic_boundaries
  bits.skipUnsigned(5);
  return bits.unsigned();
}

/** @see ITU-T H.264, 7.3.2.1.1 and E.1.1 */
function readH264(unit: Uint8Array): SequenceHeader | undefined {
  const bits = new Bits(unit.subarray(1));
  const profile = bits.read(8);
  bits.skip(8); // constraints
  const level = bits.read(8);
  bits.skipUnsigned(1); // seq_parameter_set_id
  let chroma = 1;
  let depth = 8;
  if (TELLS_CHROMA.has(profile)) {
    chroma = bits.unsigned();
    if (chroma === 3) bits.skip(1);
    depth += bits.unsigned();
    bits.skipUnsigned(1);
    bits.skip(1); // qpprime_y_zero_transform_bypass
    const lists = bits.flag() ? (chroma === 3 ? 12 : 8) : 0;
    for (let at = 0; at < lists; at++) if (bits.flag()) skipScalingList(bits, at < 6 ? 16 : 64);
  }
  bits.skipUnsigned(1); // log2_max_frame_num
  const orderType = bits.unsigned();
  if (orderType === 0) bits.skipUnsigned(1);
  if (orderType === 1) {
    bits.skip(1);
    bits.skipUnsigned(2);
    bits.skipUnsigned(bits.unsigned());
  }
  const references = bits.unsigned();
  bits.skip(1); // gaps_in_frame_num
  const columns = bits.unsigned() + 1;
  const units = bits.unsigned() + 1;
  const isWhole = bits.flag(); // frame_mbs_only
  bits.skip(isWhole ? 1 : 2); // mb_adaptive_frame_field, direct_8x8_inference
  if (bits.flag()) bits.skipUnsigned(4); // frame_cropping
  const rows = units * (isWhole ? 1 : 2);
  const told = bits.flag() ? readRestriction(bits) : undefined;
  const [, kept] = KEPT_MACROBLOCKS.findLast(([from]) => level >= from) ?? KEPT_MACROBLOCKS[0]!;
  const images = told ?? Math.floor(kept / (columns * rows));
  if (bits.isOver) return undefined;
  return {
    width: columns * 16,
    height: rows * 16,
    chroma: CHROMAS[chroma] ?? "4:4:4",
    bits: depth,
    images: Math.min(Math.max(images, references, 1), MOST_IMAGES),
    // Images of the baseline are never reordered, nor are those whose order is that of their decoding.
    tellsOrder: told !== undefined || profile === BASELINE || orderType === 2,
  };
}

/** @see ITU-T H.265, 7.3.2.2 and 7.3.3 */
function readHevc(unit: Uint8Array): SequenceHeader | undefined {
  const bits = new Bits(unit.subarray(2));
  bits.skip(4);
  const layers = bits.read(3);
  bits.skip(1 + 88); // profile_tier_level
  const level = bits.read(8);
  const told = Array.from({ length: layers }, () => [bits.flag(), bits.flag()] as const);
  if (layers > 0) bits.skip(2 * (8 - layers));
  for (const [hasProfile, hasLevel] of told) bits.skip((hasProfile ? 88 : 0) + (hasLevel ? 8 : 0));
  bits.skipUnsigned(1); // sps_seq_parameter_set_id
  const chroma = bits.unsigned();
  if (chroma === 3) bits.skip(1);
  const width = bits.unsigned();
  const height = bits.unsigned();
  if (bits.flag()) bits.skipUnsigned(4); // conformance_window
  const depth = 8 + bits.unsigned();
  bits.skipUnsigned(2);
  let images = 0;
  for (let layer = bits.flag() ? 0 : layers; layer <= layers; layer++) {
    images = bits.unsigned() + 1;
    bits.skipUnsigned(2);
  }
  if (bits.isOver || width === 0 || height === 0) return undefined;
  return {
    width,
    height,
    chroma: CHROMAS[chroma] ?? "4:4:4",
    bits: depth,
    images: Math.min(Math.max(images, imagesOfLevel(level, width * height)), MOST_IMAGES),
    tellsOrder: true,
  };
}

/**
 * What the first sequence parameter set says of a stream.
 *
 * @param bytes the beginning of the stream in the Annex B form, or the `avcC` or `hvcC` of a file
 * @returns `undefined` where there is none, or the codec has none
 */
export function sequenceHeaderOf(codec: VideoCodec, bytes: Uint8Array): SequenceHeader | undefined {
  const isHevc = codec === "hevc";
  if (!isHevc && codec !== "h264") return undefined;
  for (const unit of isRecord(bytes, isHevc) ? unitsOfRecord(bytes, isHevc) : unitsOf(bytes)) {
    if (isHevc && (unit[0] ?? 0) >> 1 === 33) return readHevc(unit);
    if (!isHevc && ((unit[0] ?? 0) & 31) === 7) return readH264(unit);
  }
  return undefined;
}
