/** @module ImageSource: everything an image can come from, and reading its bytes. */

import { createReadStream } from "node:fs";
import { fileURLToPath } from "node:url";
import { isEmbedded } from "../core/embedded.ts";
import { ArgumentError, ImageError, message } from "../core/errors.ts";
import { passwordHint, redact } from "../core/log.ts";
import { missingFile, pathOfBlob } from "../core/paths.ts";
import { untilAborted } from "../core/resource.ts";
import { formatBytes } from "../core/units.ts";
import { imageError, VIDEO_HINT } from "./decode-limits.ts";
import type { Image } from "./image.ts";

/**
 * What an image can come from: a path or URL (`file:`, `http:`, `https:`, `data:`) as text, a URL, a Blob or File (also
 * `Bun.file(…)`), a Response, Request or ReadableStream whose body nobody has read yet, the bytes of an image file, or pixels
 * that are decoded already.
 */
export type ImageSource =
  | string
  | URL
  | Blob
  | Response
  | Request
  | ReadableStream<Uint8Array>
  | Uint8Array
  | ArrayBuffer
  | Image;

/** The bytes of an image file, and what to call them in messages. */
export interface SourceBytes {
  readonly bytes: Uint8Array;
  /** Path, URL without its password, `a Blob` or `bytes`. */
  readonly name: string;
}

/** What {@linkcode readSource} takes beside the source. */
export interface ReadSourceOptions {
  /** How long a server, or who writes a stream, may take until all is there, in milliseconds; default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** Aborted: reading ends, and its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** No image file is larger; what is, would only fill the memory. */
const MAX_BYTES = 2 ** 30;

/**
 * True for text that {@linkcode readSource} takes for a URL. A scheme alone is none, as files may be called so too: it takes
 * the two slashes, but for `file:`, `data:` and `blob:`.
 */
export function isAddress(text: string): boolean {
  return /^(file|data|blob):|^[a-z][a-z\d+.-]+:\/\//i.test(text);
}

/** Schemes that only live streams have. */
const STREAMS = /^(rtsps?|rtmps?|udp|tcp|srt|rtp):$/;

function tooManyBytes(name: string, byteLength: number): Error {
  const found = `an image file must have at most ${formatBytes(MAX_BYTES)}, got ${formatBytes(byteLength)}`;
  return imageError(name, found, "check that it is the file you mean");
}

async function readFile(path: string): Promise<SourceBytes> {
  try {
    // Throws at once where the path itself cannot be one.
    const file = Bun.file(path);
    // Bun tells no more of a file inside an executable than its size.
    if (isEmbedded(path)) return { bytes: await file.bytes(), name: path };
    const { size, isFile, isDirectory } = await file.stat().then((stat) => ({
      size: stat.size,
      isFile: stat.isFile(),
      isDirectory: stat.isDirectory(),
    }));
    if (isDirectory) throw imageError(path, "it is a folder", "give the path of one image");
    if (isFile && size > MAX_BYTES) throw tooManyBytes(path, size);
    // What is no file, a pipe or a device, tells no size, and may have no end.
    return { bytes: isFile ? await file.bytes() : await readStream(createReadStream(path), path), name: path };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    if (code === "ENOENT") {
      const { found, hint } = missingFile(path);
      throw imageError(path, found, hint, { cause: error });
    }
    throw imageError(path, `it cannot be read (${code})`, "check the path and its permissions", { cause: error });
  }
}

/** What comes of unknown length, given up as soon as it is longer than an image can be. */
async function readStream(stream: AsyncIterable<Uint8Array>, name: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let byteLength = 0;
  for await (const chunk of stream) {
    if (!(chunk instanceof Uint8Array)) {
      throw imageError(name, `its chunks must be Uint8Arrays, got ${typeof chunk}`, "encode them first");
    }
    byteLength += chunk.length;
    if (byteLength > MAX_BYTES) throw tooManyBytes(name, byteLength);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, byteLength);
}

/** The chunks of a stream, which is cancelled where they are not read to the end. */
async function* chunksOf(stream: ReadableStream<Uint8Array>, ending: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await untilAborted(reader.read(), ending);
      if (done) return;
      yield value!;
    }
  } finally {
    // Of one that has ended this does nothing; its own errors are nobody's any more.
    reader.cancel(ending.reason).catch(() => undefined);
  }
}

/** What somebody else sends, within its time. @throws the reason of the caller's signal */
async function received(
  name: string,
  { timeoutMs = 30_000, signal }: ReadSourceOptions,
  read: (ending: AbortSignal) => Promise<Uint8Array>,
): Promise<SourceBytes> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    return { bytes: await read(signal === undefined ? timeout : AbortSignal.any([timeout, signal])), name };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ImageError) throw error;
    if (timeout.aborted) {
      const found = `all of it must be there within timeoutMs, and is not after ${timeoutMs} ms`;
      throw imageError(name, found, "raise timeoutMs, or read it yourself and pass its bytes", { cause: error });
    }
    const reason = error instanceof Error ? error.message : String(error);
    if (name.startsWith("a ")) throw imageError(name, `it cannot be read (${reason})`, undefined, { cause: error });
    throw imageError(name, `it cannot be fetched (${reason})`, "check the address and the network", { cause: error });
  }
}

const USED_HINT = "give it before anyone reads it, or give the bytes that were read";

/** The body of a message. @throws {ImageError} If there is none, it has been read already, or is no file by itself */
async function readBody(message: Response | Request, name: string, ending: AbortSignal): Promise<Uint8Array> {
  const { body, headers, bodyUsed } = message;
  if ("ok" in message && !message.ok) {
    if (!body?.locked) await body?.cancel();
    const found = `the server answered ${message.status} ${message.statusText}`.trimEnd();
    throw imageError(name, found, "open the address in a browser to see what is there");
  }
  if (bodyUsed || body?.locked) throw imageError(name, "its body has been read already", USED_HINT);
  if (body === null) throw imageError(name, "it has no body", "send the image as the body");
  if (/^multipart\//i.test(headers.get("content-type") ?? "")) {
    throw imageError(name, "it is a form", "give the File in it, from (await request.formData()).get(…)");
  }
  const byteLength = Number(headers.get("content-length") ?? 0);
  if (byteLength > MAX_BYTES) throw tooManyBytes(name, byteLength);
  return readStream(chunksOf(body, ending), name);
}

function download(url: URL, options: ReadSourceOptions): Promise<SourceBytes> {
  const name = redact(url.href);
  return received(name, options, async (ending) => readBody(await fetch(url, { signal: ending }), name, ending));
}

/** What is called so in messages: it may have megabytes. */
const DATA_URL = "a data URL";

/** @see RFC 2397 */
function bytesOf(dataUrl: string): SourceBytes {
  const comma = dataUrl.indexOf(",");
  if (comma < 0) throw imageError(DATA_URL, "it has no comma before its data", "write data:image/png;base64,…");
  // A character stands for three quarters of a byte in base64, and is one byte at most.
  if (dataUrl.length - comma > (MAX_BYTES / 3) * 4) throw tooManyBytes(DATA_URL, dataUrl.length - comma);
  const text = dataUrl.slice(comma + 1);
  const isBase64 = /;\s*base64\s*$/i.test(dataUrl.slice(0, comma));
  try {
    const plain = text.includes("%") ? unescaped(text) : Buffer.from(text);
    return { bytes: isBase64 ? Uint8Array.fromBase64(plain.toString("latin1")) : plain, name: DATA_URL };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw imageError(DATA_URL, "its data is not base64", "encode the bytes of the file, by toBase64()", {
      cause: error,
    });
  }
}

/** The bytes that a text with `%41` stands for; what is no such escape stands for itself. */
function unescaped(text: string): Buffer {
  return Buffer.from(
    Buffer.from(text)
      .toString("latin1")
      .replace(/%([\da-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16))),
    "latin1",
  );
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (url !== null) return url;
  throw imageError(
    redact(text).slice(0, 100),
    "it is no valid URL",
    passwordHint(text) ?? "check the address; write a path of that name with ./",
  );
}

/** @throws {ImageError} If it names another machine, or has an escaped slash in it */
function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw imageError(redact(url.href).slice(0, 100), `it is no path (${reason})`, "give the path itself", {
      cause: error,
    });
  }
}

async function readUrl(url: URL, options: ReadSourceOptions): Promise<SourceBytes> {
  if (url.protocol === "file:") return readFile(pathOf(url));
  if (url.protocol === "http:" || url.protocol === "https:") return download(url, options);
  if (url.protocol === "data:") return bytesOf(url.href);
  throw imageError(
    redact(url.href).slice(0, 100),
    `its scheme must be file:, http:, https: or data:, got ${url.protocol}`,
    STREAMS.test(url.protocol) ? VIDEO_HINT : "read it yourself and pass its bytes",
  );
}

async function readBlob(blob: Blob): Promise<SourceBytes> {
  const path = pathOfBlob(blob);
  if (path !== undefined) return readFile(path);
  const given = (blob as { readonly name?: unknown }).name;
  const name = typeof given === "string" && given !== "" ? given : "a Blob";
  // A pipe, such as Bun.stdin, does not tell its size, and takes its time.
  if (blob.size === Number.POSITIVE_INFINITY) return { bytes: await readStream(blob.stream(), name), name };
  if (blob.size > MAX_BYTES) throw tooManyBytes(name, blob.size);
  return { bytes: await blob.bytes(), name };
}

/** True for what can be read only once. */
export function isReadOnce(source: ImageSource): source is Response | Request | ReadableStream<Uint8Array> {
  return source instanceof Response || source instanceof Request || source instanceof ReadableStream;
}

function nameOf({ url }: Response): string {
  if (url.startsWith("data:")) return DATA_URL;
  return redact(url) || "a Response";
}

function readOnce(
  source: Response | Request | ReadableStream<Uint8Array>,
  options: ReadSourceOptions,
): Promise<SourceBytes> {
  if (!(source instanceof ReadableStream)) {
    const name = source instanceof Request ? "a Request" : nameOf(source);
    return received(name, options, (ending) => readBody(source, name, ending));
  }
  const name = "a ReadableStream";
  return received(name, options, async (ending) => {
    if (source.locked) throw imageError(name, "somebody else reads it", USED_HINT);
    return readStream(chunksOf(source, ending), name);
  });
}

async function readAny(source: Exclude<ImageSource, Image>, options: ReadSourceOptions): Promise<SourceBytes> {
  if (typeof source === "string") {
    if (!isAddress(source)) return readFile(source);
    return /^data:/i.test(source) ? bytesOf(source) : readUrl(parseUrl(source), options);
  }
  if (source instanceof URL) return readUrl(source, options);
  if (source instanceof Uint8Array) return { bytes: source, name: "bytes" };
  if (source instanceof ArrayBuffer) return { bytes: new Uint8Array(source), name: "bytes" };
  if (source instanceof Blob) return readBlob(source);
  if (isReadOnce(source)) return readOnce(source, options);
  const found = `it must be a path, URL, Blob, Response, Request, ReadableStream, bytes or Image, got ${source === null ? "null" : typeof source}`;
  throw new ArgumentError(message("read an image", found, "wrap other binary data in a Uint8Array"));
}

/**
 * Read the bytes of an image file from wherever it is. Bytes that are given are not copied.
 *
 * @throws {ImageError} If the file is missing, cannot be read, or the server does not deliver it; or if a body has been read
 *   already
 * @throws {ArgumentError} If the source is none of {@linkcode ImageSource}
 * @throws the reason of `options.signal`
 */
export async function readSource(
  source: Exclude<ImageSource, Image>,
  options: ReadSourceOptions = {},
): Promise<SourceBytes> {
  options.signal?.throwIfAborted();
  const read = await readAny(source, options);
  options.signal?.throwIfAborted();
  return read;
}
