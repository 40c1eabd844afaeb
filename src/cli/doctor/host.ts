/** @module Host: what `doctor` says of Bun, the machine and the cache folder. */

import { accessSync, constants, existsSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { dirname } from "node:path";
import manifest from "../../../package.json" with { type: "json" };
import { catalogue } from "../../catalogue/catalogue.ts";
import { isInstalled } from "../../catalogue/store.ts";
import { cacheFolder } from "../../core/paths.ts";
import { formatBytes } from "../../core/units.ts";
import { plural } from "../format-table.ts";
import type { Finding } from "./finding.ts";

/** Bun, and whether it is new enough. */
export function findBun(): Finding {
  const wanted = manifest.engines.bun;
  const found = `${Bun.version} (${process.platform}-${process.arch})`;
  if (Bun.semver.satisfies(Bun.version, wanted)) return { name: "Bun", state: "ok", found };
  return { name: "Bun", state: "broken", found: `${found}, needed is ${wanted}`, fix: "bun upgrade" };
}

/** Processor and memory. */
export function findProcessor(): Finding {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const found = `${model}, ${plural(availableParallelism(), "thread")}, ${formatBytes(totalmem())}`;
  return { name: "CPU", state: "ok", found };
}

/** The folder for downloads and engines, and whether it can be written; nothing is made. */
export function findCache(): Finding {
  const folder = cacheFolder();
  let existing = folder;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK);
  } catch (error) {
    const found = `${folder} cannot be written: ${(error as Error).message}`;
    return { name: "cache folder", state: "absent", found, fix: "export BUN_TENSORRT_CACHE=<a folder you can write>" };
  }
  const count = catalogue.filter(isInstalled).length;
  return { name: "cache folder", state: "ok", found: `${folder}, ${count} of ${catalogue.length} catalogue files` };
}
