/** @module NativeEnvironment: environment variables as native libraries see them, which `process.env` does not reach. */

import { message, NativeError } from "../core/errors.ts";
import { cString } from "./cstring.ts";
import { libc } from "./libc.ts";

/**
 * Let native libraries find a variable set. What the user has set, in the shell or in `process.env`, goes before `value`.
 * For use before threads are started that may read the environment.
 *
 * @throws {LibraryLoadError} If the C library is not one of Linux
 * @throws {NativeError} If the process has no memory left
 */
export function setNativeDefault(name: string, value: string): void {
  const wanted = process.env[name] ?? value;
  if (libc().setenv(cString(name), cString(wanted), 1) === 0) return;
  throw new NativeError(message(`set ${name} to ${wanted}`, "as setenv returned -1"), {
    code: "ENOMEM",
    call: "setenv",
  });
}
