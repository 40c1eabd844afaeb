/** @module Shared: real models and pictures beside the checkout, where a machine has them. */

import { existsSync } from "node:fs";
import { join } from "node:path";

const FOLDER: string = join(import.meta.dir, "../../../shared");

/** Path of a file below `../shared`, or `undefined` where there is none: the test is then skipped. */
export function sharedFile(...path: readonly string[]): string | undefined {
  const file = join(FOLDER, ...path);
  return existsSync(file) ? file : undefined;
}
