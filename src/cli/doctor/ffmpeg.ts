/** @module Ffmpeg: what `doctor` says of ffmpeg and ffprobe, which videos go through. */

import { LibraryLoadError } from "../../core/errors.ts";
import { findFfmpeg } from "../../video/ffmpeg.ts";
import type { Finding } from "./finding.ts";
import { installCommand, type SystemPackageNames, thisSystem } from "./system-package.ts";

const FFMPEG: SystemPackageNames = {
  debian: "ffmpeg",
  ubuntu: "ffmpeg",
  fedora: "ffmpeg-free",
  arch: "ffmpeg",
  alpine: "ffmpeg",
  macos: "ffmpeg",
};

const WITHOUT = "pictures are detected without, videos, streams and cameras are not";

/** `5.1.9-0+deb12u1` */
function versionOf(path: string): string | undefined {
  const { stdout } = Bun.spawnSync([path, "-version"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  return /^ff\w+ version (\S+)/.exec(stdout.toString())?.[1];
}

/** ffmpeg, together with ffprobe. */
export function findVideoTools(): Finding {
  const name = "ffmpeg";
  const fix = installCommand(FFMPEG, thisSystem()) ?? "install ffmpeg";
  const absent = (found: string): Finding => ({ name, state: "absent", found: `${found}: ${WITHOUT}`, fix });
  try {
    const path = findFfmpeg("ffmpeg");
    findFfmpeg("ffprobe");
    const version = versionOf(path);
    if (version === undefined) return absent(`${path} does not tell its version`);
    return { name, state: "ok", found: `${version} at ${path}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const [line = ""] = error.message.split("\n", 1);
    return absent(line.replace(/^Cannot run (\S+): (it )?/, (_, program, it) => (it ? `${program} ` : "")));
  }
}
