/** @module Physical cores: how many threads one inference should use. */

import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** Content of a small file, or `undefined` where the system has none such. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return undefined;
  }
}

/** Cores by Linux' topology files: the processors of one core name the same siblings. */
function countCores(folder: string): number | undefined {
  if (process.platform !== "linux" || readText(`${folder}/online`) === undefined) return undefined;
  const cores = new Set<string>();
  for (const name of readdirSync(folder)) {
    if (!/^cpu\d+$/.test(name)) continue;
    const siblings = readText(`${folder}/${name}/topology/thread_siblings_list`);
    if (siblings !== undefined) cores.add(siblings);
  }
  return cores.size === 0 ? undefined : cores.size;
}

/** Whole processors a container may use, by its control group. */
function countQuota(path: string): number | undefined {
  const [quota, period] = (readText(path) ?? "max").split(" ").map(Number);
  if (quota === undefined || period === undefined || !(quota > 0)) return undefined;
  return Math.max(1, Math.floor(quota / period));
}

/**
 * Physical cores this process may use: two threads of one core only get in each other's way in matrix products.
 *
 * @param sysFolder  Linux' list of processors
 * @param quotaFile  the control group's limit
 */
export function physicalCores(sysFolder = "/sys/devices/system/cpu", quotaFile = "/sys/fs/cgroup/cpu.max"): number {
  const limits = [availableParallelism(), countCores(sysFolder), countQuota(quotaFile)];
  return Math.max(1, Math.min(...limits.filter((limit) => limit !== undefined)));
}
