/**
 * @module FormPart: the parts of a `multipart/form-data` body, over its own bytes. Bun's reader takes names in quotes alone,
 * and there are clients, .NET's among them, that write quotes only where a name needs them.
 */

import { refusal } from "./failure.ts";

/** One part of a form. */
export interface FormPart {
  readonly name: string;
  /** `undefined` for a field that is no file. */
  readonly filename: string | undefined;
  /** A view of the body. */
  readonly bytes: Uint8Array;
}

/** Longest head of a part, in bytes. */
const MOST_HEAD_BYTES = 2 ** 14;

const BOUNDARY = /;\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;"]+))/i;
const DISPOSITION = /^content-disposition[ \t]*:[ \t]*form-data[ \t]*(?=;|$)(.*)$/im;
const PARAMETER = /;\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))/g;
/** What is left of the line of a boundary: blanks that somebody on the way has added. */
const REST_OF_LINE = /^[ \t]*$/;

function badForm(found: string): Error {
  const hint = "let your client make the form and its boundary: curl -F image=@street.jpg";
  return refusal(400, "bad-form", `as the form cannot be read: ${found}`, hint);
}

/** `UTF-8''gr%C3%BCn.jpg`; `undefined` for what is in another character set, or broken. */
function extendedValue(text: string | undefined): string | undefined {
  const packed = /^utf-8'[^']*'((?:[^%]|%[0-9a-f]{2})*)$/i.exec(text ?? "")?.[1];
  const bytes = packed?.replaceAll(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return bytes === undefined ? undefined : Buffer.from(bytes, "latin1").toString();
}

/** Names and values of what follows `form-data`, the first of each name. */
function parametersOf(text: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const [, name = "", quoted, plain = ""] of text.matchAll(PARAMETER)) {
    const key = name.toLowerCase();
    if (!parameters.has(key)) parameters.set(key, quoted?.replace(/\\(["\\])/g, "$1") ?? plain.trim());
  }
  return parameters;
}

function partOf(head: string, bytes: Uint8Array, index: number): FormPart {
  const parameters = parametersOf(DISPOSITION.exec(head)?.[1] ?? "");
  const name = parameters.get("name");
  if (name === undefined) throw badForm(`part ${index} has no Content-Disposition with a name`);
  return { name, filename: parameters.get("filename") ?? extendedValue(parameters.get("filename*")), bytes };
}

/**
 * Take a form apart. Copies nothing.
 *
 * @param contentType value of the header field, with the boundary
 * @returns the parts one by one, in their order
 * @throws {RequestError} 400 if it is no whole form
 * @see https://www.rfc-editor.org/rfc/rfc7578
 */
export function* formParts(body: Uint8Array, contentType: string): Generator<FormPart, void, undefined> {
  const [, quoted, plain] = BOUNDARY.exec(contentType) ?? [];
  const boundary = quoted ?? plain;
  if (boundary === undefined) throw badForm("its Content-Type names no boundary");
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  const isFirst = bytes.subarray(0, delimiter.length - 2).equals(delimiter.subarray(2));
  let at = isFirst ? -2 : bytes.indexOf(delimiter);
  if (at === -1) throw badForm("its boundary is not in it");
  for (let index = 0; ; index++) {
    const after = at + delimiter.length;
    if (bytes.toString("latin1", after, after + 2) === "--") return;
    const line = bytes.indexOf("\r\n", after);
    const headEnd = line < 0 ? -1 : bytes.indexOf("\r\n\r\n", line);
    // The empty line may be followed by the boundary at once.
    at = headEnd < 0 ? -1 : bytes.indexOf(delimiter, headEnd + 2);
    if (at < 0) throw badForm("it ends within a part");
    if (headEnd - line > MOST_HEAD_BYTES) throw badForm(`the head of part ${index} is longer than 16 KiB`);
    if (!REST_OF_LINE.test(bytes.toString("latin1", after, line))) throw badForm("something follows its boundary");
    yield partOf(
      bytes.toString("utf8", line + 2, headEnd),
      body.subarray(headEnd + 4, Math.max(headEnd + 4, at)),
      index,
    );
  }
}
