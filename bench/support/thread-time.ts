/** @module ThreadTime: processor time of the JS thread alone, without the threads of libraries. */

import { readFileSync } from "node:fs";

/** Milliseconds of a clock tick in /proc on Linux. */
const TICK_MS = 10;

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "EACCES") return undefined;
    throw error;
  }
}

/**
 * Milliseconds the main thread has run on a processor. Exact where the kernel keeps statistics of its scheduler, else in
 * steps of 10 ms; `undefined` where it tells neither.
 */
export function mainThreadMs(): number | undefined {
  const task = `/proc/self/task/${process.pid}`;
  const exact = read(`${task}/schedstat`)?.split(" ")[0];
  if (exact !== undefined && Number(exact) > 0) return Number(exact) / 1e6;
  const fields = read(`${task}/stat`)
    ?.replace(/^.*\) /, "")
    .split(" ");
  if (fields === undefined) return undefined;
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
