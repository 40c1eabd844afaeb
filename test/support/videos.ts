/** @module Videos for tests, made by ffmpeg where it is installed. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** True if ffmpeg or ffprobe is not installed: for `test.skipIf`. */
export const isFfmpegMissing: boolean = Bun.which("ffmpeg") === null || Bun.which("ffprobe") === null;

/** Run ffmpeg; throws what it says when it fails. */
export async function ffmpeg(...words: readonly string[]): Promise<void> {
  const child = Bun.spawn(["ffmpeg", "-y", "-nostdin", "-loglevel", "error", ...words], { stderr: "pipe" });
  const [text, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`ffmpeg ${words.join(" ")}: ${text}`);
}

/** Encoding that takes little time. */
export const FAST: readonly string[] = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];

/** What ffprobe counts when it decodes the whole. */
export async function countFrames(path: string): Promise<number> {
  const words = ["-v", "quiet", "-select_streams", "v:0", "-count_frames", "-show_entries", "stream=nb_read_frames"];
  const child = Bun.spawn(["ffprobe", ...words, "-of", "csv=p=0", path], { stdout: "pipe" });
  return Number((await child.stdout.text()).trim());
}

/** A test image that moves, in a file. @param size `64x48` */
export async function testVideo(
  path: string,
  size: string,
  frames: number,
  rate: number | string = 30,
): Promise<string> {
  const source = `testsrc2=size=${size}:rate=${rate}`;
  await ffmpeg("-f", "lavfi", "-i", source, "-frames:v", String(frames), ...FAST, path);
  return path;
}

/** What is true of each process that is here: its number, program and parent, and its command line. */
function processes(isWanted: (program: string, parent: number, command: string) => boolean): number[] {
  const found: number[] = [];
  // A pattern would open every folder, of which some are gone by then.
  for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      const text = readFileSync(join("/proc", pid, "stat"), "utf8");
      const [, id, program = "", parent] = /^(\d+) \((.*)\) \S+ (\d+)/.exec(text) ?? [];
      const command = readFileSync(join("/proc", pid, "cmdline"), "utf8");
      if (isWanted(program, Number(parent), command)) found.push(Number(id));
    } catch (error) {
      // It may have ended meanwhile.
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    }
  }
  return found;
}

/** Processes below this one that run a program of this name. */
export function childrenNamed(name: string): number[] {
  return processes((program, parent) => program === name && parent === process.pid);
}

/** Processes of ffmpeg and ffprobe, whosever, that were given a text. */
export function programsOn(text: string): number[] {
  return processes((program, _, command) => /^ff(mpeg|probe)/.test(program) && command.includes(text));
}
