/**
 * @module FormPart: the parts of a `multipart/form-data` body, over its own bytes. Bun's reader takes names in quotes alone,
 * and there are clients, .NET's among them, that write quotes only where a name needs them.
 */

import { setImmediate } from "node:timers/promises";
import {
  getMultipartBoundary,
  MultipartParseError,
  MultipartParser,
  type MultipartPart,
} from "@remix-run/multipart-parser";
import { refusal } from "./failure.ts";

/** One part of a form. */
export interface FormPart {
  readonly name: string;
  /** `undefined` for a field that is no file. */
  readonly filename: string | undefined;
  /** A view of the body. */
  readonly bytes: Uint8Array;
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

function formPart(part: MultipartPart, index: number): FormPart {
  const { name, filename, content } = part;
  if (name === undefined) throw badForm(`part ${index} has no Content-Disposition with a name`);
  return { name, filename, bytes: content.length === 1 ? content[0]! : part.bytes };
}

/**
 * Take a form apart, part by part: who has enough stops reading. A part that is long is copied.
 *
 * @param contentType value of the header field, with the boundary
 * @returns the parts in their order
 * @throws {RequestError} 400 if it is no whole form
 * @see https://www.rfc-editor.org/rfc/rfc7578
 */
export async function* formParts(body: Uint8Array, contentType: string): AsyncGenerator<FormPart, void, undefined> {
  const boundary = getMultipartBoundary(contentType);
  if (boundary === null) throw badForm("its Content-Type names no boundary");
  if (boundary.length > LONGEST_BOUNDARY) {
    throw badForm(`its boundary has ${boundary.length} characters, and may have ${LONGEST_BOUNDARY}`);
  }
  const parser = new MultipartParser(boundary, LIMITS);
  let index = 0;
  try {
    for (let at = 0; at < body.length; at += SLICE) {
      if (at > 0) await setImmediate();
      for (const part of parser.write(body.subarray(at, at + SLICE))) yield formPart(part, index++);
    }
    parser.finish();
  } catch (error) {
    // The parser's own errors, and what its TextDecoder says of a head that is no UTF-8.
    if (error instanceof MultipartParseError || error instanceof TypeError) throw badForm(error.message);
    throw error;
  }
}
