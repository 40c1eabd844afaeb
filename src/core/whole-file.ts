/** @module WholeFile: files that appear complete or not at all, and files that grow as results come. */

import {
  accessSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  writeFileSync,
  writeSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { BunTensorRtError, message } from "./errors.ts";
import { logger } from "./log.ts";
import { fileIdentity, identityOf, statsOf } from "./paths.ts";

/** Takes text, in order. */
export interface Output {
  /** True if a terminal shows it, in colour. */
  readonly hasColour: boolean;
  /** Resolves when the text is out. Rejects with `code: "EPIPE"` when the reader has gone. */
  write(text: string): Promise<void>;
  /** All has been written. A file that appears complete does so now; one that is closed before stays as it was. */
  finish(): Promise<void>;
  /** Nothing is written after it. */
  close(): void;
}

/** Ours alone, and short: it fits wherever the name of the file itself does. */
const TEMPORARY = /^\.bun-tensorrt-[\da-f-]{36}\.tmp$/;
/** Nobody leaves what is being written untouched for so long. */
const LEFTOVER_AGE_MS = 24 * 3_600_000;
const TOUCH_INTERVAL_MS = 3_600_000;
/** Folders that were looked through: once a process is enough, and a folder may hold many files. */
const swept = new Set<string>();

/** When a file, or anything in a folder, was last written. */
function writtenAtMs(path: string): number {
  const inside = statsOf(path)?.isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [];
  return Math.max(...[path, ...inside].map((one) => statsOf(one)?.mtimeMs ?? 0));
}

/** Delete what processes that were killed in mid-write have left. What cannot be deleted is in nobody's way. */
function sweep(folder: string): void {
  if (swept.has(folder) || !existsSync(folder)) return;
  swept.add(folder);
  try {
    for (const name of readdirSync(folder).filter((one) => TEMPORARY.test(one))) {
      const path = join(folder, name);
      if (Date.now() - writtenAtMs(path) < LEFTOVER_AGE_MS) continue;
      rmSync(path, { recursive: true, force: true });
      logger.info(`Deleted ${path}, left by a write that was interrupted`);
    }
  } catch (error) {
    logger.debug(`Kept leftovers in ${folder}: ${(error as Error).message}`);
  }
}

/** Delete what is of no use any more. It never throws: that would hide the error before it. */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    logger.warn(`Cannot delete ${path}: ${(error as Error).message}`);
  }
}

/** A path for what is being written, as file or folder, until it is renamed. Leftovers over a day old are deleted first. */
export function temporaryPath(folder: string): string {
  // Complete: on Windows Bun does not find a relative path that begins with a dot.
  const whole = resolve(folder);
  sweep(whole);
  return join(whole, `.bun-tensorrt-${crypto.randomUUID()}.tmp`);
}

/** Put a file in the place of another, with its rights, and with its owner where that is for this process to give. */
function replace(temporary: string, place: string): void {
  const [own, former] = [statsOf(temporary), statsOf(place)];
  if (own !== undefined && former?.isFile()) {
    try {
      if (process.getuid?.() === 0) chownSync(temporary, former.uid, former.gid);
    } catch (error) {
      // In containers and on shared drives even root may not.
      logger.debug(`Kept the owner of ${place}: ${(error as Error).message}`);
    }
    if (own.mode !== former.mode) chmodSync(temporary, former.mode & 0o7777);
  }
  renameSync(temporary, place);
}

/**
 * Write a file beside its place and move it there; the folders above it are made. Several writers may be at it: the last one stays, complete.
 *
 * @param place of a file, or of nothing; a link would be replaced
 * @throws what the system says if it cannot be written; nothing is left behind then
 */
export async function writeWhole(place: string, content: string | Uint8Array): Promise<void> {
  // On Windows Bun takes "." for a folder that cannot be made, as it is there.
  mkdirSync(dirname(resolve(place)), { recursive: true });
  const temporary = temporaryPath(dirname(place));
  try {
    await writeFile(temporary, content, { flag: "wx" });
    replace(temporary, place);
  } finally {
    discard(temporary);
  }
}

/** As {@linkcode writeWhole}, at once, into a folder that is there: for small files. @throws what the system says */
export function writeWholeSync(place: string, content: string | Uint8Array): void {
  const temporary = temporaryPath(dirname(place));
  try {
    writeFileSync(temporary, content, { flag: "wx" });
    replace(temporary, place);
  } finally {
    discard(temporary);
  }
}

/** What helps against an error of the system, by its code. */
const HINTS = new Map([
  ["ENOENT", "make the folder first, or choose another place"],
  ["ENOTDIR", "a file is where a folder is needed: choose another place"],
  ["EEXIST", "a file is where a folder is needed: choose another place"],
  ["EISDIR", "it is a folder: name a file in it"],
  ["ENOSPC", "make room, or choose another place"],
  ["ENAMETOOLONG", "choose a shorter name"],
]);

/** What the system says, without the call and its paths, which may be some that are only tried out. */
export function systemReason(error: Error): string {
  const text = error.message.replace(/, \w+(?: '.*')?$/, "");
  return text || ((error as NodeJS.ErrnoException).code ?? error.name);
}

/**
 * The error for a place that cannot be written.
 *
 * @param place as it is to be read: a path in quotes, or `standard output`
 */
export function writeError(place: string, cause: unknown): Error {
  const { code = "" } = cause as NodeJS.ErrnoException;
  const hint = HINTS.get(code) ?? "choose another place, or make it writable";
  return Object.assign(new BunTensorRtError(message(`write ${place}`, systemReason(cause as Error), hint), { cause }), {
    code,
  });
}

/** True for the error of a pipe whose reader has gone: `| head` does that. */
export function isClosedPipe(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === "EPIPE";
}

/** True where a name is longer than the system takes: a fault of one file, where a full disk is one of all. */
export function isNameTooLong(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === "ENAMETOOLONG";
}

/** Run a step, and say of which path it is if it fails. */
function named<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw isClosedPipe(error) ? error : writeError(JSON.stringify(path), error);
  }
}

/**
 * Make a folder and make sure that files can be put into it.
 *
 * @throws {BunTensorRtError} If they cannot
 */
export function prepareFolder(path: string): void {
  const probe = join(path, `.bun-tensorrt-${crypto.randomUUID()}.tmp`);
  named(path, () => {
    mkdirSync(probe, { recursive: true });
    rmdirSync(probe);
  });
}

/** Take away folders that were made, from the last to the first; one that another process has put something into since stays. */
function unmake(last: string, first: string): void {
  if (!last.startsWith(first)) return;
  try {
    for (let made = last; ; made = dirname(made)) {
      if (existsSync(made)) rmdirSync(made);
      if (made === first) return;
    }
  } catch (error) {
    logger.debug(`Kept ${last}: ${(error as Error).message}`);
  }
}

/**
 * Find out whether files can be put into a folder, which need not be there. What is made for that is taken away again.
 *
 * @returns what the system says if they cannot
 */
export function folderFault(path: string): string | undefined {
  const probe = resolve(path, `.bun-tensorrt-${crypto.randomUUID()}.tmp`);
  let above = probe;
  while (dirname(above) !== above && !existsSync(dirname(above))) above = dirname(above);
  try {
    mkdirSync(probe, { recursive: true });
    writeFileSync(join(probe, "byte"), "1");
    return undefined;
  } catch (error) {
    return systemReason(error as Error);
  } finally {
    if (existsSync(probe)) discard(probe);
    unmake(dirname(probe), above);
  }
}

/** What the system says of a file that may be written, but not replaced: its folder may not, or it is mounted. */
const PLACE_IS_FIXED: readonly string[] = ["EACCES", "EPERM", "EBUSY", "EROFS"];

/** Whether a file may still be written in place, where it could not be replaced, which is logged then. */
function mayWriteInPlace(path: string, error: unknown): boolean {
  const { code = "", message: text } = error as NodeJS.ErrnoException;
  const isFixed = PLACE_IS_FIXED.includes(code);
  if (isFixed) logger.info(`Writing ${path} in place, as no other file can replace it: ${text}`);
  return isFixed;
}

/** Names of what this process has open already: whoever opened it writes there, too, and keeps its place in it. */
const OPEN_ALREADY = /^\/(?:dev\/(?:std(?:in|out|err)$|fd\/)|proc\/)/;

/**
 * The file that another one may take the place of, behind links; `undefined` for what must be written as it is: pipes,
 * devices, what this process has open, and links to nothing yet.
 */
function replaceablePath(path: string): string | undefined {
  if (OPEN_ALREADY.test(resolve(path))) return undefined;
  const stats = statsOf(path);
  if (stats !== undefined) return stats.isFile() ? realpathSync(path) : undefined;
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? undefined : path;
}

/**
 * Write a file so that no reader ever sees a part of it, and none stays where there is no room; and the folders above it. A link stays one, a file
 * keeps its rights, and what is no file, such as a pipe, is written as it is.
 *
 * @throws {BunTensorRtError} If it cannot be written
 */
export async function writeFileWhole(path: string, content: string | Uint8Array): Promise<void> {
  const place = named(path, () => replaceablePath(path));
  try {
    if (place === undefined) return await writeFile(path, content);
    // A file that may not be written may not be replaced either, though its folder would allow that.
    if (existsSync(place)) accessSync(place, constants.W_OK);
    await writeWhole(place, content);
  } catch (error) {
    if (place === undefined || !mayWriteInPlace(path, error)) throw writeError(JSON.stringify(path), error);
    await writeFile(path, content).catch((cause: unknown) => {
      throw writeError(JSON.stringify(path), cause);
    });
  }
}

/** @throws what the system says; an ordinary file ends then where it did before */
function writeAll(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  let at = 0;
  try {
    while (at < bytes.length) at += writeSync(descriptor, bytes, at);
  } catch (error) {
    const stats = fstatSync(descriptor);
    if (at > 0 && stats.isFile()) ftruncateSync(descriptor, stats.size - at);
    throw error;
  }
}

function removeUnused(path: string, stats: Stats): void {
  // Another process may have put its own results there since.
  if (stats.size === 0 && fileIdentity(path) === identityOf(stats)) discard(realpathSync(path));
}

/**
 * Open a file for results that can be read while it grows, or a pipe or device. A former content is kept until the first
 * write, so that a run that fails at its start loses nothing.
 *
 * @throws {BunTensorRtError} If it cannot be written
 */
export function openOutput(path: string): Output {
  const isNew = !existsSync(path);
  const descriptor = named(path, () => openSync(path, "a"));
  const isOwnFile = fstatSync(descriptor).isFile() && replaceablePath(path) !== undefined;
  let hasWritten = false;
  return {
    hasColour: false,
    async write(text) {
      named(path, () => {
        if (!hasWritten && isOwnFile) ftruncateSync(descriptor);
        writeAll(descriptor, text);
        hasWritten = true;
      });
    },
    async finish() {},
    close() {
      const stats = fstatSync(descriptor);
      closeSync(descriptor);
      if (isNew && !hasWritten) removeUnused(path, stats);
    },
  };
}

/**
 * Open a file for results that are of use only as a whole: until `finish` it stays what it was. What no other file can take
 * the place of is written as by {@linkcode openOutput}.
 *
 * @throws {BunTensorRtError} If it cannot be written
 */
export function openWholeOutput(path: string): Output {
  const live = openOutput(path);
  const place = replaceablePath(path);
  if (place === undefined) return live;
  const temporary = temporaryPath(dirname(place));
  let descriptor: number;
  try {
    descriptor = openSync(temporary, "ax");
  } catch (error) {
    if (mayWriteInPlace(path, error)) return live;
    live.close();
    throw writeError(JSON.stringify(path), error);
  }
  live.close();
  // A camera may show nothing for days, and the file is still no leftover.
  const touch = setInterval(() => futimesSync(descriptor, new Date(), new Date()), TOUCH_INTERVAL_MS).unref();
  return {
    hasColour: false,
    write: async (text) => named(path, () => writeAll(descriptor, text)),
    finish: async () => named(path, () => put(temporary, place, path)),
    close() {
      clearInterval(touch);
      closeSync(descriptor);
      discard(temporary);
    },
  };
}

/** A file that is mounted, or another user's in a folder for all, takes the content and not the place of another. */
function put(temporary: string, place: string, path: string): void {
  try {
    replace(temporary, place);
  } catch (error) {
    if (!mayWriteInPlace(path, error)) throw error;
    copyFileSync(temporary, place);
  }
}
