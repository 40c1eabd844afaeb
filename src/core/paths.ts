/** @module Paths: the folders the library writes to; what the system knows of a path, and what to say where there is nothing. */

import { existsSync, readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join } from "node:path";

/** The user's home folder; `/` for a user who has none, such as a bare number in a container. */
export function homeFolder(): string {
  try {
    return homedir();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return "/";
  }
}

/** The user's cache folder: `%LOCALAPPDATA%` on Windows, else `~/.cache`. */
function userFolder(): string {
  if (process.platform !== "win32") return join(homeFolder(), ".cache");
  return process.env.LOCALAPPDATA || join(homeFolder(), "AppData", "Local");
}

/**
 * The folder for downloads and built engines: `$BUN_TENSORRT_CACHE`, else `bun-tensorrt` in the user's cache folder
 * (`$XDG_CACHE_HOME`, else `~/.cache`, on Windows `%LOCALAPPDATA%`). It is made when something is first written to it.
 */
export function cacheFolder(): string {
  const { BUN_TENSORRT_CACHE: own, XDG_CACHE_HOME: shared } = process.env;
  if (own !== undefined && own !== "") return own;
  return join(shared !== undefined && shared !== "" ? shared : userFolder(), "bun-tensorrt");
}

/**
 * What lies at a path, behind links.
 *
 * @returns `undefined` where there is nothing; that is so as well of what is below a file, for which `statSync` throws in
 *   Bun, and does not in Node.js
 * @throws what the system says if it cannot be looked at
 */
export function statsOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** The text of a small file; `undefined` where there is none. */
export function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** What lies at a path, in words: `a pipe`. */
export function kindOf(stats: Stats): string {
  if (stats.isFile()) return "a file";
  if (stats.isDirectory()) return "a folder";
  if (stats.isFIFO()) return "a pipe";
  return stats.isSocket() ? "a socket" : "a device";
}

/** A file or folder as the system knows it, whatever it is called. */
export function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}

/** What lies at a path, as {@linkcode identityOf} says it; `undefined` where there is nothing, or nothing to be seen. */
export function fileIdentity(path: string): string | undefined {
  try {
    const stats = statsOf(path);
    return stats === undefined ? undefined : identityOf(stats);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return undefined; // whoever reads or writes it is told why that fails
  }
}

/** The first path that is one of the files themselves, by whatever name. */
export function overwritten(paths: readonly string[], files: readonly string[]): string | undefined {
  const known = new Set(files.map(fileIdentity));
  return paths.find((path) => {
    const identity = fileIdentity(path);
    return identity !== undefined && known.has(identity);
  });
}

/** What stands in text for bytes that are no UTF-8. */
const REPLACEMENT = "\ufffd";

/** True for the path of a file whose name lost bytes when it became text, so that the system finds nothing by it. */
export function isLossyPath(path: string): boolean {
  if (!path.includes(REPLACEMENT)) return false;
  try {
    return statsOf(path) === undefined && readdirSync(dirname(path)).includes(basename(path));
  } catch {
    return false; // what cannot be looked at has reasons of its own
  }
}

/** The path behind what `Bun.file()` gives, all of it; `undefined` for other Blobs. */
export function pathOfBlob(blob: Blob): string | undefined {
  const { name } = blob as { readonly name?: unknown };
  const isPath = typeof name === "string" && !(blob instanceof File) && Bun.file(name).size === blob.size;
  return isPath ? name : undefined;
}

/** Why there is nothing at a path, and the way out: the two halves of a message. */
export function missingFile(path: string): { readonly found: string; readonly hint: string } {
  if (isLossyPath(path)) {
    const hint = "rename the file, or pass its content on standard input: bunx bun-tensorrt detect - < FILE";
    return { found: "its name is not valid UTF-8", hint };
  }
  const hint = isAbsolute(path) ? "check the path" : `paths are relative to ${process.cwd()}`;
  return { found: "there is no such file", hint };
}
