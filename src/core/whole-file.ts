/** @module WholeFile: writing a file so that no reader ever sees a part of it. */

import { chmodSync, chownSync, readdirSync, renameSync, rmSync, type Stats } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { logger } from "./log.ts";
import { isAbandoned, OWNER_MARK, ownerMark } from "./owner-mark.ts";
import { statsOf } from "./stats-of.ts";

const UNFINISHED = new RegExp(`\\.(${OWNER_MARK})-[\\da-f]{8}\\.tmp$`);

/** Folders that were looked through: once a process is enough, and a folder may hold many files. */
const swept = new Set<string>();

/** Delete a file if its owner has left it. What cannot be deleted is in nobody's way. */
function clear(path: string, mark: string): void {
  try {
    const stats = statsOf(path);
    if (stats === undefined || !isAbandoned(mark, stats.mtimeMs)) return;
    rmSync(path, { force: true });
    logger.info(`Deleted ${path}, the rest of a write that was broken off`);
  } catch (error) {
    logger.debug(`Left ${path} as it is: ${(error as Error).message}`);
  }
}

/** Delete what processes that were killed in mid-write left behind. */
function sweep(folder: string): void {
  if (swept.has(folder)) return;
  swept.add(folder);
  try {
    for (const name of readdirSync(folder)) {
      const mark = UNFINISHED.exec(name)?.[1];
      if (mark !== undefined) clear(join(folder, name), mark);
    }
  } catch (error) {
    // Files can be written into folders that cannot be read.
    logger.debug(`Left ${folder} as it is: ${(error as Error).message}`);
  }
}

/** What the system says where owners are not for this process to give: in containers and on shared drives, even to root. */
const MAY_NOT_GIVE: readonly string[] = ["EPERM", "EINVAL"];

function giveTo(path: string, uid: number, gid: number): void {
  try {
    chownSync(path, uid, gid);
  } catch (error) {
    if (!MAY_NOT_GIVE.includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    logger.debug(`Left ${path} to its owner: ${(error as Error).message}`);
  }
}

/** Give a file the rights of the one whose place it takes; its owner, too, where that is for this process to give. */
function takeOver(path: string, { mode, uid, gid }: Stats): void {
  const own = statsOf(path)!;
  if (process.getuid?.() === 0 && (own.uid !== uid || own.gid !== gid)) giveTo(path, uid, gid);
  if (own.mode !== mode) chmodSync(path, mode & 0o7777);
}

/** A file that is written beside its place, and put there when it is whole; else nothing of it stays. */
export class WholeFile implements Disposable {
  /** Where it is to be written until `keep`; nothing is there yet. */
  readonly path: string;
  readonly #place: string;
  #isKept = false;

  /**
   * Choose a name beside the place, and clear away what others that were killed have left there.
   *
   * @param place of a file, or of nothing; a link would be replaced
   */
  constructor(place: string) {
    sweep(dirname(resolve(place)));
    this.#place = place;
    this.path = join(dirname(place), `${basename(place)}.${ownerMark()}-${crypto.randomUUID().slice(0, 8)}.tmp`);
  }

  /**
   * Put the file in its place, with the rights of the one that was there.
   *
   * @throws what the system says if it cannot be put there
   */
  keep(): void {
    const former = statsOf(this.#place);
    if (former?.isFile()) takeOver(this.path, former);
    renameSync(this.path, this.#place);
    this.#isKept = true;
  }

  /** Delete what was written, unless it was kept. */
  [Symbol.dispose](): void {
    if (!this.#isKept) rmSync(this.path, { force: true });
  }
}

/**
 * Write a file beside its place and move it there. Several writers may be at it: the last one stays, whole.
 *
 * @throws what the system says if it cannot be written; nothing is left behind then
 */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  using file = new WholeFile(path);
  await Bun.write(file.path, content);
  file.keep();
}
