/** @module StorageError: what to say when something cannot be kept on this machine. */

import { CatalogueError, message } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";

/** What was to be kept, and where. */
export interface StorageNeed {
  /** Name of the entry or component. */
  readonly name: string;
  readonly folder: string;
  readonly byteLength: number;
}

/**
 * The error for a write that failed.
 *
 * @param cause what the file system said
 */
export function storageError(need: StorageNeed, cause: unknown): CatalogueError {
  const { name, folder, byteLength } = need;
  const { code, message: text } = cause as NodeJS.ErrnoException;
  const action = `store ${JSON.stringify(name)}`;
  if (code === "ENOSPC" || code === "EDQUOT") {
    const found = `the disk has too little room: ${formatBytes(byteLength)} needed in ${folder}`;
    const hint = "free some, or set BUN_TENSORRT_CACHE to another disk";
    return new CatalogueError(message(action, found, hint), name, { cause });
  }
  const hint = "make the folder writable, or set BUN_TENSORRT_CACHE to another one";
  return new CatalogueError(message(action, `${folder} cannot be written: ${text}`, hint), name, { cause });
}
