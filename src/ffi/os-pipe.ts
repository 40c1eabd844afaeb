/** @module OsPipe: a pipe of the operating system with room for a good part of a video frame. */

import { message, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { libc } from "./libc.ts";
import { F_SETPIPE_SZ, O_CLOEXEC } from "./libc-symbols.ts";

/** The two ends of a pipe, as file descriptors. Whoever asked for it closes both. */
export interface OsPipe {
  readonly readEnd: number;
  readonly writeEnd: number;
}

const ends = new Int32Array(new ArrayBuffer(8));

/**
 * Make a pipe. Programs that are started inherit it only where they are handed an end.
 *
 * @param byteLength wanted capacity; the system may grant less, and then it is left as it is
 * @throws {NativeError} If the process has no descriptors left
 * @throws {LibraryLoadError} If the C library is not one of Linux
 */
export function openPipe(byteLength: number): OsPipe {
  const { pipe2, fcntl } = libc();
  if (pipe2(ends, O_CLOEXEC) !== 0) {
    const text = message("make a pipe", "pipe2 returned -1", "close files or raise the limit: ulimit -n");
    throw new NativeError(text, { code: "EMFILE", call: "pipe2" });
  }
  const [readEnd, writeEnd] = [ends[0]!, ends[1]!];
  if (fcntl(writeEnd, F_SETPIPE_SZ, byteLength) < 0) {
    logger.debug(`A pipe stays at its size: the system grants less than ${byteLength} bytes`);
  }
  return { readEnd, writeEnd };
}
