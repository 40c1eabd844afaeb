import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { setLogSink } from "../../src/core/log.ts";
import { tightRgb } from "../../src/image/nv12.ts";
import { seekSecondsOf } from "../../src/video/decode-run.ts";
import { findFfmpeg, MessageLog } from "../../src/video/ffmpeg.ts";
import type { VideoOptions } from "../../src/video/video-options.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { fileFolder } from "../support/folder.ts";
import { childrenNamed, FAST, ffmpeg, isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

const path = fileFolder("times");

afterEach(() => expect(childrenNamed("ffmpeg")).toEqual([]));

const isFfmpegNew =
  !isFfmpegMissing &&
  Number(/version n?(\d+)/.exec(Bun.spawnSync([findFfmpeg("ffmpeg"), "-version"]).stdout.toString())?.[1] ?? 99) > 6;

/** The time and the first byte of each frame. */
async function readAll(source: string, options: VideoOptions = {}): Promise<{ times: number[]; levels: number[] }> {
  await using video = await VideoSource.open(source, options);
  const times: number[] = [];
  const levels: number[] = [];
  for await (using frame of video) {
    expect(frame.index).toBe(times.length);
    times.push(frame.timestampMs);
    levels.push(frame.data[0]!);
  }
  return { times, levels };
}

/** Key frames 4 s apart, B-frames, and brightness that grows with time; with sound, which starts first. */
const SLOW_KEYS = ["-g", "40", "-keyint_min", "40", "-sc_threshold", "0", "-bf", "2"];
const RAMP = "color=black:size=64x48:rate=10:duration=12,geq=lum='20+N':cb=128:cr=128";

test.skipIf(isFfmpegMissing)(
  "a start gives the frames that are due, with the times they have without it, whether the file has an index or not",
  async () => {
    const input = ["-f", "lavfi", "-i", RAMP, "-f", "lavfi", "-i", "sine=duration=12", "-shortest"];
    const codecs = ["-c:v", "libx264", "-qp", "4", ...SLOW_KEYS, "-c:a", "aac"];
    await ffmpeg(...input, ...codecs, path("long.mp4"));
    await ffmpeg("-i", path("long.mp4"), "-c", "copy", path("long.ts"));
    await ffmpeg("-i", path("long.mp4"), "-c:v", "mpeg2video", "-q:v", "2", "-g", "40", "-r", "25", path("long.mpg"));
    for (const [name, parts] of [
      ["long.ts", [{ startMs: 6000, durationMs: 1000 }, { startMs: 11_500 }, { startMs: 200, durationMs: 500 }]],
      ["long.mpg", [{ startMs: 6150, durationMs: 1000 }]],
      ["long.mp4", [{ startMs: 6150, durationMs: 1000 }]],
    ] as const) {
      const whole = await readAll(path(name));
      for (const part of parts) {
        const { startMs, durationMs } = { durationMs: 60_000, ...part };
        const isDue = (time: number): boolean => time >= startMs && time < startMs + durationMs;
        const due = [...whole.times.keys()].filter((at) => isDue(whole.times[at]!));
        const seen = await readAll(path(name), part);
        expect(due.length).toBeGreaterThan(3);
        expect(seen.times.length).toBe(due.length);
        for (const [index, at] of due.entries()) expect(seen.times[index]!).toBeCloseTo(whole.times[at]!, 1);
        expect(seen.levels).toEqual(due.map((at) => whole.levels[at]!));
      }
    }
    // The selection counts from the start.
    const all = (await readAll(path("long.ts"), { startMs: 6000 })).times;
    const third = await readAll(path("long.ts"), { startMs: 6000, every: 3 });
    expect(third.times).toEqual(all.filter((_, at) => at % 3 === 0));
    expect((await readAll(path("long.ts"), { startMs: 6000, fps: 2, durationMs: 2000 })).times.length).toBe(4);
    await expect(readAll(path("long.ts"), { startMs: 60_000 })).rejects.toThrow(
      "it is 12.0 s long and was to be read from 1 min 0 s on",
    );
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "times count from where the file begins, though its sound begin first",
  async () => {
    const late = ["-itsoffset", "0.5", "-f", "lavfi", "-i", "color=gray:size=64x48:rate=10:duration=1.5"];
    const input = [...late, "-f", "lavfi", "-i", "sine=duration=2"];
    await ffmpeg(...input, "-fps_mode", "passthrough", ...FAST, "-bf", "0", "-c:a", "mp2", path("late.ts"));
    const [first = 0, second = 0] = (await readAll(path("late.ts"))).times;
    expect(first).toBeGreaterThan(400);
    expect(first).toBeLessThan(600);
    expect(second - first).toBeCloseTo(100, 1);
    const part = await readAll(path("late.ts"), { startMs: 1 });
    expect(part.times[0]!).toBeCloseTo(first, 1);
  },
  120_000,
);

test("MessageLog keeps what is expected where a file is entered in the middle out of the log", async () => {
  const lines: string[] = [];
  setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    for (const isQuiet of [true, false]) {
      const said = new Response("[h264 @ 0x1] [error] mmco: unref short failure\n[error] other\n").body!;
      const log = new MessageLog(said, "a.ts", "file:/a.ts");
      log.isQuiet = isQuiet;
      await log.ended;
      expect(log.errors).toEqual(["mmco: unref short failure", "other"]);
      expect(lines.splice(0).filter((line) => line.startsWith("warn: "))).toEqual(
        isQuiet ? [] : ["warn: a.ts: mmco: unref short failure", "warn: a.ts: other"],
      );
    }
  } finally {
    setLogSink(undefined);
  }
});

test("seekSecondsOf() goes back further with each try, as far as the beginning", () => {
  expect([0, 1, 2, 3].map((attempt) => seekSecondsOf(100_700, attempt))).toEqual([100, 96, 84, 36]);
  expect(seekSecondsOf(100_700, 4)).toBe(0);
  expect(seekSecondsOf(0, 0)).toBe(0);
});

test.skipIf(isFfmpegMissing)(
  "every n-th frame and frames a second go on counting where the size changes",
  async () => {
    for (const [name, size] of [
      ["one.ts", "64x48"],
      ["two.ts", "320x240"],
    ] as const) {
      const source = `testsrc2=size=${size}:rate=25:duration=1`;
      const offset = name === "two.ts" ? ["-output_ts_offset", "1"] : [];
      await ffmpeg("-f", "lavfi", "-i", source, ...FAST, ...offset, path(name));
    }
    writeFileSync(path("both.ts"), Buffer.concat([readFileSync(path("one.ts")), readFileSync(path("two.ts"))]));
    const whole = (await readAll(path("both.ts"))).times;
    expect(whole.length).toBe(50);
    const seventh = (await readAll(path("both.ts"), { every: 7 })).times;
    expect(seventh.map((time) => whole.findIndex((other) => Math.abs(other - time) < 0.1))).toEqual([
      0, 7, 14, 21, 28, 35, 42, 49,
    ]);
    const slow = (await readAll(path("both.ts"), { fps: 3 })).times;
    expect(slow.every((time, at) => at === 0 || time - slow[at - 1]! > 300)).toBe(true);
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "frames keep their brightness and colour where range or matrix change",
  async () => {
    const colour = "color=c=0x30C060:size=64x48:rate=25:duration=0.2,format=rgb24";
    const make = async (name: string, matrix: string, range: string): Promise<Buffer> => {
      const filter = `scale=out_color_matrix=${matrix}:out_range=${range},format=yuv420p`;
      const tags = ["-colorspace", matrix === "bt709" ? "bt709" : "smpte170m", "-color_range", range];
      await ffmpeg("-f", "lavfi", "-i", colour, "-vf", filter, ...tags, "-c:v", "libx264", "-qp", "4", path(name));
      return readFileSync(path(name));
    };
    const parts = {
      limited: await make("limited.ts", "bt601", "tv"),
      full: await make("full.ts", "bt601", "pc"),
      hd: await make("hd.ts", "bt709", "tv"),
    };
    for (const [first, second, pixels] of [
      ["limited", "full", "nv12"],
      ["full", "limited", "nv12"],
      ["full", "limited", "rgb"],
      ["limited", "hd", "nv12"],
    ] as const) {
      // From ffmpeg 7 on H.264 that was full range once is taken for it ever after.
      if (first === "full" && isFfmpegNew) continue;
      writeFileSync(path("changing.ts"), Buffer.concat([parts[first], parts[second]]));
      await using video = await VideoSource.open(path("changing.ts"), { pixels });
      let frames = 0;
      for await (using frame of video) {
        const rgb = tightRgb(frame);
        for (const [at, level] of [48, 192, 96].entries()) expect(Math.abs(rgb[3000 + at]! - level)).toBeLessThan(5);
        frames += 1;
      }
      expect(frames).toBe(10);
    }
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "a file without times is said to be one",
  async () => {
    await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=0.5", "-c:v", "mjpeg", path("raw.mjpeg"));
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    try {
      const { times } = await readAll(path("raw.mjpeg"));
      expect(times).toEqual([0, 40, 80, 120, 160]);
      expect(warnings).toEqual([expect.stringContaining("raw.mjpeg holds no times: 25 frames per second are assumed")]);
      const told = await readAll(path("raw.mjpeg"), { inputArguments: ["-framerate", "10"] });
      expect(told.times).toEqual([0, 100, 200, 300, 400]);
      expect(warnings.length).toBe(1);
    } finally {
      setLogSink(undefined);
    }
  },
  120_000,
);
