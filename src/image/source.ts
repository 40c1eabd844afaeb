/** @module ImageSource: everything an image can come from, and reading its bytes. */

import { createReadStream } from "node:fs";
import { fileURLToPath } from "node:url";
import { ArgumentError, message } from "../core/errors.ts";
import { passwordHint, redact } from "../core/shown.ts";
import { missingFile } from "../core/stats-of.ts";
import { formatBytes } from "../core/units.ts";
import { imageError, VIDEO_HINT } from "./decode-limits.ts";
import type { Image } from "./image.ts";

/**
 * What an image can come from: a path or URL (`file:`, `http:`, `https:`) as text, a URL, a Blob or File (also
 * `Bun.file(…)`), the bytes of an image file, or pixels that are decoded already.
 */
export type ImageSource = string | URL | Blob | Uint8Array | ArrayBuffer | Image;

/** The bytes of an image file, and what to call them in messages. */
export interface SourceBytes {
  readonly bytes: Uint8Array;
  /** Path, URL without its password, `a Blob` or `bytes`. */
  readonly name: string;
}

/** What {@linkcode readSource} takes beside the source. */
export interface ReadSourceOptions {
  /** How long a server may take, in milliseconds; default 30,000. */
  readonly timeoutMs?: number;
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
async function readStream(stream: AsyncIterable<Uint8Array> | null, name: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let byteLength = 0;
  for await (const chunk of stream ?? []) {
    byteLength += chunk.length;
    if (byteLength > MAX_BYTES) throw tooManyBytes(name, byteLength);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, byteLength);
}

async function download(url: URL, timeoutMs: number): Promise<SourceBytes> {
  const name = redact(url.href);
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
    if (!response.ok) {
      const found = `the server answered ${response.status} ${response.statusText}`.trimEnd();
      throw imageError(name, found, "open the address in a browser to see what is there");
    }
    return { bytes: await readStream(response.body, name), name };
  } catch (error) {
    if (error instanceof Error && error.name === "ImageError") throw error;
    if (error instanceof Error && error.name === "TimeoutError") {
      const found = `the server must answer within timeoutMs, and has not in ${timeoutMs} ms`;
      throw imageError(name, found, "raise timeoutMs", { cause: error });
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw imageError(name, `it cannot be fetched (${reason})`, "check the address and the network", { cause: error });
  }
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

async function readUrl(url: URL, timeoutMs: number): Promise<SourceBytes> {
  if (url.protocol === "file:") return readFile(pathOf(url));
  if (url.protocol === "http:" || url.protocol === "https:") return download(url, timeoutMs);
  throw imageError(
    redact(url.href).slice(0, 100),
    `its scheme must be file:, http: or https:, got ${url.protocol}`,
    STREAMS.test(url.protocol) ? VIDEO_HINT : "read it yourself and pass its bytes",
  );
}

async function readBlob(blob: Blob): Promise<SourceBytes> {
  const given = (blob as { readonly name?: unknown }).name;
  // Bun.file() gives a Blob that is read from its path.
  if (typeof given === "string" && Bun.file(given).size === blob.size && !(blob instanceof File))
    return readFile(given);
  const name = typeof given === "string" && given !== "" ? given : "a Blob";
  // A pipe, such as Bun.stdin, does not tell its size.
  if (blob.size === Number.POSITIVE_INFINITY) return { bytes: await readStream(blob.stream(), name), name };
  if (blob.size > MAX_BYTES) throw tooManyBytes(name, blob.size);
  return { bytes: await blob.bytes(), name };
}

/**
 * Read the bytes of an image file from wherever it is. Bytes that are given are not copied.
 *
 * @throws {ImageError} If the file is missing, cannot be read, or the server does not deliver it
 * @throws {ArgumentError} If the source is none of {@linkcode ImageSource}
 */
export async function readSource(
  source: Exclude<ImageSource, Image>,
  options: ReadSourceOptions = {},
): Promise<SourceBytes> {
  const { timeoutMs = 30_000 } = options;
  if (typeof source === "string") {
    return isAddress(source) ? readUrl(parseUrl(source), timeoutMs) : readFile(source);
  }
  if (source instanceof URL) return readUrl(source, timeoutMs);
  if (source instanceof Uint8Array) return { bytes: source, name: "bytes" };
  if (source instanceof ArrayBuffer) return { bytes: new Uint8Array(source), name: "bytes" };
  if (source instanceof Blob) return readBlob(source);
  const found = `it must be a path, URL, Blob, bytes or Image, got ${source === null ? "null" : typeof source}`;
  throw new ArgumentError(message("read an image", found, "wrap other binary data in a Uint8Array"));
}
