/** @module C strings: NUL-terminated UTF-8, both ways. */

import { CString, type Pointer } from "bun:ffi";
import { ArgumentError, message } from "../core/errors.ts";

const encoder = new TextEncoder();

/**
 * Encode a string for a `const char *` argument.
 *
 * The array has its own ArrayBuffer, so it does not move while the call runs; keep it referenced as long as the library
 * keeps the pointer.
 *
 * @throws {ArgumentError} If the text holds a NUL, which would cut it short
 */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) {
    throw new ArgumentError(message("pass a string to a native call", `it holds a NUL: ${JSON.stringify(text)}`));
  }
  const bytes = encoder.encode(text);
  const terminated = new Uint8Array(new ArrayBuffer(bytes.length + 1));
  terminated.set(bytes);
  return terminated;
}

/** Copy the text behind a `const char *`; the empty string for NULL. The pointer stays the library's. */
export function readCString(pointer: number | null): string {
  if (pointer === null || pointer === 0) return "";
  return new CString(pointer as Pointer).toString();
}
