/** @module Upload: the pictures in the body of a request. */

import { refusal } from "./failure.ts";
import { formParts } from "./form-part.ts";

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

const TYPE_HINT =
  "send the picture as image/jpeg, image/png, … or application/octet-stream, or pictures as multipart/form-data: curl -F image=@street.jpg";

function typeOf(request: Request): string {
  return (request.headers.get("content-type") ?? "").split(";", 1)[0]!.trim().toLowerCase();
}

/** @throws {RequestError} 415 for a declared type that is no picture */
export function checkUploadType(request: Request): void {
  const type = typeOf(request);
  if (type === "" || type === "application/octet-stream" || type === "multipart/form-data") return;
  if (type.startsWith("image/")) return;
  throw refusal(415, "not-an-image-type", `the body is declared as ${JSON.stringify(type)}`, TYPE_HINT);
}

async function filesOf(bytes: Uint8Array, contentType: string, maxFiles: number): Promise<readonly UploadedPicture[]> {
  const files: UploadedPicture[] = [];
  for await (const { name, filename, bytes: file } of formParts(bytes, contentType)) {
    if (filename === undefined) {
      const found = `field ${JSON.stringify(name)} of the form is no file`;
      throw refusal(400, "not-a-file", found, "options go into the address: /detect?threshold=0.5");
    }
    if (files.length === maxFiles) {
      const found = `a form may have at most ${maxFiles} files`;
      throw refusal(413, "too-many-files", found, "send them in several requests");
    }
    files.push({ name: filename || name, bytes: file });
  }
  return files;
}

/** @throws {RequestError} 400 for a body without a picture */
export function checkUploadLength({ length }: { readonly length: number }): void {
  if (length === 0) throw refusal(400, "no-picture", "the body holds no picture", TYPE_HINT);
}

/**
 * The pictures in the body of a request.
 *
 * @param bytes    of the whole body, at least one
 * @param maxFiles most files in a form; behind one more nothing is looked at
 * @throws {RequestError} 400 for a body without a picture, 413 for a form with too many
 */
export async function uploadOf(request: Request, bytes: Uint8Array, maxFiles: number): Promise<Upload> {
  const isForm = typeOf(request) === "multipart/form-data";
  if (!isForm) return { isForm, pictures: [{ name: "bytes", bytes }] };
  const contentType = request.headers.get("content-type") ?? "";
  const pictures = await filesOf(bytes, contentType, maxFiles);
  checkUploadLength(pictures);
  return { isForm, pictures };
}
