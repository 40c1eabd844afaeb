/** @module Paths: the folders the library writes to. */

import { homedir } from "node:os";
import { join } from "node:path";

/** The user's cache folder: `%LOCALAPPDATA%` on Windows, else `~/.cache`. */
function userFolder(): string {
  if (process.platform !== "win32") return join(homedir(), ".cache");
  return process.env.LOCALAPPDATA || join(homedir(), "AppData", "Local");
}

/**
 * The folder for downloads and built engines: `$BUN_TENSORRT_CACHE`, else `bun-tensorrt` in the user's cache folder
 * (`$XDG_CACHE_HOME`, else `~/.cache`, on Windows `%LOCALAPPDATA%`). It is made when something is first written to it.
 */
export function cacheFolder(): string {
  const { BUN_TENSORRT_CACHE: own, XDG_CACHE_HOME: shared } = process.env;
  if (own !== undefined && own !== "") return own;
  return join(shared !== undefined && shared !== "" ? shared : userFolder(), "bun-tensorrt");
}
