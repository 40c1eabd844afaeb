/** @module HostMemory: bytes that TensorRT made, such as a plan. */

import type { Resource } from "../core/resource.ts";
import { addressOf, nativeView } from "../ffi/memory.ts";
import type { TensorRtLibrary } from "./library.ts";
import { NativeObject } from "./native-object.ts";

/** Memory in TensorRT's hands, freed by `close()`. */
export class HostMemory extends NativeObject {
  readonly byteLength: number;

  private constructor(label: string, library: TensorRtLibrary, handle: number, parent: Resource) {
    super(label, library, handle, parent);
    this.byteLength = this.i64("HostMemory.size");
  }

  /** Take over an IHostMemory. @param label what it holds */
  static wrap(label: string, library: TensorRtLibrary, handle: number, parent: Resource): HostMemory {
    return new HostMemory(label, library, handle, parent);
  }

  /** The memory itself. Borrowed: reading it after `close()` is an error nobody can catch. */
  view(): Uint8Array<ArrayBuffer> {
    if (this.byteLength === 0) return new Uint8Array();
    return new Uint8Array(nativeView(this.pointer("HostMemory.data", `read ${this.label}`), this.byteLength));
  }

  /** A copy that is the caller's. */
  copy(): Uint8Array<ArrayBuffer> {
    return this.view().slice();
  }
}

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
