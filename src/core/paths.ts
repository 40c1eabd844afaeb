/** @module Paths: the folders the library writes to. */

import { homedir } from "node:os";
import { join } from "node:path";

/**
 * The folder for downloads and built engines: `$BUN_TENSORRT_CACHE`, else `bun-tensorrt` in the user's cache folder
 * (`$XDG_CACHE_HOME`, or `~/.cache`). It is made when something is first written to it.
 */
export function cacheFolder(): string {
  const { BUN_TENSORRT_CACHE: own, XDG_CACHE_HOME: shared } = process.env;
  if (own !== undefined && own !== "") return own;
  return join(shared !== undefined && shared !== "" ? shared : join(homedir(), ".cache"), "bun-tensorrt");
}
