/** @module LibraryFolder: the folder that libraries are looked for in first, and what of the components lies there. */

import { existsSync, mkdirSync, readdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { CatalogueError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { isAbandoned, OWNER_MARK, ownerMark } from "../core/owner-mark.ts";
import { cacheFolder } from "../core/paths.ts";
import { statsOf } from "../core/stats-of.ts";
import { formatBytes } from "../core/units.ts";
import type { Component, ComponentBuild, ComponentFile } from "./component.ts";
import { storageError } from "./storage-error.ts";

/** Whether a build is on this machine; `"partly"` if files are missing or of another release. */
export type BuildState = "yes" | "partly" | "no";

const STAGING = new RegExp(`^\\.incoming-(${OWNER_MARK})-`);

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

function hasSize(file: ComponentFile): boolean {
  const path = libraryPath(file);
  return existsSync(path) && statSync(path).size === file.byteLength;
}

/** What of a build lies in the folder, by the sizes of its files. Hashes are checked by `install`, not here. */
export function buildState(component: Component, build: ComponentBuild): BuildState {
  const isWhole = (one: ComponentBuild): boolean => one.files.every(hasSize);
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
    const found = `as a file cannot be deleted: ${(cause as Error).message}`;
    throw new CatalogueError(message(`remove ${JSON.stringify(component.name)}`, found), component.name, { cause });
  }
  return freedBytes;
}

/** When anything was last written in a folder: a file that grows leaves the time of its folder as it is. */
function writtenAtMs(folder: string): number {
  try {
    const paths = [folder, ...readdirSync(folder).map((name) => join(folder, name))];
    return Math.max(...paths.map((path) => statsOf(path)?.mtimeMs ?? 0));
  } catch (error) {
    // Its owner has come to an end meanwhile.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Date.now();
    throw error;
  }
}

/** Delete what processes that were killed in mid-download left behind: it can be gigabytes. */
function sweep(folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const mark = STAGING.exec(name)?.[1];
    if (mark === undefined || !isAbandoned(mark, writtenAtMs(path))) continue;
    logger.info(`Deleting ${path}, the rest of an installation that was broken off`);
    rmSync(path, { recursive: true, force: true });
  }
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
    this.path = join(folder, `.incoming-${ownerMark()}-${crypto.randomUUID()}`);
    try {
      mkdirSync(this.path, { recursive: true });
      sweep(folder);
    } catch (error) {
      throw storageError({ name, folder, byteLength: 0 }, error);
    }
  }

  /** Delete it with all that is in it. */
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/**
 * Check that the disk has room before anything is downloaded.
 *
 * @throws {CatalogueError} If it has too little
 */
export function assertRoom(name: string, neededBytes: number): void {
  const folder = libraryFolder();
  const { bavail, bsize } = statfsSync(folder);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  const found = `as the disk has too little room: ${formatBytes(neededBytes)} needed, ${formatBytes(freeBytes)} free in ${folder}`;
  const hint = "free some, or set BUN_TENSORRT_CACHE to another disk";
  throw new CatalogueError(message(`store ${JSON.stringify(name)}`, found, hint), name);
}
