import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { VideoOptions } from "../../../src/video/video-options.ts";
import { VideoSource } from "../../../src/video/video-source.ts";
import { FfmpegEngines } from "../../support/ffmpeg-decoder.ts";
import { isGpuMissing } from "../../support/gpu.ts";
import { FAST, ffmpeg, isFfmpegMissing } from "../../support/videos.ts";

const gpuTest = test.skipIf(isGpuMissing || isFfmpegMissing);

let folder = "";
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  if (isGpuMissing || isFfmpegMissing) return;
  folder = mkdtempSync(join(tmpdir(), "video-frames-"));
  const source = ["-f", "lavfi", "-i", "testsrc2=size=102x58:rate=30000/1001", "-frames:v", "75"];
  // B frames, a key frame each second, another matrix than the usual one.
  const reordered = ["-bf", "2", "-g", "25", "-colorspace", "bt709", "-color_range", "tv"];
  await ffmpeg(...source, "-c:v", "libx264", ...reordered, "-pix_fmt", "yuv420p", path("a.mp4"));
  await ffmpeg("-i", path("a.mp4"), "-c", "copy", path("a.ts"));
  await ffmpeg("-i", path("a.mp4"), "-c", "copy", path("a.h264"));
  const gaps = "select='not(eq(mod(n,7),3))',setpts='PTS+if(gt(N,30),0.4/TB,0)'";
  await ffmpeg(...source, "-vf", gaps, "-fps_mode", "passthrough", ...FAST, "-bf", "2", path("variable.mkv"));
  const deep = ["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"];
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=101x57:rate=25", "-frames:v", "5", ...deep, path("deep.mkv"));
});

afterAll(() => {
  if (folder !== "") rmSync(folder, { recursive: true });
});

/** What a reader sees of a video. */
interface Seen {
  readonly index: number;
  readonly timestampMs: number;
  readonly colours: string;
  readonly data: Uint8Array;
}

async function seenOf(name: string, options: VideoOptions): Promise<{ frames: Seen[]; copied: number }> {
  await using video = await VideoSource.open(path(name), options);
  const frames: Seen[] = [];
  for await (using frame of video) {
    const { index, timestampMs, yuvStandard, yuvRange, data } = frame;
    frames.push({
      index,
      timestampMs: timestampMs,
      colours: `${yuvStandard} ${yuvRange}`,
      data: data.slice(),
    });
  }
  return { frames, copied: video.copied };
}

for (const [name, options] of [
  ["a.mp4", {}],
  ["a.ts", {}],
  ["a.h264", {}],
  ["variable.mkv", {}],
  ["a.mp4", { startMs: 1300 }],
  ["a.ts", { startMs: 1300, durationMs: 500 }],
  ["variable.mkv", { startMs: 900, every: 3 }],
  ["a.mp4", { fps: 7 }],
  ["a.mp4", { fps: 9.5, every: 2, startMs: 1000.5, durationMs: 900 }],
  ["a.ts", { every: 4, durationMs: 1001 }],
] as const) {
  gpuTest(
    `frames of ${name} decoded on a GPU are ffmpeg's to the bit, at the same times: ${JSON.stringify(options)}`,
    async () => {
      using _ = new FfmpegEngines({ surfaces: 4 });
      const wanted = await seenOf(name, { ...options, decode: "cpu" });
      const got = await seenOf(name, { ...options, decode: "gpu" });
      const facts = ({ data, index, colours }: Seen): object => ({ index, colours, hash: Bun.hash(data) });
      expect(got.frames.map(facts)).toEqual(wanted.frames.map(facts));
      // Where the stream has no times, ffmpeg adds up durations that are rounded.
      const tolerance = name === "a.h264" ? 0.1 : 0.001;
      for (const [at, { timestampMs }] of got.frames.entries()) {
        expect(Math.abs(timestampMs - wanted.frames[at]!.timestampMs)).toBeLessThan(tolerance);
      }
      expect(wanted.frames.length).toBeGreaterThan(4);
      expect([got.copied, wanted.copied]).toEqual([wanted.frames.length, 0]);
    },
  );
}
