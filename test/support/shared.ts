/** @module Shared: real models and images beside the checkout, where a machine has them. */

import { existsSync } from "node:fs";
import { join } from "node:path";

const named = process.env.BUN_TENSORRT_SHARED;
const FOLDER: string = named ?? join(import.meta.dir, "../../../shared");

// Without it tests skip; where somebody says that it is there, they must not.
if (named !== undefined && !existsSync(named)) {
  throw new Error(`BUN_TENSORRT_SHARED names no folder: ${JSON.stringify(named)}`);
}

/** Path of a file below `../shared`, whether it is there or not. */
export function sharedPath(...path: readonly string[]): string {
  return join(FOLDER, ...path);
}

/** Path of a file below `../shared`, or `undefined` where there is none: the test is then skipped. */
export function sharedFile(...path: readonly string[]): string | undefined {
  const file = sharedPath(...path);
  return existsSync(file) ? file : undefined;
}

/** True if there is no such file below `../shared`. */
export function isMissing(...path: readonly string[]): boolean {
  return !existsSync(sharedPath(...path));
}
