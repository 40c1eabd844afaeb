/** @module Upload: the pictures in the body of a request. */

import { refusal } from "./failure.ts";
import { formParts } from "./form-part.ts";
import { type BodyLimits, readRequestBody } from "./request-body.ts";

/** One picture that was sent. */
export interface UploadedPicture {
  /** Name of the file, else of its field, or `bytes`. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What was sent. */
export interface Upload {
  /** True for `multipart/form-data`: the answer is then a list. */
  readonly isForm: boolean;
  /** At least one. */
  readonly pictures: readonly UploadedPicture[];
}

/** What an upload may be. */
export interface UploadLimits extends BodyLimits {
  /** Most files in a form. */
  readonly maxFiles: number;
}

const TYPE_HINT =
  "send the picture as image/jpeg, image/png, … or application/octet-stream, or pictures as multipart/form-data: curl -F image=@street.jpg";

function checkType(type: string): void {
  if (type === "" || type === "application/octet-stream" || type === "multipart/form-data") return;
  if (type.startsWith("image/")) return;
  throw refusal(415, "not-an-image-type", `as the body is declared as ${JSON.stringify(type)}`, TYPE_HINT);
}

function filesOf(bytes: Uint8Array, contentType: string, maxFiles: number): readonly UploadedPicture[] {
  const files: UploadedPicture[] = [];
  for (const { name, filename, bytes: file } of formParts(bytes, contentType)) {
    if (filename === undefined) {
      const found = `as field ${JSON.stringify(name)} of the form is no file`;
      throw refusal(400, "not-a-file", found, "options go into the address: /detect?threshold=0.5");
    }
    if (files.length === maxFiles) {
      const found = `as a form may have at most ${maxFiles} files`;
      throw refusal(413, "too-many-files", found, "send them in several requests");
    }
    files.push({ name: filename || name, bytes: file });
  }
  return files;
}

/**
 * Read the pictures of a request.
 *
 * @param signal its reason is thrown as soon as it is aborted
 * @throws {RequestError} 415 for a declared type that is no picture, 400 for a body without one, and what
 *   {@linkcode readRequestBody} throws
 */
export async function readUpload(request: Request, limits: UploadLimits, signal: AbortSignal): Promise<Upload> {
  const contentType = request.headers.get("content-type") ?? "";
  const type = contentType.split(";", 1)[0]!.trim().toLowerCase();
  checkType(type);
  const bytes = await readRequestBody(request, limits, signal);
  const isForm = type === "multipart/form-data";
  if (bytes.length > 0 && !isForm) return { isForm, pictures: [{ name: "bytes", bytes }] };
  const pictures = bytes.length === 0 ? [] : filesOf(bytes, contentType, limits.maxFiles);
  if (pictures.length === 0) throw refusal(400, "no-picture", "as the body holds no picture", TYPE_HINT);
  return { isForm, pictures };
}
