/** @module LibraryFaults: what is wrong with the files that a failed search for a library did find. */

import type { LibraryLoadError } from "../../core/errors.ts";
import type { LibrarySpec } from "../../ffi/library.ts";

/** The dynamic linker's words for a file that is nowhere. */
const ABSENT = /(\S+): cannot open shared object file/;

/** True for a place where nothing was; a library that lacks another one was found. */
function isNowhere(path: string, line: string): boolean {
  if (line.endsWith(": no such file")) return true;
  if (path.includes("/")) return false;
  const absent = ABSENT.exec(line)?.[1];
  // Bun looks for a bare name in the working folder at last, and tells of that.
  return absent === undefined ? /no such file/i.test(line) : absent === path || absent.endsWith(`/${path}`);
}

/** `/lib/a.so: file too short` of `/lib/a.so: Failed to open library "/lib/a.so": /lib/a.so: file too short`. */
function shorten(path: string, line: string): string {
  const reason = line.slice(path.length + 2).replace(/^Failed to open library "[^"]*": /, "");
  return `${path}: ${reason.startsWith(`${path}: `) ? reason.slice(path.length + 2) : reason}`;
}

/**
 * The files that are there and cannot be used, each with its reason in one line; empty where the library is nowhere.
 *
 * @param error of a search, or of a library that was opened and then refused
 */
export function faultsOf({ message, tried }: LibraryLoadError): string[] {
  // What was opened and then refused names its path alone; the reason is in the message.
  if (tried.length === 1 && !tried[0]!.includes(": ")) {
    return [(message.split("\n", 1)[0] ?? "").replace(/^Cannot \w+ (.+?): /, "$1: ")];
  }
  return tried.flatMap((line) => {
    const [path = ""] = line.split(": ", 1);
    return isNowhere(path, line) ? [] : [shorten(path, line)];
  });
}

/** `was not found`, or `cannot be used: …`: why a library could not be opened, in one line. */
export function whyUnusable(error: LibraryLoadError, { variable }: Pick<LibrarySpec, "variable">): string {
  const faults = faultsOf(error);
  if (faults.length > 0) return `cannot be used: ${faults.join("; ")}`;
  const named = process.env[variable];
  return named === undefined || named === "" ? "was not found" : `was not found at ${variable}=${named}`;
}
