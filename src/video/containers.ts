/**
 * @module Containers: how far the parts of an MP4 or Matroska file go, whether it stops before its end, and what is whole in front of
 * that; whether an AVI stops before its end; and raw frames with their times as a stream of Matroska that ffmpeg reads.
 */

import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import type { YuvRange, YuvStandard } from "../image/image.ts";

/** IDs of Matroska, whose elements lie in each other: all but these have as long ones where they are no part of a cluster. */
const EBML_HEADER = 0x1a45dfa3;
const SEGMENT = 0x18538067;
const INFO = 0x1549a966;
const TRACKS = 0x1654ae6b;
const CLUSTER = 0x1f43b675;
const OUTER_ID_BYTES = 4;
const CLUSTER_BYTES = Buffer.from([0x1f, 0x43, 0xb6, 0x75]);
/** Of a segment's elements, of what a file begins with, and of gaps and sums. */
const OUTER_IDS: ReadonlySet<number> = new Set([
  ...[EBML_HEADER, SEGMENT, INFO, TRACKS, CLUSTER, 0x114d9b74, 0x1c53bb6b, 0x1254c367, 0x1941a469],
  ...[0x1043a770, 0xec, 0xbf],
]);
/** That are searched at a time. */
const SEARCHED_BYTES = 2 ** 20;
const NOTHING = new Uint8Array(0);
/** Of an element's ID and length. */
const MOST_HEAD_BYTES = 12;

/** What a file says of its parts, beside what there is. */
interface FileShape {
  /** A part says that it is longer than what is there, or the last one is not whole. Other bytes behind the parts are none. */
  readonly isCutShort: boolean;
  /** What is to be read instead of the file: up to the last packet that is whole, which its cluster then says as well. */
  readonly patch: FilePatch | undefined;
}

/** Bytes in place of those of a file, which ends sooner. */
export interface FilePatch {
  readonly size: number;
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** A file that is read here and there. */
class OpenFile implements Disposable {
  readonly size: number;
  readonly #file: number;
  readonly #bytes = Buffer.alloc(16);

  constructor(path: string) {
    this.#file = openSync(path, "r");
    this.size = fstatSync(this.#file).size;
  }

  /** Some bytes from a place on: fewer at the end. Valid until the next call. */
  head(at: number): Buffer {
    return this.#bytes.subarray(0, readSync(this.#file, this.#bytes, 0, this.#bytes.length, at));
  }

  part(at: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(this.#file, bytes, 0, length, at));
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

/** An atom of MP4. */
interface Atom {
  readonly type: string;
  readonly end: number;
}

/** The atom that begins at a place; `undefined` where there is none, or it does not say where it ends. */
function atomAt(file: OpenFile, at: number): Atom | undefined {
  const head = file.head(at);
  if (head.length < 8) return undefined;
  const type = head.toString("latin1", 4, 8);
  const length = head.readUInt32BE(0);
  if (length === 1) return head.length < 16 ? undefined : { type, end: at + Number(head.readBigUInt64BE(8)) };
  return length < 8 ? undefined : { type, end: at + length };
}

/** An element of Matroska. */
interface Element {
  readonly id: number;
  readonly idBytes: number;
  readonly lengthAt: number;
  readonly lengthBytes: number;
  readonly dataAt: number;
  /** `undefined` where it does not say. */
  readonly end: number | undefined;
}

/** The element that begins at a place; `undefined` where there is none. */
function elementAt(file: OpenFile, at: number): Element | undefined {
  const head = file.head(at).subarray(0, MOST_HEAD_BYTES);
  const idBytes = Math.clz32(head[0] ?? 0) - 23;
  const first = head[idBytes] ?? 0;
  const lengthBytes = Math.clz32(first) - 23;
  if (idBytes > OUTER_ID_BYTES || lengthBytes > 8 || head.length < idBytes + lengthBytes) return undefined;
  const lengthAt = at + idBytes;
  const dataAt = lengthAt + lengthBytes;
  let length = first & (0xff >> lengthBytes);
  let isKnown = length !== 0xff >> lengthBytes;
  for (const byte of head.subarray(idBytes + 1, idBytes + lengthBytes)) {
    length = length * 256 + byte;
    isKnown ||= byte !== 0xff;
  }
  const id = head.readUIntBE(0, idBytes);
  return { id, idBytes, lengthAt, lengthBytes, dataAt, end: isKnown ? dataAt + length : undefined };
}

/** A cluster that is as long as it is found to be; `undefined` where there are too few bytes for its length. */
function patchOf({ lengthAt, lengthBytes, dataAt }: Element, end: number): FilePatch | undefined {
  const length = end - dataAt;
  if (length >= 2 ** (7 * lengthBytes) - 1) return undefined;
  const bytes = new Uint8Array(lengthBytes);
  for (let at = lengthBytes - 1, rest = length; at >= 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest % 256;
  bytes[0]! |= 0x100 >> lengthBytes;
  return { size: end, at: lengthAt, bytes };
}

/** Where the last whole element in a cluster ends. */
function wholeEnd(file: OpenFile, cluster: Element): number {
  const limit = Math.min(cluster.end ?? file.size, file.size);
  let at = cluster.dataAt;
  while (at < limit) {
    const inner = elementAt(file, at);
    if (inner?.end === undefined || inner.end > limit || inner.idBytes === OUTER_ID_BYTES) break;
    at = inner.end;
  }
  return at;
}

/** Where the next cluster begins; `undefined` where there is none. */
function nextCluster(file: OpenFile, from: number): number | undefined {
  for (let at = from; at < file.size; at += SEARCHED_BYTES) {
    const found = file.part(at, SEARCHED_BYTES + CLUSTER_BYTES.length - 1).indexOf(CLUSTER_BYTES);
    if (found >= 0) return at + found;
  }
  return undefined;
}

/** @param at where the elements of the segment begin */
function segmentShape(file: OpenFile, at: number): FileShape {
  let isCutShort = false;
  /** What is behind the last element that is known is read by nobody: mediabunny would look for one without end. */
  let whole = at;
  let last: Element | undefined;
  for (let place = at; place < file.size; ) {
    const part = elementAt(file, place);
    const isKnown = part !== undefined && OUTER_IDS.has(part.id);
    let end = part?.id === SEGMENT ? part.dataAt : part?.end;
    if (part?.id === CLUSTER && (end === undefined || end > file.size)) {
      end = wholeEnd(file, part);
      const next = elementAt(file, end);
      // Another one, or what else is no part of it, may follow one of unknown length.
      if (next?.idBytes !== OUTER_ID_BYTES) {
        return { isCutShort: part.end !== undefined || next !== undefined, patch: patchOf(part, end) };
      }
    }
    isCutShort = isKnown && (end ?? 0) > file.size;
    if (isCutShort) break;
    const next = isKnown && end !== undefined ? end : nextCluster(file, place + 1);
    if (next === undefined) break;
    place = next;
    if (isKnown) whole = next;
    if (part?.id === CLUSTER) last = part;
  }
  if (last?.end === whole) {
    const end = wholeEnd(file, last);
    if (end < whole) return { isCutShort, patch: patchOf(last, end) };
  }
  return { isCutShort, patch: whole < file.size ? { size: whole, at: 0, bytes: NOTHING } : undefined };
}

/** Look at the parts of a file: mediabunny gives the packets of those that are whole, and takes that for the end. */
export function fileShape(path: string): FileShape {
  using file = new OpenFile(path);
  const header = elementAt(file, 0);
  if (header?.id === EBML_HEADER) {
    const segment = header.end === undefined ? undefined : elementAt(file, header.end);
    if (segment?.id !== SEGMENT) return { isCutShort: false, patch: undefined };
    const shape = segmentShape(file, segment.dataAt);
    return { ...shape, isCutShort: shape.isCutShort || (segment.end ?? 0) > file.size };
  }
  let place = 0;
  for (let atom = atomAt(file, 0); atom !== undefined; atom = atomAt(file, place)) {
    place = atom.end;
    // What follows the atoms of a file may be anything.
    if (place > file.size) return { isCutShort: /^(?:moov|moof|mdat)$/.test(atom.type), patch: undefined };
  }
  return { isCutShort: false, patch: undefined };
}

/** What stands for the length of a part whose writer never came to say it. */
const UNTOLD_RIFF_LENGTH = 0xffffffff;

/** True for an AVI whose parts go beyond the end of the file: ffmpeg reads what there is, and takes that for the whole. */
export function isCutAvi(path: string): boolean {
  // Opening a pipe would wait for a writer, and the file may be gone by now.
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
  using file = new OpenFile(path);
  for (let place = 0; place < file.size; ) {
    const head = file.head(place);
    // A second part follows beyond 1 GB, and anything behind the last one.
    if (head.length < 12 || head.toString("latin1", 0, 4) !== "RIFF" || !/^AVI/.test(head.toString("latin1", 8, 11)))
      break;
    const length = head.readUInt32LE(4);
    if (length === UNTOLD_RIFF_LENGTH) break;
    place += 8 + length;
    if (place > file.size) return true;
  }
  return false;
}

/** True for an MP4 file whose images are encrypted. */
export function isEncrypted(path: string): boolean {
  using file = new OpenFile(path);
  let place = 0;
  for (let atom = atomAt(file, 0); atom !== undefined && atom.end <= file.size; atom = atomAt(file, place)) {
    if (atom.type === "moov") return file.part(place, atom.end - place).includes("encv");
    place = atom.end;
  }
  return false;
}

/** Nanoseconds of one tick of the times in the stream. */
const TICK_NANOSECONDS = 100_000;
const TICKS_PER_MS = 1e6 / TICK_NANOSECONDS;

/** Bytes of the header before each frame. */
export const FRAME_HEADER_BYTES = 54;

const UNKNOWN_LENGTH = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/** Big-endian, in as few bytes as it takes. */
function number(value: number): number[] {
  return value < 256 ? [value] : [...number(Math.floor(value / 256)), value % 256];
}

/** An element whose length takes two bytes: the header has none of 2^14 bytes. */
function element(id: number, content: readonly number[]): number[] {
  return [...number(id), ...number(0x4000 + content.length), ...content];
}

function text(value: string): number[] {
  return [...Buffer.from(value)];
}

/** What the pixels of every frame are. */
export type RawPixels =
  | { readonly format: "RGB" }
  | { readonly format: "NV12"; readonly yuvStandard: YuvStandard; readonly yuvRange: YuvRange };

/** By the numbers of ITU-T H.273. */
const MATRICES: Readonly<Record<YuvStandard, number>> = { "BT.709": 1, "BT.601": 6, "BT.2020": 9 };
const RANGES: Readonly<Record<YuvRange, number>> = { limited: 1, full: 2 };

function pixelElements(pixels: RawPixels): number[] {
  // UncompressedFourCC
  if (pixels.format === "RGB") return element(0x2eb524, [...text("RGB"), 24]);
  const colour = [
    ...element(0x55b1, [MATRICES[pixels.yuvStandard]]), // MatrixCoefficients
    ...element(0x55b9, [RANGES[pixels.yuvRange]]), // Range
  ];
  return [...element(0x2eb524, text("NV12")), ...element(0x55b0, colour)];
}

/**
 * What the stream begins with: one track of uncompressed pixels.
 *
 * @param width  of every frame, in pixels
 * @param height likewise
 * @see https://www.matroska.org/technical/elements.html
 */
export function matroskaHeader(width: number, height: number, pixels: RawPixels): Uint8Array {
  const head = element(EBML_HEADER, [
    ...element(0x4286, [1]), // EBMLVersion
    ...element(0x42f7, [1]), // EBMLReadVersion
    ...element(0x42f2, [4]), // EBMLMaxIDLength
    ...element(0x42f3, [8]), // EBMLMaxSizeLength
    ...element(0x4282, text("matroska")), // DocType
    ...element(0x4287, [4]), // DocTypeVersion
    ...element(0x4285, [2]), // DocTypeReadVersion
  ]);
  const info = element(INFO, [
    ...element(0x2ad7b1, number(TICK_NANOSECONDS)), // TimestampScale
    ...element(0x4d80, text("bun-tensorrt")), // MuxingApp
    ...element(0x5741, text("bun-tensorrt")), // WritingApp
  ]);
  const video = element(0xe0, [
    ...element(0xb0, number(width)), // PixelWidth
    ...element(0xba, number(height)), // PixelHeight
    ...pixelElements(pixels),
  ]);
  const track = element(0xae, [
    ...element(0xd7, [1]), // TrackNumber
    ...element(0x73c5, [1]), // TrackUID
    ...element(0x83, [1]), // TrackType: video
    ...element(0x9c, [0]), // FlagLacing
    ...element(0x86, text("V_UNCOMPRESSED")), // CodecID
    ...video,
  ]);
  const segment = [...number(SEGMENT), ...UNKNOWN_LENGTH];
  return Uint8Array.from([...head, ...segment, ...info, ...element(TRACKS, track)]);
}

/**
 * What stands before the bytes of one frame: a cluster of its own.
 *
 * @param header      u8 [{@linkcode FRAME_HEADER_BYTES}], written
 * @param byteLength  of the frame
 * @param timestampMs of the frame, 0 or more
 * @param durationMs  of the frame; 0 where it is not known
 */
export function writeFrameHeader(
  header: Uint8Array,
  byteLength: number,
  timestampMs: number,
  durationMs: number,
): void {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const writeNumber = (at: number, value: number): void => {
    view.setUint32(at, Math.floor(value / 2 ** 32));
    view.setUint32(at + 4, value % 2 ** 32);
  };
  const writeLength = (at: number, value: number): void => {
    writeNumber(at, value);
    view.setUint8(at, 0x01); // eight bytes
  };
  view.setUint32(0, CLUSTER);
  writeLength(4, byteLength + FRAME_HEADER_BYTES - 12);
  view.setUint16(12, 0xe788); // Timestamp, of eight bytes
  writeNumber(14, Math.round(timestampMs * TICKS_PER_MS));
  view.setUint8(22, 0xa0); // BlockGroup: without a reference to others, a key frame
  writeLength(23, byteLength + FRAME_HEADER_BYTES - 31);
  view.setUint16(31, 0x9b88); // BlockDuration, of eight bytes
  writeNumber(33, Math.round(durationMs * TICKS_PER_MS));
  view.setUint8(41, 0xa1); // Block
  writeLength(42, byteLength + 4);
  view.setUint32(50, 0x81000000); // track 1, no time of its own
}
