/** @module FileOutput: a file that results are written into as they come, line by line or to appear as a whole. */

import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  realpathSync,
  rmSync,
  writeSync,
} from "node:fs";
import { WholeFile } from "../core/whole-file.ts";
import {
  fileIdentity,
  identityOf,
  isClosedPipe,
  mayWriteInPlace,
  type Output,
  replaceablePath,
  writeError,
} from "./output.ts";

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

/** A file that grows as results come, or a pipe or device. A former content stays until the first write. */
class LiveOutput implements Output {
  readonly hasColour = false;
  readonly #path: string;
  readonly #descriptor: number;
  /** It has a content that is nobody else's. */
  readonly #isOwnFile: boolean;
  readonly #isNew: boolean;
  #hasWritten = false;

  constructor(path: string) {
    this.#path = path;
    try {
      this.#isNew = !existsSync(path);
      this.#descriptor = openSync(path, "a");
      this.#isOwnFile = fstatSync(this.#descriptor).isFile() && replaceablePath(path) !== undefined;
    } catch (error) {
      throw writeError(JSON.stringify(path), error);
    }
  }

  async write(text: string): Promise<void> {
    try {
      if (!this.#hasWritten && this.#isOwnFile) ftruncateSync(this.#descriptor);
      writeAll(this.#descriptor, text);
      // A new file without anything whole in it goes again.
      this.#hasWritten = true;
    } catch (error) {
      if (isClosedPipe(error)) throw error;
      throw writeError(JSON.stringify(this.#path), error);
    }
  }

  async finish(): Promise<void> {}

  close(): void {
    const stats = fstatSync(this.#descriptor);
    closeSync(this.#descriptor);
    if (this.#hasWritten || !this.#isNew || stats.size > 0) return;
    // Another process may have put its own results there since.
    if (fileIdentity(this.#path) === identityOf(stats)) rmSync(realpathSync(this.#path));
  }
}

/** A file that has its former content until all of the new one is there. */
class WholeOutput implements Output {
  readonly hasColour = false;
  readonly #path: string;
  readonly #place: string;
  readonly #file: WholeFile;
  #descriptor: number | undefined;

  /**
   * @param path  as it was named, for messages
   * @param place of the file behind links
   * @throws what the system says if nothing can be written beside it
   */
  constructor(path: string, place: string) {
    this.#path = path;
    this.#place = place;
    this.#file = new WholeFile(place);
    this.#descriptor = openSync(this.#file.path, "ax");
  }

  async write(text: string): Promise<void> {
    try {
      writeAll(this.#descriptor!, text);
    } catch (error) {
      throw writeError(JSON.stringify(this.#path), error);
    }
  }

  async finish(): Promise<void> {
    try {
      this.#end();
      this.#keep();
    } catch (error) {
      throw writeError(JSON.stringify(this.#path), error);
    }
  }

  close(): void {
    this.#end();
    this.#file[Symbol.dispose]();
  }

  /** A file that is mounted, or another user's in a folder for all, takes the content and not the place of another. */
  #keep(): void {
    try {
      this.#file.keep();
    } catch (error) {
      if (!mayWriteInPlace(this.#path, error)) throw error;
      copyFileSync(this.#file.path, this.#place);
    }
  }

  #end(): void {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/**
 * Open a file for results that can be read while it grows. A former content is kept until the first write, so that a run
 * that fails at its start loses nothing.
 *
 * @throws {Error} If it cannot be written
 */
export function openOutput(path: string): Output {
  return new LiveOutput(path);
}

/**
 * Open a file for results that are of use only as a whole: until `finish` it stays what it was. What no other file can take
 * the place of is written as by {@linkcode openOutput}.
 *
 * @throws {Error} If it cannot be written
 */
export function openWholeOutput(path: string): Output {
  const live = openOutput(path);
  const place = replaceablePath(path);
  if (place === undefined) return live;
  try {
    const whole = new WholeOutput(path, place);
    live.close();
    return whole;
  } catch (error) {
    if (mayWriteInPlace(path, error)) return live;
    live.close();
    throw writeError(JSON.stringify(path), error);
  }
}
