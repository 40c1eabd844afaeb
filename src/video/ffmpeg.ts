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

/** From 6.0 on times begin no earlier than with the first picture, wherever the input is sought. */
const OLDEST_LATE_ZERO = 6;

/** What this version wants otherwise than others. */
export interface FfmpegDialect {
  /** The words that make ffmpeg hand on each frame once, whatever its time. */
  readonly passthrough: readonly string[];
  /** True if times begin no earlier than with the first picture; else an offset of the input keeps them where they are. */
  readonly hasLateZero: boolean;
}

let known: { readonly path: string; readonly dialect: FfmpegDialect } | undefined;

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
    const text = message(`run ${program}`, `$${variable} names no file: ${JSON.stringify(named)}`, "correct it");
    throw new LibraryLoadError(text, program, [named]);
  }
  const found = Bun.which(program, { PATH: process.env.PATH ?? "" });
  if (found !== null) return found;
  const text = message(`run ${program}`, "it is not on the PATH", `${HINT} ${variable} to its path`);
  throw new LibraryLoadError(text, program, (process.env.PATH ?? "").split(":"));
}

/** How to talk to the ffmpeg at this path. */
export async function ffmpegDialect(path: string): Promise<FfmpegDialect> {
  if (known?.path === path) return known.dialect;
  const child = Bun.spawn([path, "-version"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  const found = /^ffmpeg version n?(\d+(?:\.\d+)?)/.exec(await child.stdout.text())?.[1];
  // A build from the development branch has no number, and is newer.
  const version = found === undefined ? Number.POSITIVE_INFINITY : Number(found);
  const passthrough = version < OLDEST_FPS_MODE ? ["-vsync", "passthrough"] : ["-fps_mode", "passthrough"];
  const dialect = { passthrough, hasLateZero: version >= OLDEST_LATE_ZERO };
  known = { path, dialect };
  return dialect;
}
