/** @module NvdecWaits: one thread watches all decoders of the process; whoever waits for one asks it again when something is new. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { shimOffThread } from "../ffi/shim.ts";

/**
 * How long the thread of the pool is held at most, in milliseconds: others of few cores need it as well, such as the waits for the
 * frames that hold the surfaces.
 */
const WATCH_MS = 10;

/** Something that may be there later. */
interface NvdecWait {
  /** Ask whether it is there now, and settle the wait if so. @returns true once it is settled */
  ask(): boolean;
  /** Nobody will learn whether it is there. */
  fail(error: unknown): void;
}

const pending: NvdecWait[] = [];
let seen = 0;
let isWatching = false;

async function watch(): Promise<void> {
  isWatching = true;
  try {
    while (pending.length > 0) {
      seen = await shimOffThread("bt_nvdec_wait")(seen, WATCH_MS);
      if (seen < 0) throw new BunTensorRtError(message("watch video decoders", `the shim returned ${seen}`));
      let kept = 0;
      for (const wait of [...pending]) if (!wait.ask()) pending[kept++] = wait;
      pending.length = kept;
    }
  } catch (error) {
    for (const wait of pending.splice(0)) wait.fail(error);
  } finally {
    isWatching = false;
  }
}

/** Resolves when something is new about any decoder, or after some milliseconds. */
export function nvdecNews(): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ask = (): boolean => {
    resolve();
    return true;
  };
  waitForNvdec({ ask, fail: reject });
  return promise;
}

/** Wait: `ask` is called in turn with those of others, until it returns true. */
export function waitForNvdec(wait: NvdecWait): void {
  pending.push(wait);
  if (!isWatching) void watch();
}
