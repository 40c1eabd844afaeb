/** @module Output: where results are written, checked before the work starts and written in order. */

import { accessSync, constants, existsSync, lstatSync, mkdirSync, realpathSync, rmdirSync, type Stats } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { statsOf } from "../core/stats-of.ts";
import { writeWhole } from "../core/whole-file.ts";
import { hasColour } from "./terminal.ts";

/** Takes text, in order. */
export interface Output {
  /** True if a terminal shows it, in colour. */
  readonly hasColour: boolean;
  /** Resolves when the text is out. Rejects with `code: "EPIPE"` when the reader has gone. */
  write(text: string): Promise<void>;
  /** All has been written. A file that appears whole does so now; one that is closed before stays as it was. */
  finish(): Promise<void>;
  /** Nothing is written after it. */
  close(): void;
}

/**
 * The process's standard output.
 *
 * @param beforeWrite called before text goes to a terminal, to take a status line out of its way
 */
export function standardOutput(stream: NodeJS.WriteStream, beforeWrite: () => void): Output {
  // Without a listener a closed pipe would end the process; the write's own callback reports it.
  stream.on("error", () => {});
  return {
    hasColour: hasColour(stream, process.env),
    write: (text) =>
      new Promise((resolve, reject) => {
        if (stream.isTTY) beforeWrite();
        stream.write(text, (error) => {
          if (error) reject(isClosedPipe(error) ? error : writeError("standard output", error));
          else resolve();
        });
      }),
    finish: async () => {},
    close: () => {},
  };
}

/** True for the error of a pipe whose reader has gone: `| head` does that. */
export function isClosedPipe(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === "EPIPE";
}

/** What helps against an error of the system, by its code. */
const HINTS: Readonly<Record<string, string>> = {
  ENOENT: "make the folder first, or choose another place",
  ENOTDIR: "a file is where a folder is needed: choose another place",
  EEXIST: "a file is where a folder is needed: choose another place",
  EISDIR: "it is a folder: name a file in it",
  ENOSPC: "make room, or choose another place",
};

/** What the system says, without the call and its path, which may be one that is only tried out. */
export function systemReason({ message: text }: Error): string {
  return text.replace(/, \w+(?: '[^']*')?$/, "");
}

/**
 * The error for a place that cannot be written.
 *
 * @param place as it is to be read: a path in quotes, or `standard output`
 */
export function writeError(place: string, cause: unknown): Error {
  const { code = "" } = cause as NodeJS.ErrnoException;
  const hint = HINTS[code] ?? "choose another place, or make it writable";
  const found = `as it cannot be written: ${systemReason(cause as Error)}`;
  return new Error(message(`write ${place}`, found, hint), { cause });
}

/** A file or folder as the system knows it, whatever it is called. */
export function identityOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}

/** What lies at a path, as {@linkcode identityOf} says it; `undefined` where there is nothing, or nothing to be seen. */
export function fileIdentity(path: string): string | undefined {
  try {
    const stats = statsOf(path);
    return stats === undefined ? undefined : identityOf(stats);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return undefined; // whoever reads or writes it is told why that fails
  }
}

/** The first path that is one of the files themselves, by whatever name. */
export function overwritten(paths: readonly string[], files: readonly string[]): string | undefined {
  const known = new Set(files.map(fileIdentity));
  return paths.find((path) => {
    const identity = fileIdentity(path);
    return identity !== undefined && known.has(identity);
  });
}

/**
 * Make a folder and make sure that files can be put into it.
 *
 * @throws {Error} If they cannot
 */
export function prepareFolder(path: string): void {
  const probe = join(path, `.probe-${process.pid}-${crypto.randomUUID()}`);
  try {
    mkdirSync(probe, { recursive: true });
    rmdirSync(probe);
  } catch (error) {
    throw writeError(JSON.stringify(path), error);
  }
}

async function writeInPlace(path: string, content: string | Uint8Array): Promise<void> {
  try {
    // Bun.write() refuses a pipe that nobody has begun to read.
    await writeFile(path, content);
  } catch (error) {
    throw writeError(JSON.stringify(path), error);
  }
}

/** What the system says of a file that may be written, but not replaced: its folder may not, or it is mounted. */
const PLACE_IS_FIXED: readonly string[] = ["EACCES", "EPERM", "EBUSY", "EROFS", "ENAMETOOLONG"];

/** Whether a file may still be written in place, where it could not be replaced, which is logged then. */
export function mayWriteInPlace(path: string, error: unknown): boolean {
  const { code = "", message: text } = error as NodeJS.ErrnoException;
  const isFixed = PLACE_IS_FIXED.includes(code);
  if (isFixed) logger.info(`Writing ${path} in place, as another file cannot take it: ${text}`);
  return isFixed;
}

/** Names of what this process has open already: whoever opened it writes there, too, and keeps its place in it. */
const OPEN_ALREADY = /^\/(?:dev\/(?:std(?:in|out|err)$|fd\/)|proc\/)/;

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}

/**
 * The file that another one may take the place of, so that it appears whole.
 *
 * @returns the path of a new or ordinary file, behind links; `undefined` for what must be written as it is: pipes, devices,
 * what this process has open, and links to nothing yet
 */
export function replaceablePath(path: string): string | undefined {
  if (OPEN_ALREADY.test(resolve(path))) return undefined;
  const stats = statsOf(path);
  if (stats === undefined) return isLink(path) ? undefined : path;
  return stats.isFile() ? realpathSync(path) : undefined;
}

/** As {@linkcode replaceablePath}. @throws {Error} If it cannot be told, as of links in a circle */
function writablePath(path: string): string | undefined {
  try {
    return replaceablePath(path);
  } catch (error) {
    throw writeError(JSON.stringify(path), error);
  }
}

/**
 * Write a file so that no reader ever sees a part of it, and none stays where there is no room; and the folders above it. A
 * link stays one, a file keeps its rights, and what is no file, such as a pipe, is written as it is.
 *
 * @throws {Error} If it cannot be written
 */
export async function writeFileWhole(path: string, content: string | Uint8Array): Promise<void> {
  const place = writablePath(path);
  if (place === undefined) return await writeInPlace(path, content);
  try {
    // A file that may not be written may not be replaced either, though its folder would allow that.
    if (existsSync(place)) accessSync(place, constants.W_OK);
    await writeWhole(place, content);
  } catch (error) {
    if (!mayWriteInPlace(path, error)) throw writeError(JSON.stringify(path), error);
    await writeInPlace(path, content);
  }
}
