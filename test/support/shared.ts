/** @module The folder with the large reference models and pictures, which most machines lack. */

import { existsSync } from "node:fs";
import { join } from "node:path";

const root: string = process.env.BUN_TENSORRT_SHARED ?? join(import.meta.dir, "../../../shared");

/** Path of a reference file. */
export function sharedPath(path: string): string {
  return join(root, path);
}

/** True if the reference file is not on this machine: for `test.skipIf`. */
export function isMissing(path: string): boolean {
  return !existsSync(sharedPath(path));
}
