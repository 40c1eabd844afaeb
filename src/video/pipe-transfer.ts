/** @module PipeTransfer: whole blocks of bytes through the end of a pipe, off the JS thread, with no memory of their own. */

import { read, write } from "node:fs";

/**
 * Fill a block from a pipe.
 *
 * @returns bytes read: fewer than asked for only where the writer has closed
 */
export function readFully(fd: number, block: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const next = (): void => {
      read(fd, block, at, block.length - at, null, (error, byteLength) => {
        if (error) return reject(error);
        at += byteLength;
        if (byteLength === 0 || at === block.length) resolve(at);
        else next();
      });
    };
    next();
  });
}

/**
 * Write a block into a pipe.
 *
 * @throws {Error} `code: "EPIPE"` if the reader has gone
 */
export function writeFully(fd: number, block: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const next = (): void => {
      write(fd, block, at, block.length - at, null, (error, byteLength) => {
        if (error) return reject(error);
        at += byteLength;
        if (at === block.length) resolve();
        else next();
      });
    };
    next();
  });
}
