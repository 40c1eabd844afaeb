/** @module Ffmpeg: where ffmpeg and ffprobe are on this machine, and how old they are. */

import { existsSync } from "node:fs";
import { LibraryLoadError, message } from "../core/errors.ts";

/** The two programs. */
export type FfmpegProgram = "ffmpeg" | "ffprobe";

const VARIABLES: Readonly<Record<FfmpegProgram, string>> = {
  ffmpeg: "BUN_TENSORRT_FFMPEG",
  ffprobe: "BUN_TENSORRT_FFPROBE",
};

const HINT =
  "install it (Debian and Ubuntu: sudo apt install ffmpeg, Fedora: sudo dnf install ffmpeg-free, Arch: sudo pacman -S ffmpeg, Alpine: apk add ffmpeg), or set";

/** `-fps_mode` came with 5.1; before it the option was `-vsync`. */
const OLDEST_FPS_MODE = 5.1;

let passthrough: { readonly path: string; readonly words: readonly string[] } | undefined;

/**
 * The path of a program: what its environment variable says, else the first one on the PATH.
 *
 * @throws {LibraryLoadError} If it is not installed; the message has the command that installs it
 */
export function findFfmpeg(program: FfmpegProgram): string {
  const variable = VARIABLES[program];
  const named = process.env[variable];
  if (named) {
    if (existsSync(named)) return named;
    const text = message(`run ${program}`, `as $${variable} names no file: ${JSON.stringify(named)}`, "correct it");
    throw new LibraryLoadError(text, program, [named]);
  }
  const found = Bun.which(program, { PATH: process.env.PATH ?? "" });
  if (found !== null) return found;
  const text = message(`run ${program}`, "as it is not on the PATH", `${HINT} ${variable} to its path`);
  throw new LibraryLoadError(text, program, (process.env.PATH ?? "").split(":"));
}

/** The words that make ffmpeg hand on each frame once, whatever its time: spelt as this version wants it. */
export async function passthroughWords(path: string): Promise<readonly string[]> {
  if (passthrough?.path === path) return passthrough.words;
  const child = Bun.spawn([path, "-version"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  const version = /^ffmpeg version n?(\d+(?:\.\d+)?)/.exec(await child.stdout.text())?.[1];
  // A build from the development branch has no number, and is newer.
  const isOld = version !== undefined && Number(version) < OLDEST_FPS_MODE;
  const words = isOld ? ["-vsync", "passthrough"] : ["-fps_mode", "passthrough"];
  passthrough = { path, words };
  return words;
}
