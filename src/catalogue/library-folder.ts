/** @module LibraryFolder: the folder that libraries are looked for in first, and what of the components lies there. */

import { existsSync, mkdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { CatalogueError, message } from "../core/errors.ts";
import { cacheFolder } from "../core/paths.ts";
import { formatBytes } from "../core/units.ts";
import { discard, temporaryPath } from "../core/whole-file.ts";
import type { Component, ComponentBuild, ComponentFile } from "./component.ts";
import { hasSize, storageError } from "./store.ts";

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
