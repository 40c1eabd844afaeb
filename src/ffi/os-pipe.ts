/** @module OsPipe: a pipe of the operating system with room for a good part of a video frame. */

import { closeSync } from "node:fs";
import { message, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { F_GETPIPE_SZ, F_SETPIPE_SZ, LIBC_SYMBOLS, O_CLOEXEC } from "./libc-symbols.ts";
import { type LibrarySpec, type OpenLibrary, openLibrary } from "./library.ts";

const SPEC: LibrarySpec = {
  name: "libc",
  variable: "BUN_TENSORRT_LIBC",
  files: ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`],
  hint: "pipes are made through the C library of Linux, which other systems lack",
};

/** The two ends of a pipe, as file descriptors. Whoever asked for it closes both. */
export interface OsPipe {
  readonly readEnd: number;
  readonly writeEnd: number;
}

type Libc = OpenLibrary<typeof LIBC_SYMBOLS>["symbols"];

const ends = new Int32Array(new ArrayBuffer(8));

/** A fresh pipe must tell its capacity, and no descriptor -1 may have one. */
function testLibc(libc: Libc): string | undefined {
  if (libc.pipe2(ends, O_CLOEXEC) !== 0) return "pipe2 makes no pipe";
  const capacity = libc.fcntl(ends[0]!, F_GETPIPE_SZ, 0);
  closeSync(ends[0]!);
  closeSync(ends[1]!);
  if (capacity < 4096) return `fcntl says that a new pipe holds ${capacity} bytes`;
  return libc.fcntl(-1, F_GETPIPE_SZ, 0) === -1 ? undefined : "fcntl takes -1 for a descriptor";
}

/**
 * Make a pipe. Programs that are started inherit it only where they are handed an end.
 *
 * @param byteLength wanted capacity; the system may grant less, and then it is left as it is
 * @throws {NativeError} If the process has no descriptors left
 * @throws {LibraryLoadError} If the C library is not one of Linux
 */
export function openPipe(byteLength: number): OsPipe {
  const { symbols: libc } = openLibrary(SPEC, LIBC_SYMBOLS, testLibc);
  if (libc.pipe2(ends, O_CLOEXEC) !== 0) {
    const text = message("make a pipe", "as pipe2 returned -1", "close files or raise the limit: ulimit -n");
    throw new NativeError(text, { code: "EMFILE", call: "pipe2" });
  }
  const [readEnd, writeEnd] = [ends[0]!, ends[1]!];
  if (libc.fcntl(writeEnd, F_SETPIPE_SZ, byteLength) < 0) {
    logger.debug(`A pipe stays at its size: the system grants less than ${byteLength} bytes`);
  }
  return { readEnd, writeEnd };
}
