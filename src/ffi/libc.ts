/**
 * @module Libc: the C library, opened with the first call to it: pipes of Linux, and environment variables as native libraries see them,
 * which `process.env` does not reach.
 */

import { closeSync } from "node:fs";
import { message, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import type { LibrarySpec } from "./discovery.ts";
import { isMusl, type NativeCalls, openLibrary } from "./library.ts";
import { cString, wideString } from "./memory.ts";

const SPEC: LibrarySpec = {
  name: "libc",
  variable: "BUN_TENSORRT_LIBC",
  files: ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`],
  isOfSystem: true,
  hasMuslBuild: true,
  hint: "pipes and the environment of native libraries are reached through the C library of Linux, which other systems lack",
};

/** The functions of the C library. */
type Libc = NativeCalls<typeof LIBC_SYMBOLS>;

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

/** Close the descriptor when another program is started: `O_CLOEXEC`. */
const O_CLOEXEC = 0o2000000;
/** `fcntl`: set the bytes a pipe holds. */
const F_SETPIPE_SZ = 1031;
/** `fcntl`: the bytes a pipe holds. */
const F_GETPIPE_SZ = 1032;

/** Prototypes of `unistd.h`, `fcntl.h` and `stdlib.h` on Linux; all return -1 on failure. @see pipe(2), fcntl(2), setenv(3) */
const LIBC_SYMBOLS = {
  pipe2: { args: ["ptr", "i32"], returns: "i32" }, // pipefd (int[2]: read end, write end), flags (O_…)
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" }, // fd, op (F_…), arg
  setenv: { args: ["ptr", "ptr", "i32"], returns: "i32" }, // name, value, overwrite
} as const;

/** The two ends of a pipe, as file descriptors. Whoever asked for it closes both. */
interface OsPipe {
  readonly readEnd: number;
  readonly writeEnd: number;
}

const ends = new Int32Array(new ArrayBuffer(8));

/**
 * Make a pipe. Programs that are started inherit it only where they are handed an end.
 *
 * @param byteLength wanted capacity; the system may grant less, and then it is left as it is
 * @throws {NativeError} If the process has no descriptors left
 * @throws {LibraryLoadError} If the C library is not one of Linux
 */
export function openPipe(byteLength: number): OsPipe {
  const { pipe2, fcntl } = libc();
  if (pipe2(ends, O_CLOEXEC) !== 0) {
    const text = message("make a pipe", "pipe2 returned -1", "close files or raise the limit: ulimit -n");
    throw new NativeError(text, { code: "EMFILE", call: "pipe2" });
  }
  const [readEnd, writeEnd] = [ends[0]!, ends[1]!];
  if (fcntl(writeEnd, F_SETPIPE_SZ, byteLength) < 0) {
    logger.debug(`A pipe stays at its size: the system grants less than ${byteLength} bytes`);
  }
  return { readEnd, writeEnd };
}

/** GNU's own, which musl lacks: as one library has one table, this is another name for it. */
const GLIBC: LibrarySpec = { ...SPEC, name: "glibc", files: ["libc.so.6"], hasMuslBuild: false };

const GLIBC_SYMBOLS = {
  malloc_trim: { args: ["usize"], returns: "i32" }, // pad; 1 if there was memory to give back, 0 if not
} as const;

/**
 * Give memory that native code has freed back to the system, in a few milliseconds. glibc keeps it for each thread that has
 * worked: after a model is freed, about 50 MB that only the next model would use. Other systems do so by themselves.
 *
 * @see malloc_trim(3)
 */
export function returnFreedMemory(): void {
  if (process.platform === "linux" && !isMusl()) openLibrary(GLIBC, GLIBC_SYMBOLS).symbols.malloc_trim(0);
}

/** Sets a variable; 0 where it went well. */
type SetVariable = (name: string, value: string) => number;

/** The C library of macOS, which only lies in the linker's own cache: no path leads to it. */
const LIB_SYSTEM: LibrarySpec = {
  name: "libSystem",
  variable: "BUN_TENSORRT_LIBSYSTEM",
  files: ["libSystem.B.dylib", "libc.dylib"],
  isOfSystem: true,
  hint: "it is part of macOS",
};

const LIB_SYSTEM_SYMBOLS = {
  setenv: { args: ["ptr", "ptr", "i32"], returns: "i32" }, // name, value, overwrite
} as const;

/** The C library of Windows, which most libraries share; it hands the variable on to the system, for those with one of their own. */
const UCRT: LibrarySpec = {
  name: "ucrtbase",
  variable: "BUN_TENSORRT_UCRT",
  files: ["ucrtbase.dll"],
  isOfSystem: true,
  hint: "it is part of Windows 10 and later",
};

const UCRT_SYMBOLS = {
  _wputenv_s: { args: ["ptr", "ptr"], returns: "i32" }, // name, value
} as const;

function setterOf(): SetVariable {
  if (process.platform === "win32") {
    const { _wputenv_s } = openLibrary(UCRT, UCRT_SYMBOLS).symbols;
    return (name, value) => _wputenv_s(wideString(name), wideString(value));
  }
  const { setenv } = process.platform === "darwin" ? openLibrary(LIB_SYSTEM, LIB_SYSTEM_SYMBOLS).symbols : libc();
  return (name, value) => setenv(cString(name), cString(value), 1);
}

/**
 * Set a variable for native libraries, whatever the user has set. For use before threads are started that may read the
 * environment, and before the library is opened that reads it.
 *
 * @throws {LibraryLoadError} If the C library is none of Linux, macOS and Windows
 * @throws {NativeError} If the process has no memory left
 */
export function setNativeVariable(name: string, value: string): void {
  const status = setterOf()(name, value);
  if (status === 0) return;
  const call = process.platform === "win32" ? "_wputenv_s" : "setenv";
  throw new NativeError(message(`set ${name} to ${value}`, `${call} returned ${status}`), { code: "ENOMEM", call });
}

/** As {@linkcode setNativeVariable}, but what the user has set, in the shell or in `process.env`, goes before `value`. */
export function setNativeDefault(name: string, value: string): void {
  setNativeVariable(name, process.env[name] ?? value);
}
