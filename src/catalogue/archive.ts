/**
 * @module Archive: bytes that can be read in ranges, of a file or of what is behind an address, whole where it sends no ranges; what
 * lies where in a zip archive of them (a wheel, a jar), read from its end; and one file out of it.
 */

import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { TransferError } from "../core/errors.ts";
import { type Attempt, attempt } from "./attempt.ts";
import { bodyLength, type DownloadOptions } from "./download.ts";
import { assertRoom, storageError } from "./store.ts";

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

/** One file in an archive, as its directory says; nothing of it is to be trusted before the hash is checked. */
export interface ZipEntry {
  readonly name: string;
  readonly method: number;
  readonly isEncrypted: boolean;
  /** Size inside the archive in bytes. */
  readonly compressedBytes: number;
  /** Size when unpacked in bytes. */
  readonly byteLength: number;
  /** Where its local header begins. */
  readonly start: number;
  /** Where whatever follows it begins: header and data lie before it. */
  readonly end: number;
}

const END_BYTES = 22;
const LONGEST_COMMENT = 0xffff;
const END64_LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
/** Enough for the end of every archive without a long comment. */
const SHORT_TAIL = 256;
const LARGEST_DIRECTORY = 64 * 1024 * 1024;

const END_MARK = 0x06054b50;
const END64_LOCATOR_MARK = 0x07064b50;
const END64_MARK = 0x06064b50;
const ENTRY_MARK = 0x02014b50;
const LOCAL_MARK = 0x04034b50;

/** Kind of the extra field that holds what does not fit into 32 bits. */
const ZIP64_EXTRA = 1;
const FULL_16 = 0xffff;
const FULL_32 = 0xffffffff;

const STORED = 0;
const DEFLATED = 8;

interface Directory {
  readonly start: number;
  readonly byteLength: number;
  readonly count: number;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function damaged(what: string): Error {
  return new TransferError(`the archive is damaged: ${what}`);
}

/** A 64-bit number; one beyond what a number holds is beyond every archive as well. */
function u64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

/** Offset of the end record in the archive's last bytes, whose end its comment must reach; -1 if there is none. */
function findEnd(view: DataView): number {
  for (let at = view.byteLength - END_BYTES; at >= 0; at--) {
    if (view.getUint32(at, true) !== END_MARK) continue;
    if (at + END_BYTES + view.getUint16(at + 20, true) === view.byteLength) return at;
  }
  return -1;
}

/** The archive's last bytes, as many as hold its end records. */
async function readTail(source: ByteSource): Promise<{ tail: DataView; tailStart: number; end: number }> {
  for (const wantedBytes of [SHORT_TAIL, END_BYTES + LONGEST_COMMENT + END64_LOCATOR_BYTES]) {
    const tailStart = Math.max(0, source.byteLength - wantedBytes);
    const tail = viewOf(await readWhole(source, tailStart, source.byteLength));
    const end = findEnd(tail);
    if (end >= END64_LOCATOR_BYTES || (end >= 0 && tailStart === 0)) return { tail, tailStart, end };
    if (tailStart === 0) break;
  }
  throw damaged("it has no directory at its end");
}

/** Where the directory lies. Archives of over 4 GiB or 65,535 files say so in a record of their own. */
async function findDirectory(source: ByteSource): Promise<Directory> {
  const { tail, tailStart, end } = await readTail(source);
  const locator = end - END64_LOCATOR_BYTES;
  if (locator >= 0 && tail.getUint32(locator, true) === END64_LOCATOR_MARK) {
    const at = u64(tail, locator + 8);
    if (at + END64_BYTES > tailStart + locator) throw damaged("its 64-bit end record lies beyond its end");
    const record = viewOf(await readWhole(source, at, at + END64_BYTES));
    if (record.getUint32(0, true) !== END64_MARK) throw damaged("its 64-bit end record is not where it should be");
    return { count: u64(record, 32), byteLength: u64(record, 40), start: u64(record, 48) };
  }
  return {
    count: tail.getUint16(end + 10, true),
    byteLength: tail.getUint32(end + 12, true),
    start: tail.getUint32(end + 16, true),
  };
}

/** The sizes and the offset of an entry, from its extra fields where they do not fit into 32 bits. */
function placeOf(view: DataView, at: number, extraStart: number, extraEnd: number): [number, number, number] {
  const fields = [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
  for (let field = extraStart; field + 4 <= extraEnd; ) {
    const valueEnd = field + 4 + view.getUint16(field + 2, true);
    if (view.getUint16(field, true) === ZIP64_EXTRA) {
      let value = field + 4;
      for (const [index, short] of fields.entries()) {
        if (short !== FULL_32) continue;
        if (value + 8 > Math.min(valueEnd, extraEnd)) throw damaged("a 64-bit size is cut off");
        fields[index] = u64(view, value);
        value += 8;
      }
    }
    field = valueEnd;
  }
  return fields as [number, number, number];
}

/**
 * Read an archive's directory: two or three small ranges at its end.
 *
 * @returns its files by name; of two with one name the last, as unpackers have it
 * @throws {TransferError} If it is damaged, or a range breaks off
 */
export async function readZip(source: ByteSource): Promise<ReadonlyMap<string, ZipEntry>> {
  const directory = await findDirectory(source);
  const directoryEnd = directory.start + directory.byteLength;
  if (directoryEnd > source.byteLength) throw damaged("its directory reaches beyond its end");
  if (directory.byteLength > LARGEST_DIRECTORY) throw damaged(`its directory has ${directory.byteLength} bytes`);
  const bytes = await readWhole(source, directory.start, directoryEnd);
  const view = viewOf(bytes);
  const found: Omit<ZipEntry, "end">[] = [];
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; ) {
    if (view.getUint32(at, true) !== ENTRY_MARK) throw damaged("its directory has an entry that is none");
    const nameEnd = at + ENTRY_BYTES + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const next = extraEnd + view.getUint16(at + 32, true);
    if (next > bytes.length) throw damaged("its directory is cut off");
    const [byteLength, compressedBytes, start] = placeOf(view, at, nameEnd, extraEnd);
    const name = new TextDecoder().decode(bytes.subarray(at + ENTRY_BYTES, nameEnd));
    const isEncrypted = (view.getUint16(at + 8, true) & 1) !== 0;
    found.push({ name, method: view.getUint16(at + 10, true), isEncrypted, compressedBytes, byteLength, start });
    at = next;
  }
  const isCounted = directory.count === found.length || directory.count === FULL_16;
  if (!isCounted) throw damaged(`its directory has ${found.length} of ${directory.count} entries`);
  // The local header's length is not known before it is read; what comes next bounds it, so one range gets all.
  const starts = [...new Set([...found.map((entry) => entry.start), directory.start])].sort((a, b) => a - b);
  const ends = new Map(starts.map((start, index) => [start, starts[index + 1] ?? start]));
  return new Map(found.map((entry) => [entry.name, { ...entry, end: ends.get(entry.start)! }]));
}

/** An entry's bytes as they lie in the archive: its local header read and left out. */
async function* packed(source: ByteSource, entry: ZipEntry): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  if (entry.end - entry.start < LOCAL_BYTES + entry.compressedBytes) throw damaged(`${entry.name} has no room`);
  let head = new Uint8Array(0);
  let skip: number | undefined;
  let left = entry.compressedBytes;
  for await (const chunk of source.read(entry.start, entry.end)) {
    let piece = chunk;
    if (skip === undefined) {
      head = Buffer.concat([head, chunk]) as Uint8Array<ArrayBuffer>;
      if (head.length < LOCAL_BYTES) continue;
      const view = viewOf(head);
      if (view.getUint32(0, true) !== LOCAL_MARK) throw damaged(`${entry.name} is not where it should be`);
      skip = LOCAL_BYTES + view.getUint16(26, true) + view.getUint16(28, true);
      piece = head;
    }
    const from = Math.min(skip, piece.length);
    skip -= from;
    const data = piece.subarray(from, from + left);
    left -= data.length;
    if (data.length > 0) yield data;
  }
  if (left > 0) throw damaged(`${entry.name} is cut off`);
}

/**
 * Unpack one file.
 *
 * @param onPacked called with the bytes that were read of it so far, as they come
 * @returns its bytes in pieces; they may be more or other than the directory says
 * @throws {TransferError} If it cannot be unpacked, or a range breaks off
 */
export async function* unpack(
  source: ByteSource,
  entry: ZipEntry,
  onPacked: (packedBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  if (entry.isEncrypted) throw new TransferError(`${entry.name} is encrypted`);
  if (entry.method !== STORED && entry.method !== DEFLATED) {
    throw new TransferError(`${entry.name} is packed in a way that is not known: method ${entry.method}`);
  }
  const pieces = counted(packed(source, entry), onPacked);
  if (entry.method === STORED) yield* pieces;
  else for await (const chunk of inflated(pieces)) yield chunk;
}

async function* counted(
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>>,
  onPacked: (packedBytes: number) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let packedBytes = 0;
  for await (const piece of pieces) {
    packedBytes += piece.length;
    onPacked(packedBytes);
    yield piece;
  }
}

function inflated(pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>): ReadableStream<Uint8Array> {
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: async (controller) => {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: async () => void (await pieces.return(undefined)),
  });
  return stream.pipeThrough(new DecompressionStream("deflate-raw"));
}
