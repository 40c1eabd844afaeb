/** @module Tarball: files out of a `.tgz` by name and known length, read as a stream, so that none can grow beyond that. */

import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";

/** Tar is made of blocks of this size: a header, then the file's bytes, filled up. */
const BLOCK = 512;
/** Type flags of ordinary files; those of other kinds that have bytes. @see POSIX pax, "ustar Interchange Format" */
const FILES = ["0", "\0", "7"];
const WITHOUT_BYTES = ["1", "2", "3", "4", "5", "6"];

/** A file of the archive that is being read. */
interface Member {
  readonly name: string;
  readonly byteLength: number;
  /** Where its bytes go; `undefined` where they are not wanted. */
  readonly bytes: Uint8Array<ArrayBuffer> | undefined;
  /** Bytes of it and of its filling that were read. */
  at: number;
}

function textAt(header: Buffer, start: number, length: number): string {
  return header.toString("utf8", start, start + length).replace(/\0.*$/s, "");
}

/** @returns `undefined` for a block of zeros, as they stand at the end */
function memberAt(header: Buffer, wanted: ReadonlyMap<string, number>): Member | undefined {
  const prefix = textAt(header, 257, 5) === "ustar" ? textAt(header, 345, 155) : "";
  const own = textAt(header, 0, 100);
  if (own === "") return undefined;
  const name = prefix === "" ? own : `${prefix}/${own}`;
  const type = String.fromCharCode(header[156]!);
  const digits = textAt(header, 124, 12).trim();
  if (!/^[0-7]+$/.test(digits)) throw new Error(`the header of ${JSON.stringify(name)} has no length`);
  const byteLength = WITHOUT_BYTES.includes(type) ? 0 : Number.parseInt(digits, 8);
  const isWanted = FILES.includes(type) && wanted.get(name) === byteLength;
  return { name, byteLength, bytes: isWanted ? new Uint8Array(byteLength) : undefined, at: 0 };
}

/**
 * Read files of a tarball into memory. What is not wanted is passed by, and reading ends with the last file that is.
 *
 * @param wanted    the length of each file in bytes, by its path in the archive
 * @param mostBytes of the unpacked archive: beyond them it is given up
 * @returns the files that are there, by path; the length of one that has another
 * @throws {Error} If the archive is damaged, or larger than that
 */
export async function readTarball(
  tarball: Uint8Array,
  wanted: ReadonlyMap<string, number>,
  mostBytes: number,
): Promise<Map<string, Uint8Array<ArrayBuffer> | number>> {
  const found = new Map<string, Uint8Array<ArrayBuffer> | number>();
  const header = Buffer.alloc(BLOCK);
  let headerBytes = 0;
  let totalBytes = 0;
  /** The block of zeros behind the last file has been read. */
  let isEnded = false;
  let member: Member | undefined;
  const take = (chunk: Uint8Array): number => {
    if (member === undefined) {
      const part = chunk.subarray(0, BLOCK - headerBytes);
      header.set(part, headerBytes);
      headerBytes = (headerBytes + part.length) % BLOCK;
      if (headerBytes === 0) member = memberAt(header, wanted);
      isEnded ||= headerBytes === 0 && member === undefined;
      return part.length;
    }
    const { byteLength, bytes, at } = member;
    const part = chunk.subarray(0, Math.ceil(byteLength / BLOCK) * BLOCK - at);
    bytes?.set(part.subarray(0, Math.max(0, byteLength - at)), at);
    member.at += part.length;
    return part.length;
  };
  for await (const chunk of Readable.from([tarball]).pipe(createGunzip()) as AsyncIterable<Uint8Array>) {
    totalBytes += chunk.length;
    if (totalBytes > mostBytes) throw new Error(`it unpacks to more than ${mostBytes} bytes`);
    for (let at = 0; at < chunk.length; ) {
      at += take(chunk.subarray(at));
      if (member === undefined || member.at < member.byteLength || member.at % BLOCK !== 0) continue;
      if (wanted.has(member.name)) found.set(member.name, member.bytes ?? member.byteLength);
      member = undefined;
      if (found.size === wanted.size) return found;
    }
  }
  if (!isEnded) throw new Error(`it is cut short after ${totalBytes} bytes`);
  return found;
}
