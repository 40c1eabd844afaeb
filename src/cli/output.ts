/** @module Output: where results are written, checked before the work starts and written in order. */

import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  realpathSync,
  rmdirSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
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

/** @param place as it is to be read: a path in quotes, or `standard output` */
function writeError(place: string, cause: unknown): Error {
  const { code = "", message: text } = cause as NodeJS.ErrnoException;
  // The call and its path, which may be one that is only tried out, say nothing more.
  const reason = text.replace(/, \w+(?: '[^']*')?$/, "");
  const hint = HINTS[code] ?? "choose another place, or make it writable";
  return new Error(message(`write ${place}`, `as it cannot be written: ${reason}`, hint), { cause });
}

/** A file whose former content stays until the first write. */
class FileOutput implements Output {
  readonly hasColour = false;
  readonly #path: string;
  readonly #descriptor: number;
  readonly #isFile: boolean;
  readonly #isNew: boolean;
  #hasWritten = false;

  constructor(path: string) {
    this.#path = path;
    try {
      this.#isNew = !existsSync(path);
      this.#descriptor = openSync(path, "a");
      this.#isFile = fstatSync(this.#descriptor).isFile();
    } catch (error) {
      throw writeError(JSON.stringify(path), error);
    }
  }

  async write(text: string): Promise<void> {
    try {
      if (!this.#hasWritten && this.#isFile) ftruncateSync(this.#descriptor);
      this.#hasWritten = true;
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    } catch (error) {
      if (isClosedPipe(error)) throw error;
      throw writeError(JSON.stringify(this.#path), error);
    }
  }

  close(): void {
    closeSync(this.#descriptor);
    if (!this.#hasWritten && this.#isNew) rmSync(this.#path);
  }
}

/**
 * Open a file for results. A former content is kept until the first write, so that a run that fails at its start
 * loses nothing.
 *
 * @throws {Error} If it cannot be written
 */
export function openOutput(path: string): Output {
  return new FileOutput(path);
}

/** A file or folder as the system knows it, whatever it is called; `undefined` where there is none. */
export function fileIdentity(path: string): string | undefined {
  const stats = statsOf(path);
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`;
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

/**
 * Write a whole file, and the folders above it.
 *
 * @throws {Error} If it cannot be written
 */
export async function writeFile(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await Bun.write(path, content);
  } catch (error) {
    throw writeError(JSON.stringify(path), error);
  }
}

/** What the system says of a file that may be written, but not replaced: its folder may not, or it is mounted. */
const PLACE_IS_FIXED: readonly string[] = ["EACCES", "EPERM", "EBUSY", "EROFS", "ENAMETOOLONG"];

/**
 * Write a file so that no reader ever sees a part of it, and none stays where there is no room. A link stays one, and what
 * is no file, such as a pipe, is written as it is.
 *
 * @throws {Error} If it cannot be written
 */
export async function writeFileWhole(path: string, content: string | Uint8Array): Promise<void> {
  const stats = statsOf(path);
  if (stats !== undefined && !stats.isFile()) return await writeFile(path, content);
  try {
    await writeWhole(stats === undefined ? path : realpathSync(path), content);
  } catch (error) {
    const { code = "", message: text } = error as NodeJS.ErrnoException;
    if (!PLACE_IS_FIXED.includes(code)) throw writeError(JSON.stringify(path), error);
    logger.info(`Writing ${path} in place, as another file cannot take it: ${text}`);
    await writeFile(path, content);
  }
}
