/** @module HostCopy: large copies within host memory, by several threads. */

import { ArgumentError, message } from "../core/errors.ts";
import { shim } from "../ffi/shim.ts";

/**
 * Copy bytes from one place in host memory to another, as `target.set(source)` does, by up to four threads: one core alone
 * moves a part of what the memory can. Blocks until it is done.
 *
 * @param target     u8; may not overlap with `source`
 * @param source     u8
 * @param byteLength how much, from the start of each
 * @throws {ArgumentError} If one of them is shorter
 * @throws {LibraryLoadError} If the package has no shim for this platform
 */
export function copyHost(target: Uint8Array, source: Uint8Array, byteLength: number): void {
  if (byteLength > target.length || byteLength > source.length) {
    const found = `both must have room for ${byteLength} bytes: found ${target.length} and ${source.length}`;
    throw new ArgumentError(message("copy in host memory", found));
  }
  // Its only refusals are null and negative arguments, which the check above leaves no room for.
  if (byteLength > 0 && shim().bt_copy(target, source, byteLength) !== 0) {
    throw new ArgumentError(message("copy in host memory", `bt_copy refuses it: ${byteLength} bytes`));
  }
}
