/** @module OwnerMark: whose an unfinished file or folder is, as its name tells, and whether its owner is still at it. */

import { existsSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** Nobody leaves what is being written untouched for so long. */
const ABANDONED_MS = 24 * 3_600_000;

const PROCESSES = "/proc/self/ns/pid";

/** What a mark looks like, in the text of a regular expression: number of the process, and where it is one. */
export const OWNER_MARK = "\\d+-[\\da-f]+";

let ownRealm: string | undefined;

/** A digest of where numbers of processes hold: machines share homes, and containers share machines. */
function realm(): string {
  if (ownRealm !== undefined) return ownRealm;
  const container = existsSync(PROCESSES) ? readlinkSync(PROCESSES) : "";
  ownRealm = Bun.hash(`${hostname()} ${container}`).toString(16);
  return ownRealm;
}

/** The mark of this process, for names. */
export function ownerMark(): string {
  return `${process.pid}-${realm()}`;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/**
 * Whether nobody works any more on what bears a mark. Of a process of another machine or container only time tells, and so
 * it does where another process has got the number since.
 *
 * @param mark        as {@linkcode OWNER_MARK} finds it
 * @param writtenAtMs when it was last written, since 1970
 */
export function isAbandoned(mark: string, writtenAtMs: number): boolean {
  if (Date.now() - writtenAtMs >= ABANDONED_MS) return true;
  const [pid, owner] = mark.split("-");
  return owner === realm() && !isRunning(Number(pid));
}
