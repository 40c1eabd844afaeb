/** @module NativeEnvironment: environment variables as native libraries see them, which `process.env` does not reach. */

import { message, NativeError } from "../core/errors.ts";
import type { LibrarySpec } from "./discovery.ts";
import { libc } from "./libc.ts";
import { openLibrary } from "./library.ts";
import { cString } from "./memory.ts";

type SetEnv = (name: NodeJS.TypedArray, value: NodeJS.TypedArray, overwrite: number) => number;

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

function setenv(): SetEnv {
  return process.platform === "darwin" ? openLibrary(LIB_SYSTEM, LIB_SYSTEM_SYMBOLS).symbols.setenv : libc().setenv;
}

/**
 * Set a variable for native libraries, whatever the user has set. For use before threads are started that may read the
 * environment, and before the library is opened that reads it.
 *
 * @throws {LibraryLoadError} If the C library is neither one of Linux nor that of macOS
 * @throws {NativeError} If the process has no memory left
 */
export function setNativeVariable(name: string, value: string): void {
  if (setenv()(cString(name), cString(value), 1) === 0) return;
  const text = message(`set ${name} to ${value}`, "setenv returned -1");
  throw new NativeError(text, { code: "ENOMEM", call: "setenv" });
}

/** As {@linkcode setNativeVariable}, but what the user has set, in the shell or in `process.env`, goes before `value`. */
export function setNativeDefault(name: string, value: string): void {
  setNativeVariable(name, process.env[name] ?? value);
}
