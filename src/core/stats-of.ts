/** @module StatsOf: what the system knows of a path, if there is anything. */

import { type Stats, statSync } from "node:fs";

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
