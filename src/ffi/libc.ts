/** @module Libc: the C library of Linux, opened with the first call to it. */

import { closeSync } from "node:fs";
import { F_GETPIPE_SZ, LIBC_SYMBOLS, O_CLOEXEC } from "./libc-symbols.ts";
import { type LibrarySpec, type OpenLibrary, openLibrary } from "./library.ts";

const SPEC: LibrarySpec = {
  name: "libc",
  variable: "BUN_TENSORRT_LIBC",
  files: ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`],
  hint: "pipes and the environment of native libraries are reached through the C library of Linux, which other systems lack",
};

/** The functions of the C library. */
export type Libc = OpenLibrary<typeof LIBC_SYMBOLS>["symbols"];

/** A fresh pipe must tell its capacity, and no descriptor -1 may have one. */
function testLibc(libc: Libc): string | undefined {
  const ends = new Int32Array(new ArrayBuffer(8));
  if (libc.pipe2(ends, O_CLOEXEC) !== 0) return "pipe2 makes no pipe";
  const capacity = libc.fcntl(ends[0]!, F_GETPIPE_SZ, 0);
  closeSync(ends[0]!);
  closeSync(ends[1]!);
  if (capacity < 4096) return `fcntl says that a new pipe holds ${capacity} bytes`;
  return libc.fcntl(-1, F_GETPIPE_SZ, 0) === -1 ? undefined : "fcntl takes -1 for a descriptor";
}

/**
 * The C library's functions.
 *
 * @throws {LibraryLoadError} If the C library is not one of Linux
 */
export function libc(): Libc {
  return openLibrary(SPEC, LIBC_SYMBOLS, testLibc).symbols;
}
