/** @module ByteSource: bytes that can be read in ranges: a file, or what is behind an address; whole where it sends no ranges. */

import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { TransferError } from "../core/errors.ts";
import { type Attempt, attempt } from "./attempt.ts";
import { bodyLength, type DownloadOptions } from "./download.ts";
import { assertRoom } from "./library-folder.ts";
import { storageError } from "./store.ts";

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

/** How {@linkcode openHttp} opens an archive. */
interface OpenHttpOptions extends DownloadOptions {
  /** Name of the component, for messages. */
  readonly name: string;
  /** Gives the file that a whole archive is written to; `undefined` if it is not worth fetching whole. */
  readonly wholePath: (() => string) | undefined;
}

/** `bytes 0-0/95153708` */
const CONTENT_RANGE = /^bytes (\d+)-(\d+)\/(\d+)$/;

function parseRange(response: Response): { start: number; end: number; total: number } | undefined {
  const match = CONTENT_RANGE.exec(response.headers.get("content-range") ?? "");
  if (response.status !== 206 || match === null) return undefined;
  return { start: Number(match[1]), end: Number(match[2]) + 1, total: Number(match[3]) };
}

/** A server must send the archive's own bytes: compressed on the way, ranges would count other ones. */
function fetchRange(url: string, start: number, end: number, signal: AbortSignal | undefined): Promise<Response> {
  const headers = { range: `bytes=${start}-${end - 1}`, "accept-encoding": "identity" };
  return fetch(url, signal === undefined ? { headers } : { headers, signal });
}

/** An archive whose server sends ranges. */
class HttpSource implements ByteSource {
  readonly byteLength: number;
  receivedBytes = 0;
  readonly #url: string;
  readonly #signal: AbortSignal | undefined;

  constructor(url: string, byteLength: number, signal: AbortSignal | undefined) {
    this.#url = url;
    this.byteLength = byteLength;
    this.#signal = signal;
  }

  async *read(start: number, end: number): AsyncIterable<Uint8Array<ArrayBuffer>> {
    const { host } = new URL(this.#url);
    const response = await fetchRange(this.#url, start, end, this.#signal);
    const range = parseRange(response);
    if (range === undefined || range.start !== start || range.end !== end || range.total !== this.byteLength) {
      await response.body?.cancel();
      const answer = `${response.status} ${response.headers.get("content-range") ?? response.statusText}`.trim();
      throw new TransferError(`${host} answered ${answer} when asked for bytes ${start}-${end - 1}`);
    }
    let left = end - start;
    for await (const chunk of response.body ?? []) {
      left -= chunk.length;
      this.receivedBytes += chunk.length;
      if (left < 0) throw new TransferError(`${host} sent more than the ${end - start} bytes it was asked for`);
      yield chunk;
    }
    if (left > 0) throw new TransferError(`${host} broke off ${left} bytes before the end`);
  }
}

/** Write a whole body to a file. */
async function keepWhole(response: Response, path: string, options: OpenHttpOptions): Promise<ByteSource> {
  const { name, onProgress } = options;
  const totalBytes = bodyLength(response);
  if (totalBytes !== undefined) assertRoom(name, totalBytes);
  let receivedBytes = 0;
  const onWriteError = (error: unknown): never => {
    throw storageError({ name, folder: dirname(path), byteLength: totalBytes ?? receivedBytes }, error);
  };
  const file = await open(path, "w").catch(onWriteError);
  try {
    for await (const chunk of response.body ?? []) {
      await file.writeFile(chunk).catch(onWriteError);
      receivedBytes += chunk.length;
      onProgress?.(receivedBytes, totalBytes);
    }
  } finally {
    await file.close();
  }
  if (totalBytes === undefined || receivedBytes === totalBytes) return new FileSource(path, receivedBytes);
  throw new TransferError(`${new URL(response.url).host} broke off ${totalBytes - receivedBytes} bytes before the end`);
}

/**
 * Open an archive behind an address.
 *
 * @returns the archive, of which next to nothing was fetched if the server sends ranges, and everything if it does not
 * @throws {CatalogueError} If it is fetched whole and cannot be kept
 */
export async function openHttp(url: string, options: OpenHttpOptions): Promise<Attempt<ByteSource>> {
  const { signal, wholePath } = options;
  const { host } = new URL(url);
  const answer = await attempt(() => fetchRange(url, 0, 1, signal), signal);
  if (!("value" in answer)) return answer;
  const response = answer.value;
  const range = parseRange(response);
  if (range !== undefined && range.start === 0 && range.end === 1) {
    await response.body?.cancel();
    return { value: new HttpSource(url, range.total, signal) };
  }
  if (response.status === 200) {
    if (wholePath !== undefined) return await attempt(() => keepWhole(response, wholePath(), options), signal);
    await response.body?.cancel();
    return { problem: `${host} sends the whole archive or nothing`, transient: false };
  }
  await response.body?.cancel();
  const transient = response.status >= 500 || response.status === 429;
  const problem = `${host} answered ${response.status} ${response.statusText}`.trim();
  return { problem, transient, withheld: !transient };
}
