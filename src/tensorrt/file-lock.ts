/** @module FileLock: one process at a time; the kernel frees the lock of a process that died, so none is ever stale. */

import { mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { getSystemErrorName } from "node:util";
import { BunTensorRtError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { cString } from "../ffi/cstring.ts";
import { SHIM_STATUS, shim } from "../ffi/shim.ts";

/** How often a held lock is asked for again. */
const POLL_MS = 100;

/** What the holder wrote of itself; the file may be gone, or not yet written. */
function holderOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trim() || "unknown";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "unknown";
    throw error;
  }
}

/** A lock that this process holds until it is closed. */
export class FileLock extends Resource {
  readonly #descriptor: number;

  private constructor(path: string, descriptor: number) {
    super(`FileLock ${path}`);
    this.#descriptor = descriptor;
  }

  /**
   * Take a lock if it is free.
   *
   * @param path of a file that is made if need be, and left behind
   * @returns `undefined` if another process, or another part of this one, holds it
   * @throws {BunTensorRtError} If the file cannot be made
   */
  static tryAcquire(path: string): FileLock | undefined {
    const descriptor = shim().bt_file_lock(cString(path));
    if (descriptor >= 0) return new FileLock(path, descriptor);
    if (descriptor === SHIM_STATUS.failed) return undefined;
    throw new BunTensorRtError(message(`lock ${path}`, `the system refused it: ${getSystemErrorName(descriptor)}`));
  }

  /**
   * Wait for a lock. Its folder is made where it is not there, or not any more.
   *
   * @param signal ends the waiting; its reason is thrown
   */
  static async acquire(path: string, signal?: AbortSignal): Promise<FileLock> {
    for (let isFirst = true; ; isFirst = false) {
      signal?.throwIfAborted();
      mkdirSync(dirname(path), { recursive: true });
      const lock = FileLock.tryAcquire(path);
      if (lock !== undefined) return lock;
      if (isFirst) logger.info(`Waiting for process ${holderOf(path)}, which holds ${path}`);
      await Bun.sleep(POLL_MS);
    }
  }

  protected override release(): void {
    const status = shim().bt_file_unlock(this.#descriptor);
    if (status !== SHIM_STATUS.ok)
      throw new BunTensorRtError(message(`free ${this.label}`, `the system refused it: errno ${-status}`));
  }
}
