/** @module OwnerMark: whose an unfinished file or folder is, as its name tells, and whether its owner is still at it. */

import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** Nobody leaves what is being written untouched for so long; or if so, it is known to be running. */
const ABANDONED_MS = 24 * 3_600_000;

/** The kernel tells times of processes in hundredths of a second, whatever its own clock is. */
const TICK_MS = 10;
/** What times of files and of processes may be apart: they come from clocks that are set differently. */
const LATITUDE_MS = 60_000;

const PROCESSES = "/proc/self/ns/pid";

/**
 * What a mark looks like, in the text of a regular expression: number of the process, and where it is one. All 16 digits,
 * as names of others have dates in such places.
 */
export const OWNER_MARK = "\\d+-[\\da-f]{16}";

let ownRealm: string | undefined;

/** A digest of where numbers of processes hold: machines share homes, and containers share machines. */
function realm(): string {
  if (ownRealm !== undefined) return ownRealm;
  const container = existsSync(PROCESSES) ? readlinkSync(PROCESSES) : "";
  ownRealm = Bun.hash(`${hostname()} ${container}`).toString(16).padStart(16, "0");
  return ownRealm;
}

/** The mark of this process, for names. */
export function ownerMark(): string {
  return `${process.pid}-${realm()}`;
}

/** Fields of a process from its state on; `undefined` where the system does not tell. @see proc_pid_stat(5) */
function fieldsOf(pid: number): string[] | undefined {
  try {
    // The name, in parentheses before them, may have any letters in it.
    return readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return undefined;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  // One that has ended keeps its number until its parent asks, which in many a container nobody does.
  return fieldsOf(pid)?.[0] !== "Z";
}

/** When a process was started, since 1970; `undefined` where the system does not tell. */
function startedAtMs(pid: number): number | undefined {
  const ticks = fieldsOf(pid)?.[19];
  if (ticks === undefined) return undefined;
  const bootedAt = /^btime (\d+)$/m.exec(readFileSync("/proc/stat", "latin1"))?.[1];
  const startedAt = Number(bootedAt) * 1000 + Number(ticks) * TICK_MS;
  return Number.isFinite(startedAt) ? startedAt : undefined;
}

/**
 * Whether nobody works any more on what bears a mark. Of a process of another machine or container only time tells. One
 * that runs here may wait for days for more to write, unless it has got the number since.
 *
 * @param mark        as {@linkcode OWNER_MARK} finds it
 * @param writtenAtMs when it was last written, since 1970
 */
export function isAbandoned(mark: string, writtenAtMs: number): boolean {
  const [pid, owner] = mark.split("-");
  const isHere = owner === realm();
  if (isHere && !isRunning(Number(pid))) return true;
  if (Date.now() - writtenAtMs < ABANDONED_MS) return false;
  const startedAt = isHere ? startedAtMs(Number(pid)) : undefined;
  return startedAt === undefined || startedAt > writtenAtMs + LATITUDE_MS;
}
