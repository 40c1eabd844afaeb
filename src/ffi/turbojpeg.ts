/** @module TurboJpeg: libturbojpeg where the system has it, with the decoding itself off the JS thread. */

import { LibraryLoadError, message } from "../core/errors.ts";
import { type LibrarySpec, type OpenLibrary, openLibrary } from "./library.ts";
import { type OffThreadFunction, offThread } from "./off-thread.ts";
import { testTurboJpeg } from "./turbojpeg-self-test.ts";
import { TURBOJPEG_SYMBOLS } from "./turbojpeg-symbols.ts";

const SPEC: LibrarySpec = {
  name: "turbojpeg",
  variable: "BUN_TENSORRT_TURBOJPEG",
  files: process.platform === "darwin" ? ["libturbojpeg.dylib", "libturbojpeg.0.dylib"] : ["libturbojpeg.so.0"],
  folders: process.platform === "darwin" ? ["/opt/homebrew/opt/jpeg-turbo/lib", "/usr/local/opt/jpeg-turbo/lib"] : [],
  hint: "install it (Debian: libturbojpeg0, Ubuntu and Fedora: libturbojpeg or turbojpeg, macOS: jpeg-turbo), or set BUN_TENSORRT_TURBOJPEG to the file",
};

/** A decompressor: its owner destroys it. */
export type TjHandle = NonNullable<ReturnType<OpenLibrary<typeof TURBOJPEG_SYMBOLS>["symbols"]["tjInitDecompress"]>>;

/** libturbojpeg, opened. */
export interface TurboJpeg extends OpenLibrary<typeof TURBOJPEG_SYMBOLS> {
  /** `tjDecompress2` on a worker thread; the parameters are those of the symbol table. */
  readonly decompress: OffThreadFunction;
}

/** What the last search found, and for which value of the environment variable: a failure is kept as well. */
let known: { readonly variable: string | undefined; readonly found: TurboJpeg | LibraryLoadError } | undefined;

function bind(): TurboJpeg {
  const library = openLibrary(SPEC, TURBOJPEG_SYMBOLS, testTurboJpeg);
  // Bun keeps the address on the function; its types do not say so.
  const address = (library.symbols.tjDecompress2 as unknown as { readonly ptr?: number }).ptr;
  if (address === undefined) {
    const text = message("call tjDecompress2 off the JS thread", "Bun does not tell its address", "use Bun 1.4.5");
    throw new LibraryLoadError(text, SPEC.name, [library.path]);
  }
  const pointer = "pointer";
  const decompress = offThread(address, "i32", [pointer, pointer, "size", pointer, "i32", "i32", "i32", "i32", "i32"]);
  return { ...library, decompress };
}

/**
 * Where libturbojpeg was found, or why it was not. Opened, tested and bound at the first call, then kept; searched again
 * only when `BUN_TENSORRT_TURBOJPEG` has changed.
 */
export function findTurboJpeg(): TurboJpeg | LibraryLoadError {
  const variable = process.env[SPEC.variable];
  if (known === undefined || known.variable !== variable) {
    try {
      known = { variable, found: bind() };
    } catch (error) {
      if (!(error instanceof LibraryLoadError)) throw error;
      known = { variable, found: error };
    }
  }
  return known.found;
}

/** The path of libturbojpeg, or why there is none: for reports. */
export function probeTurboJpeg(): string | LibraryLoadError {
  const found = findTurboJpeg();
  return found instanceof LibraryLoadError ? found : found.path;
}
