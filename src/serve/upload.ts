/** @module Upload: the images in the body of a request. */

import { setImmediate } from "node:timers/promises";
import {
  getMultipartBoundary,
  MultipartParseError,
  MultipartParser,
  type MultipartPart,
} from "@remix-run/multipart-parser";
import { refusal } from "./failure.ts";

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
export interface Upload {
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
