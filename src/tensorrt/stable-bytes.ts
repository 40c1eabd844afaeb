/** @module StableBytes: input of a call that runs off the JS thread, in memory that neither moves nor lies askew. */

import { addressOf } from "../ffi/pointer.ts";

/** Alignment that TensorRT's readers may count on. */
const ALIGNMENT = 16;
/** Smaller arrays may be moved by the JavaScript engine while a call runs. */
const SMALL_BYTES = 4096;

/** The bytes themselves, or a copy where they might be moved or begin at an odd address. @param bytes at least one */
export function stableBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength >= SMALL_BYTES && addressOf(bytes) % ALIGNMENT === 0) return bytes;
  const copy = new Uint8Array(new ArrayBuffer(bytes.byteLength));
  copy.set(bytes);
  return copy;
}
