/** @module FileShape: how far the parts of a video file go: whether it stops before its end, and what is whole in front of that. */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** IDs of Matroska, whose elements lie in each other: all but these have as long ones where they are no part of a cluster. */
const EBML_HEADER = 0x1a45dfa3;
const SEGMENT = 0x18538067;
const CLUSTER = 0x1f43b675;
const OUTER_ID_BYTES = 4;
const CLUSTER_BYTES = Buffer.from([0x1f, 0x43, 0xb6, 0x75]);
/** Of a segment's elements, of what a file begins with, and of gaps and sums. */
const OUTER_IDS: ReadonlySet<number> = new Set([
  ...[EBML_HEADER, SEGMENT, CLUSTER, 0x114d9b74, 0x1549a966, 0x1654ae6b, 0x1c53bb6b, 0x1254c367, 0x1941a469],
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
