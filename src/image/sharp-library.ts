/** @module Sharp: loaded with the first picture that needs it, so that importing the package loads nothing. */

import { LibraryLoadError, message } from "../core/errors.ts";

/** The function that sharp exports. */
export type Sharp = typeof import("sharp").default;

let loading: Promise<Sharp> | undefined;

async function load(): Promise<Sharp> {
  try {
    return (await import("sharp")).default;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const text = message(
      "load the library sharp",
      `as its addon does not open: ${reason}`,
      "run `bun add sharp` again",
    );
    throw new LibraryLoadError(text, "sharp", ["sharp"], { cause: error });
  }
}

/** sharp. @throws {LibraryLoadError} If its addon is not installed for this machine */
export function loadSharp(): Promise<Sharp> {
  loading ??= load();
  return loading;
}
