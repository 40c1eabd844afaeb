/** @module ThreadTime: processor time of the JS thread alone, without the threads of libraries. */

/** Milliseconds this thread has run on a processor. */
export function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
