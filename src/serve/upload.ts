/** @module Upload: the bytes of a request, never more than allowed and never later, and the images in them. */

import { setImmediate } from "node:timers/promises";
import {
  getMultipartBoundary,
  MultipartParseError,
  MultipartParser,
  type MultipartPart,
} from "@remix-run/multipart-parser";
import { untilAborted } from "../core/resource.ts";
import { formatBytes, formatDuration } from "../core/units.ts";
import { busyError, refusal } from "./failure.ts";

/** What a body may be. */
interface BodyLimits {
  /** In bytes. */
  readonly maxBodyBytes: number;
  /** From the head of the request to the end of the body, in milliseconds. */
  readonly bodyTimeoutMs: number;
}

function tooLarge(maxBodyBytes: number): Error {
  const found = `a body may have at most ${formatBytes(maxBodyBytes)}`;
  return refusal(413, "body-too-large", found, "send a smaller or more strongly compressed image");
}

async function readStream(body: ReadableStream<Uint8Array>, maxBodyBytes: number, hold: BodyHold): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let byteLength = 0;
  for await (const chunk of body) {
    byteLength += chunk.length;
    if (byteLength > maxBodyBytes) throw tooLarge(maxBodyBytes);
    hold.add(chunk.length);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, byteLength);
}

/**
 * Read the whole body. What comes after a refusal is read and forgotten by Bun, so that the client gets the answer.
 *
 * @param hold   counts its bytes: all at once where the head says how many there are, else as they come
 * @param signal its reason is thrown as soon as it is aborted
 * @throws {RequestError} 413 if it is too long, by its head or by what comes; 408 if it is too slow; 415 if it is packed;
 *   429 if there is no room for it
 * @throws {DOMException} `AbortError` if the client has gone
 */
export async function readRequestBody(
  request: Request,
  limits: BodyLimits,
  hold: BodyHold,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { maxBodyBytes, bodyTimeoutMs } = limits;
  signal.throwIfAborted();
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding !== "identity") {
    const found = `the body must not be compressed, got Content-Encoding ${JSON.stringify(encoding)}`;
    throw refusal(415, "packed-body", found, "send it as it is; images are compressed already");
  }
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > maxBodyBytes) throw tooLarge(maxBodyBytes);
  if (request.body === null) return new Uint8Array(0);
  hold.add(declared === null ? 0 : Number(declared));
  const late = new AbortController();
  const timer = setTimeout(() => {
    const found = `the body must arrive within ${formatDuration(bodyTimeoutMs)}`;
    const hint = "send a smaller image, or look at the connection";
    late.abort(refusal(408, "body-too-slow", found, hint, { Connection: "close" }));
  }, bodyTimeoutMs);
  // With a length in the head Bun's parser takes no more than that.
  const bytes = declared === null ? readStream(request.body, maxBodyBytes, hold) : request.bytes();
  // Once the time is up nobody waits for it: that the connection then closes is no news.
  bytes.catch(() => {});
  try {
    return await untilAborted(bytes, AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** Counts the bytes of bodies that are on their way, waiting or worked on. */
export class BodyBudget {
  readonly #mostBytes: number;
  readonly #holds = new Set<BodyHold>();
  /** Those that are held. */
  bytes = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** A body of no bytes yet. @param giveWay called with the refusal if its bytes are needed for smaller bodies */
  hold(giveWay: (refusal: Error) => void): BodyHold {
    const hold = new BodyHold(this, giveWay);
    this.#holds.add(hold);
    return hold;
  }

  /** @internal called by a hold. @throws {RequestError} 429 if there is no room, and no larger body to make some */
  add(hold: BodyHold, bytes: number): void {
    hold.bytes += bytes;
    this.bytes += bytes;
    while (this.bytes > this.#mostBytes) {
      let largest = hold;
      for (const other of this.#holds) if (!other.isPinned && other.bytes > largest.bytes) largest = other;
      const found = `request bodies in memory may have at most ${formatBytes(this.#mostBytes)} together`;
      const error = busyError(found, { Connection: "close" });
      this.drop(largest);
      if (largest === hold) throw error;
      largest.giveWay(error);
    }
  }

  /** @internal called by a hold. */
  drop(hold: BodyHold): void {
    if (!this.#holds.delete(hold)) return;
    this.bytes -= hold.bytes;
  }
}

/** The bytes of one body. Whoever made it releases it. */
export class BodyHold {
  readonly #budget: BodyBudget;
  readonly giveWay: (refusal: Error) => void;
  bytes = 0;
  /** True once it is worked on: it stays then. */
  isPinned = false;

  constructor(budget: BodyBudget, giveWay: (refusal: Error) => void) {
    this.#budget = budget;
    this.giveWay = giveWay;
  }

  /** Count bytes before they are there. @throws {RequestError} 429 if there is no room for them */
  add(bytes: number): void {
    this.#budget.add(this, bytes);
  }

  /** Its bytes are nobody's any more. */
  release(): void {
    this.#budget.drop(this);
  }
}

/** One image that was sent. */
export interface UploadedImage {
  /** Name of the file, else of its field, or `bytes`. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What a form holds. */
export interface UploadedForm {
  readonly images: UploadedImage[];
  /** Its other fields; `undefined` where they are refused. */
  readonly fields?: Map<string, string>;
}

/** What was sent. */
interface Upload {
  /** True for `multipart/form-data`: the answer is then a list. */
  readonly isForm: boolean;
  /** At least one. */
  readonly images: readonly UploadedImage[];
}

const TYPE_HINT =
  "send the image as image/jpeg, image/png, … or application/octet-stream, or images as multipart/form-data: curl -F image=@street.jpg";

/** What the body is declared as, without parameters, in lower case. */
export function typeOf(request: Request): string {
  return (request.headers.get("content-type") ?? "").split(";", 1)[0]!.trim().toLowerCase();
}

/** @throws {RequestError} 415 for a declared type that is not an image's */
export function checkUploadType(request: Request): void {
  const type = typeOf(request);
  if (type === "" || type === "application/octet-stream" || type === "multipart/form-data") return;
  if (type.startsWith("image/")) return;
  throw refusal(415, "not-an-image-type", `the body is declared as ${JSON.stringify(type)}`, TYPE_HINT);
}

/** @throws {RequestError} 400 for a body without an image */
export function checkUploadLength({ length }: { readonly length: number }): void {
  if (length === 0) throw refusal(400, "no-image", "the body holds no image", TYPE_HINT);
}

/**
 * The images in the body of a request.
 *
 * @param bytes    of the whole body, at least one
 * @param maxFiles most files in a form; behind one more nothing is looked at
 * @throws {RequestError} 400 for a body without an image, 413 for a form with too many
 */
export async function uploadOf(request: Request, bytes: Uint8Array, maxFiles: number): Promise<Upload> {
  const isForm = typeOf(request) === "multipart/form-data";
  if (!isForm) return { isForm, images: [{ name: "bytes", bytes }] };
  const { images } = await readForm(request, bytes, maxFiles, { images: [] });
  checkUploadLength(images);
  return { isForm, images };
}

/** The length of the body is limited already, and the caller counts the parts as they come. Heads are limited here. */
const LIMITS = {
  maxHeaderSize: 2 ** 14,
  maxFileSize: Number.POSITIVE_INFINITY,
  maxTotalSize: Number.POSITIVE_INFINITY,
  maxParts: Number.POSITIVE_INFINITY,
} as const;
/** RFC 2046's limit. The parser's search never ends with one of 252 characters, and slows down with the length. */
const LONGEST_BOUNDARY = 70;
/** Bytes that are looked through before others have their turn: 25 ms where the body is made to slow the search down. */
const SLICE = 2 ** 18;

function badForm(found: string): Error {
  const hint = "let your client make the form and its boundary: curl -F image=@street.jpg";
  return refusal(400, "bad-form", `the form cannot be read: ${found}`, hint);
}

/** Longest text of a field in bytes: a key, a number. */
const LONGEST_FIELD = 1024;

/** @throws {RequestError} 400 if it is there already: nobody could tell which one was meant */
export function addField(fields: Map<string, string>, name: string, text: string): void {
  if (fields.has(name)) {
    const found = `Option ${JSON.stringify(name.slice(0, 100))} is given twice`;
    throw refusal(400, "invalid-option", found, "send each field of the form once");
  }
  fields.set(name, text);
}

/** Add a part of a form to what was found in it. */
function addPart({ images, fields }: UploadedForm, part: MultipartPart): void {
  const { name, filename, content } = part;
  if (name === undefined) throw badForm(`part ${images.length} has no Content-Disposition with a name`);
  if (filename !== undefined) {
    images.push({ name: filename || name, bytes: content.length === 1 ? content[0]! : part.bytes });
    return;
  }
  if (fields === undefined) {
    const found = `field ${JSON.stringify(name)} of the form is not a file`;
    throw refusal(400, "not-a-file", found, "options go into the address: /detect?threshold=0.5");
  }
  if (part.size > LONGEST_FIELD) throw badForm(`field ${JSON.stringify(name.slice(0, 100))} is too long`);
  addField(fields, name, part.text);
}

/**
 * Read a form: its files in their order, views of the body but for a part that is long, which is copied.
 *
 * @param maxFiles behind one more file or field nothing is looked at
 * @param form     where they go; without `fields` it may hold files only
 * @returns the form
 * @throws {RequestError} 400 if it is no complete form, or has a field where there may be none; 413 if it has too many
 * @see https://www.rfc-editor.org/rfc/rfc7578
 */
export async function readForm<Form extends UploadedForm>(
  request: Request,
  body: Uint8Array,
  maxFiles: number,
  form: Form,
): Promise<Form> {
  const boundary = getMultipartBoundary(request.headers.get("content-type") ?? "");
  if (boundary === null) throw badForm("its Content-Type names no boundary");
  if (boundary.length > LONGEST_BOUNDARY) {
    throw badForm(`its boundary has ${boundary.length} characters, and may have ${LONGEST_BOUNDARY}`);
  }
  const parser = new MultipartParser(boundary, LIMITS);
  try {
    for (let at = 0; at < body.length; at += SLICE) {
      if (at > 0) await setImmediate();
      for (const part of parser.write(body.subarray(at, at + SLICE))) {
        addPart(form, part);
        if (form.images.length <= maxFiles && (form.fields?.size ?? 0) <= maxFiles) continue;
        const found = `a form may have at most ${maxFiles} files`;
        throw refusal(413, "too-many-files", found, "send them in several requests");
      }
    }
    parser.finish();
  } catch (error) {
    // The parser's own errors, and what its TextDecoder says of a head that is no UTF-8.
    if (error instanceof MultipartParseError || error instanceof TypeError) throw badForm(error.message);
    throw error;
  }
  return form;
}
