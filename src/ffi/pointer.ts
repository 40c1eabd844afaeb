/** @module Pointer: the address of memory that stays in place. */

import { type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { ArgumentError, message } from "../core/errors.ts";

/**
 * The address of the first byte of a view, as a number. For calls that keep or use a pointer beyond the call itself;
 * a plain call takes the view.
 *
 * Asking for the view's ArrayBuffer pins it: the engine keeps small arrays in its own heap, and moves them, until then.
 * The caller keeps the view referenced for as long as the pointer is in use: in a field of an object that is, as a
 * variable that is not read again is no reference, not even at the top of a module.
 *
 * @throws {ArgumentError} If the view is empty: it has no address
 */
export function addressOf(view: ArrayBufferView): number {
  if (view.byteLength === 0) {
    throw new ArgumentError(message("take the address of a view", "it must have at least one byte, got 0"));
  }
  return ptr(view.buffer as ArrayBuffer, view.byteOffset);
}

/**
 * Native memory seen as an ArrayBuffer; nothing is copied, and the memory stays its owner's.
 *
 * @param address    of the first byte
 * @param byteLength at least 1
 */
export function nativeView(address: number, byteLength: number): ArrayBuffer {
  return toArrayBuffer(address as Pointer, 0, byteLength) as ArrayBuffer;
}
