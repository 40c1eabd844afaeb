import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ffmpegDialect } from "../../src/video/ffmpeg.ts";
import { fileFolder } from "../support/folder.ts";
import { isFfmpegMissing, testVideo } from "../support/videos.ts";

setDefaultTimeout(120_000);

/** Reads a video frame by frame, writes it anew, and prints what it saw: in a process of the platform that is named. */
const PROGRAM = `
  const [folder, platform] = process.argv.slice(-2);
  if (platform !== "") Object.defineProperty(process, "platform", { value: platform });
  const { VideoSource, VideoSink } = await import(${JSON.stringify(join(import.meta.dir, "../../src/video/index.ts"))});
  const seen = [];
  await using source = await VideoSource.open(folder + "/clip.mp4", { pixels: "rgb" });
  await using sink = await VideoSink.open(folder + "/copy" + platform + ".mkv", { width: 322, height: 182, rate: 30 });
  for await (const frame of source) {
    seen.push([frame.timestampMs.toFixed(3), Bun.hash(frame.data).toString(16)]);
    await sink.write(frame, frame.timestampMs);
    frame.release();
  }
  await sink.finish();
  await using copy = await VideoSource.open(folder + "/copy" + platform + ".mkv");
  let copied = 0;
  for await (const frame of copy) { copied += 1; frame.release(); }
  console.log(JSON.stringify({ seen, copied }));
`;

const path = fileFolder("ffmpeg-pipes");
beforeAll(async () => {
  if (!isFfmpegMissing) await testVideo(path("clip.mp4"), "322x182", 40);
});

async function run(platform: string): Promise<{ readonly seen: readonly string[][]; readonly copied: number }> {
  const command = [process.execPath, "-e", PROGRAM, path(), platform];
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", stdin: "ignore" });
  const [text, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect([platform, code, errors]).toEqual([platform, 0, ""]);
  return JSON.parse(text) as Awaited<ReturnType<typeof run>>;
}

test.skipIf(isFfmpegMissing)(
  "video goes through standard input and output where a system has no further pipes, frame by frame the same",
  async () => {
    const [own, standard] = [await run(""), await run("darwin")];
    expect(own.seen.length).toBe(40);
    expect(own.copied).toBe(40);
    expect(standard).toEqual(own);
  },
);

test.skipIf(process.platform === "win32")(
  "ffmpegDialect() asks a program once, however many want to know",
  async () => {
    const program = path("older");
    const text = `#!/bin/sh\necho asked >> ${path()}/asked\necho "ffmpeg version 5.0.1"\n`;
    const older = { passthrough: ["-vsync", "passthrough"], hasLateZero: false };
    await expect(ffmpegDialect(program)).rejects.toThrow("ENOENT");
    writeFileSync(program, text, { mode: 0o755 });
    expect(await Promise.all([1, 2, 3, 4].map(() => ffmpegDialect(program)))).toEqual([older, older, older, older]);
    expect(await ffmpegDialect(program)).toEqual(older);
    expect(readFileSync(path("asked"), "utf8")).toBe("asked\n");
  },
);
