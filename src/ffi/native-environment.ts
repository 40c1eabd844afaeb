/** @module NativeEnvironment: environment variables as native libraries see them, which `process.env` does not reach. */

import { message, NativeError } from "../core/errors.ts";
import type { LibrarySpec } from "./discovery.ts";
import { libc } from "./libc.ts";
import { openLibrary } from "./library.ts";
import { cString, wideString } from "./memory.ts";

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
