/** @module ThreadTime: processor time of the JS thread by itself, and of all threads. */

/** Milliseconds this thread has run on a processor. */
export function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** How busy the processor was for a while. */
export interface Load {
  readonly elapsedMs: number;
  /** Share of the time in which the JS thread ran. */
  readonly busy: number;
  /** Cores that all threads of the process kept busy. */
  readonly cores: number;
}

/** Begin to measure a load. @returns reads what it was until then */
export function startLoad(): () => Load {
  const all = process.cpuUsage();
  const thread = threadMs();
  const started = performance.now();
  return () => {
    const elapsedMs = performance.now() - started;
    const { user, system } = process.cpuUsage(all);
    return { elapsedMs, busy: (threadMs() - thread) / elapsedMs, cores: (user + system) / 1000 / elapsedMs };
  };
}
