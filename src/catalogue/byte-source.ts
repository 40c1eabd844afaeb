/** @module ByteSource: bytes that can be read in ranges, wherever they lie. */

import { statSync } from "node:fs";

/** An archive on this machine, or behind an address whose server sends parts of it. */
export interface ByteSource {
  /** Size of the whole in bytes. */
  readonly byteLength: number;
  /** How much of it came over the network so far. */
  readonly receivedBytes: number;
  /**
   * Read a range.
   *
   * @param start first byte
   * @param end   one past the last byte, at most `byteLength`
   * @returns exactly `end - start` bytes, in pieces
   * @throws {TransferError} If it breaks off; the message is one clause: `the server answered 503`
   */
  read(start: number, end: number): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** An archive that is a file. */
export class FileSource implements ByteSource {
  readonly byteLength: number;
  readonly receivedBytes: number;
  readonly #path: string;

  /** @param receivedBytes what it took to get the file here */
  constructor(path: string, receivedBytes = 0) {
    this.#path = path;
    this.byteLength = statSync(path).size;
    this.receivedBytes = receivedBytes;
  }

  async *read(start: number, end: number): AsyncIterable<Uint8Array<ArrayBuffer>> {
    for await (const chunk of Bun.file(this.#path).slice(start, end).stream()) yield chunk;
  }
}

/** A range as one piece. For small ones. @throws {TransferError} If it breaks off */
export async function readWhole(source: ByteSource, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - start);
  let at = 0;
  for await (const chunk of source.read(start, end)) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
