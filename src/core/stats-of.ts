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
