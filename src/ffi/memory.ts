/** @module Pointer: the address of memory that stays in place. */

import { CString, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
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

const LARGEST_POINTER = 2 ** 53;

/**
 * A block of 64-bit cells for `T *out` parameters: pass {@linkcode OutCells.cells} to the call, read a cell afterwards.
 * Valid until the next call that uses the same block, so each wrapper keeps its own.
 */
export class OutCells {
  /** What is passed as the pointer. */
  readonly cells: BigUint64Array<ArrayBuffer>;
  readonly #low: Uint32Array<ArrayBuffer>;
  readonly #signed: Int32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;

  /** @param count number of 64-bit cells; one is there in any case, as none have no address */
  constructor(count: number) {
    const buffer = new ArrayBuffer(Math.max(count, 1) * 8);
    this.cells = new BigUint64Array(buffer);
    this.#low = new Uint32Array(buffer);
    this.#signed = new Int32Array(buffer);
    this.#floats = new Float32Array(buffer);
  }

  /** Of the first cell, for calls off the JS thread: keep the block referenced until they have ended. */
  get address(): number {
    return addressOf(this.cells);
  }

  /** Zero all cells. */
  clear(): void {
    this.#low.fill(0);
  }

  /** A pointer, handle or size as a number. @throws {ArgumentError} If it is 2^53 or more */
  pointer(cell = 0): number {
    const value = this.#low[cell * 2]! + this.#low[cell * 2 + 1]! * 2 ** 32;
    if (value >= LARGEST_POINTER) {
      throw new ArgumentError(message("use a native pointer", `it must be below 2^53, got 0x${value.toString(16)}`));
    }
    return value;
  }

  /** The low 32 bits as `uint32_t`. */
  u32(cell = 0): number {
    return this.#low[cell * 2]!;
  }

  /** The low 32 bits as `int32_t`. */
  i32(cell = 0): number {
    return this.#signed[cell * 2]!;
  }

  /** The low 32 bits as `float`. */
  f32(cell = 0): number {
    return this.#floats[cell * 2]!;
  }

  /** Write a pointer or size, for in-out parameters and arrays of pointers. */
  setPointer(cell: number, value: number): void {
    this.#low[cell * 2] = value % 2 ** 32;
    this.#low[cell * 2 + 1] = Math.floor(value / 2 ** 32);
  }
}

const encoder = new TextEncoder();

/** The bytes with zeros behind them, over an ArrayBuffer of their own. @throws {ArgumentError} If the text holds a NUL */
function terminate(text: string, bytes: Uint8Array, zeros: number): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) {
    throw new ArgumentError(message(`pass ${JSON.stringify(text)} to a native call`, "it holds a NUL"));
  }
  const terminated = new Uint8Array(new ArrayBuffer(bytes.length + zeros));
  terminated.set(bytes);
  return terminated;
}

/**
 * Encode a string for a `const char *` argument, over an ArrayBuffer of its own, which does not move. Keep it referenced
 * as long as the library keeps the pointer.
 *
 * @throws {ArgumentError} If the text holds a NUL, which would cut it short
 */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return terminate(text, encoder.encode(text), 1);
}

/**
 * The same for a `const wchar_t *` of Windows: UTF-16.
 *
 * @throws {ArgumentError} If the text holds a NUL, which would cut it short
 */
export function wideString(text: string): Uint8Array<ArrayBuffer> {
  return terminate(text, Buffer.from(text, "utf16le"), 2);
}

/** A path as libraries take it that open files themselves: UTF-8, on Windows UTF-16. */
export const pathString: (path: string) => Uint8Array<ArrayBuffer> =
  process.platform === "win32" ? wideString : cString;

/** Copy the text behind a `const char *`; the empty string for NULL. The pointer stays the library's. */
export function readCString(pointer: number | null): string {
  if (pointer === null || pointer === 0) return "";
  return new CString(pointer as Pointer).toString();
}

/** Texts as a `const char *const *`: keep it referenced as long as the library keeps a pointer to it, or to a text. */
export class CStrings extends OutCells {
  readonly texts: readonly Uint8Array[];

  /** @throws {ArgumentError} If a text holds a NUL */
  constructor(texts: readonly string[]) {
    super(texts.length);
    this.texts = texts.map(cString);
    for (const [at, text] of this.texts.entries()) this.setPointer(at, addressOf(text));
  }
}
