/** @module Store: where catalogue files lie on this machine, and how one gets there whole or not at all. */

import { existsSync, statSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import type { CatalogueError } from "../core/errors.ts";
import { cacheFolder } from "../core/paths.ts";
import { prepareFolder, writeWhole } from "../core/whole-file.ts";
import type { CatalogueEntry } from "./entry.ts";
import { storageError } from "./storage-error.ts";

/** The path the entry's file has, or would have, on this machine. */
export function entryPath(entry: CatalogueEntry): string {
  const folder = entry.kind === "model" ? "models" : "pictures";
  return join(cacheFolder(), folder, entry.name + extname(entry.member));
}

/** True if a file of the right size lies at the entry's path. The hash is checked by `pull`, not here. */
export function isInstalled(entry: CatalogueEntry): boolean {
  const path = entryPath(entry);
  return existsSync(path) && statSync(path).size === entry.byteLength;
}

/** SHA-256 in hexadecimal. */
export function sha256(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

function storeError(entry: CatalogueEntry, cause: unknown): CatalogueError {
  const { name, byteLength } = entry;
  return storageError({ name, folder: dirname(entryPath(entry)), byteLength }, cause);
}

/**
 * Make the folder an entry goes into, so that one that cannot be written is found before anything is downloaded.
 *
 * @throws {CatalogueError} If it cannot be made or written
 */
export function prepareStore(entry: CatalogueEntry): void {
  const folder = dirname(entryPath(entry));
  try {
    prepareFolder(folder);
  } catch (error) {
    throw storeError(entry, (error as Error).cause);
  }
}

/**
 * Write an entry's file, so that readers and other processes that write the same entry never see half of it.
 *
 * @throws {CatalogueError} If there is no room or the folder cannot be written; nothing is left behind then
 */
export async function store(entry: CatalogueEntry, bytes: Uint8Array): Promise<string> {
  const path = entryPath(entry);
  await writeWhole(path, bytes).catch((cause: unknown) => {
    throw storeError(entry, cause);
  });
  return path;
}
