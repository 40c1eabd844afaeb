/**
 * @module FormPart: the parts of a `multipart/form-data` body, over its own bytes. Bun's reader takes names in quotes alone,
 * and there are clients, .NET's among them, that write quotes only where a name needs them.
 */

import { getMultipartBoundary, MultipartParseError, parseMultipart } from "@remix-run/multipart-parser";
import { refusal } from "./failure.ts";

/** One part of a form. */
export interface FormPart {
  readonly name: string;
  /** `undefined` for a field that is no file. */
  readonly filename: string | undefined;
  /** A view of the body. */
  readonly bytes: Uint8Array;
}

/** The length of the body is limited already, and with it the length and the number of its parts. Heads alone are limited here. */
const LIMITS = {
  maxHeaderSize: 2 ** 14,
  maxFileSize: Number.POSITIVE_INFINITY,
  maxTotalSize: Number.POSITIVE_INFINITY,
  maxParts: Number.POSITIVE_INFINITY,
} as const;

function badForm(found: string): Error {
  const hint = "let your client make the form and its boundary: curl -F image=@street.jpg";
  return refusal(400, "bad-form", `as the form cannot be read: ${found}`, hint);
}

/**
 * Take a form apart. Copies nothing.
 *
 * @param contentType value of the header field, with the boundary
 * @returns the parts in their order
 * @throws {RequestError} 400 if it is no whole form
 * @see https://www.rfc-editor.org/rfc/rfc7578
 */
export function formParts(body: Uint8Array, contentType: string): readonly FormPart[] {
  const boundary = getMultipartBoundary(contentType);
  if (boundary === null) throw badForm("its Content-Type names no boundary");
  try {
    return Array.from(parseMultipart(body, { boundary, ...LIMITS }), (part, index) => {
      const { name, filename, content } = part;
      if (name === undefined) throw badForm(`part ${index} has no Content-Disposition with a name`);
      // The body is one piece, and so is what a part has of it.
      return { name, filename, bytes: content.length === 1 ? content[0]! : part.bytes };
    });
  } catch (error) {
    // The parser's own errors, and what its TextDecoder says of a head that is no UTF-8.
    if (error instanceof MultipartParseError || error instanceof TypeError) throw badForm(error.message);
    throw error;
  }
}
