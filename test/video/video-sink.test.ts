import { afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { $ } from "bun";
import { VideoError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { imageOf, yuvOf } from "../../src/image/image.ts";
import { tightRgb } from "../../src/image/nv12.ts";
import { detectVideo } from "../../src/video/detect-video.ts";
import { findFfmpeg } from "../../src/video/ffmpeg.ts";
import type { VideoFrame } from "../../src/video/video-frame.ts";
import { VideoSink } from "../../src/video/video-sink.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { fileFolder } from "../support/folder.ts";
import { childrenNamed, countFrames, isFfmpegMissing, testVideo } from "../support/videos.ts";

setDefaultTimeout(120_000);

const path = fileFolder("sink");

beforeAll(async () => {
  if (!isFfmpegMissing) await testVideo(path("clip.mp4"), "64x48", 40);
});

afterEach(() => expect(childrenNamed("ffmpeg")).toEqual([]));

/** An image of one colour. */
function plain(width: number, height: number, rgb: readonly [number, number, number]): ReturnType<typeof imageOf> {
  const data = new Uint8Array(width * height * 3);
  for (let at = 0; at < data.length; at++) data[at] = rgb[at % 3]!;
  return imageOf(data, { width, height });
}

for (const [name, size, words] of [
  ["out.mp4", [64, 48], {}],
  ["odd.mp4", [641, 361], {}],
  ["out.mkv", [33, 17], { quality: 10 }],
  ["out.webm", [64, 48], {}],
  ["one.mp4", [1, 1], {}],
] as const) {
  test.skipIf(isFfmpegMissing)(
    `VideoSink writes ${name} of ${size.join("x")}: frames and colours come back`,
    async () => {
      const [width, height] = size;
      await using sink = await VideoSink.open(path(name), { width, height, rate: 10, ...words });
      for (let index = 0; index < 12; index++) {
        await sink.write(plain(width, height, index < 6 ? [200, 50, 100] : [20, 220, 60]), index * 100);
      }
      await sink.finish();
      expect(sink.written).toBe(12);
      expect(await countFrames(path(name))).toBe(12);
      const seen: number[][] = [];
      await using video = await VideoSource.open(path(name));
      expect([video.width, video.height]).toEqual([width + (width % 2), height + (height % 2)]);
      for await (using frame of video) seen.push([frame.timestampMs, ...tightRgb(frame).subarray(0, 3)]);
      expect(seen.length).toBe(12);
      expect(seen[11]![0]).toBeCloseTo(1100, 0);
      if (name === "one.mp4") return;
      for (const [at, rgb] of [
        [2, [200, 50, 100]],
        [10, [20, 220, 60]],
      ] as const) {
        for (const [channel, level] of rgb.entries())
          expect(Math.abs(seen[at]![channel + 1]! - level)).toBeLessThan(12);
      }
    },
  );
}

for (const [width, height] of [
  [64, 48],
  [641, 361],
  [1, 1],
  [1280, 720],
] as const) {
  for (const yuvStandard of ["BT.601", "BT.709"] as const) {
    for (const yuvRange of ["limited", "full"] as const) {
      test.skipIf(isFfmpegMissing)(
        `VideoSink writes NV12 of ${width}x${height}, ${yuvStandard}, ${yuvRange}: colours come back`,
        async () => {
          const [y, u, v] = yuvOf({ red: 200, green: 50, blue: 100 }, yuvStandard, yuvRange);
          const chromaRows = (height + 1) >> 1;
          const pitchBytes = width + 3;
          const data = new Uint8Array(pitchBytes * height + (pitchBytes + 1) * chromaRows).fill(y);
          for (let at = pitchBytes * height; at < data.length; at += 2) data.set([u, v].slice(0, data.length - at), at);
          // Rows of U, V are even here, so that a pair is where a pair belongs.
          const chromaPitchBytes = pitchBytes + (pitchBytes & 1);
          const form = { width, height, pitchBytes, chromaPitchBytes, yuvStandard, yuvRange };
          const image = imageOf(data, { ...form, format: "NV12" });
          await using sink = await VideoSink.open(path("nv12.mp4"), { width, height, rate: 10 });
          for (let index = 0; index < 3; index++) await sink.write(image, index * 100);
          await sink.finish();
          expect(await countFrames(path("nv12.mp4"))).toBe(3);
          await using video = await VideoSource.open(path("nv12.mp4"));
          expect(video.info.yuvMatrix).toBe(height > 576 ? "bt709" : "bt601");
          for await (using frame of video) {
            if (width === 1) continue;
            for (const [at, level] of [200, 50, 100].entries())
              expect(Math.abs(tightRgb(frame)[at]! - level)).toBeLessThan(6);
          }
        },
      );
    }
  }
}

test.skipIf(isFfmpegMissing)("VideoSink takes any pixels after RGB, and after NV12 the same alone", async () => {
  const size = { width: 33, height: 17 };
  const bytes = new Uint8Array(33 * 17 + 34 * 9).fill(90);
  const nv12 = imageOf(bytes, { ...size, format: "NV12" });
  const other = imageOf(bytes, { ...size, format: "NV12", yuvRange: "full" });
  await using mixed = await VideoSink.open(path("mixed.mp4"), size);
  for (const [at, image] of [plain(33, 17, [9, 9, 9]), nv12, other].entries()) await mixed.write(image, at * 40);
  await mixed.finish();
  expect(await countFrames(path("mixed.mp4"))).toBe(3);
  await using strict = await VideoSink.open(path("strict.mp4"), size);
  await strict.write(nv12, 0);
  await expect(strict.write(other, 40)).rejects.toThrow("it must be NV12 BT.601 limited, got NV12 BT.601 full");
  await expect(strict.write(plain(33, 17, [9, 9, 9]), 40)).rejects.toThrow("got RGB");
  await strict.write(nv12, 80);
  await strict.finish();
  expect(strict.written).toBe(2);
});

test.skipIf(isFfmpegMissing)("VideoSink without a rate keeps the frames' own times", async () => {
  const times = [0, 40, 50, 333.4, 1000, 60_000.5];
  await using sink = await VideoSink.open(path("times.mp4"), { width: 32, height: 32 });
  for (const time of times) await sink.write(plain(32, 32, [9, 9, 9]), time);
  await sink.finish();
  await using video = await VideoSource.open(path("times.mp4"));
  const seen: number[] = [];
  for await (using frame of video) seen.push(frame.timestampMs);
  expect(seen.length).toBe(times.length);
  for (const [at, time] of times.entries()) expect(Math.abs(seen[at]! - time)).toBeLessThanOrEqual(0.11);
});

/** Older ones tell their encoders nothing of how long a frame is shown. */
const isFfmpegOld =
  isFfmpegMissing ||
  Number(/^ffmpeg version n?(\d+)/.exec((await $`${findFfmpeg("ffmpeg")} -version`.text()).trim())?.[1]) < 7;

test.skipIf(isFfmpegOld)("VideoSink without a rate shows the last frame for as long as is known", async () => {
  const lengthOf = async (name: string, options: { readonly durationMs?: number }): Promise<number> => {
    await using sink = await VideoSink.open(path(name), { width: 32, height: 32 });
    for (const time of [0, 50, 100]) await sink.write(plain(32, 32, [9, 9, 9]), time, options);
    await sink.finish();
    await using video = await VideoSource.open(path(name));
    return video.info.durationMs!;
  };
  for (const extension of ["mp4", "mkv", "webm"]) {
    expect(await lengthOf(`said.${extension}`, { durationMs: 500 })).toBeCloseTo(600, -1);
    // Where nothing is said, as long as the one before.
    expect(await lengthOf(`unsaid.${extension}`, {})).toBeCloseTo(150, -1);
  }
});

test.skipIf(isFfmpegMissing)(
  "VideoSink refuses frames of another size, and a place that cannot be written",
  async () => {
    await using sink = await VideoSink.open(path("small.mp4"), { width: 64, height: 48, rate: "30000/1001" });
    await expect(sink.write(plain(64, 47, [0, 0, 0]), 0)).rejects.toThrow("it must be 64x48, got 64x47");
    await sink.write(plain(64, 48, [0, 0, 0]), 0);
    await sink.finish();
    await expect(sink.write(plain(64, 48, [0, 0, 0]), 0)).rejects.toThrow("is closed");

    await using nowhere = await VideoSink.open(path("no/such/folder.mp4"), { width: 640, height: 480 });
    const write = async (): Promise<void> => {
      for (let index = 0; index < 20; index++) await nowhere.write(plain(640, 480, [0, 0, 0]), index);
      await nowhere.finish();
    };
    const error = (await write().catch((reason: unknown) => reason)) as Error;
    expect(error).toBeInstanceOf(VideoError);
    expect(error.message).toContain("No such file or directory");
    expect(() => VideoSink.open(path("x.mp4"), { width: 64, height: 48, rate: "fast" })).toThrow("frames per second");
  },
);

test.skipIf(isFfmpegMissing)("VideoSink that is closed without finish leaves a file that plays", async () => {
  const sink = await VideoSink.open(path("left.mp4"), { width: 64, height: 48, rate: 10 });
  for (let index = 0; index < 5; index++) await sink.write(plain(64, 48, [0, 0, 0]), 0);
  await sink.close();
  await sink.close();
  expect(existsSync(path("left.mp4"))).toBe(true);
  expect(await countFrames(path("left.mp4"))).toBe(5);
});

test.skipIf(isFfmpegMissing)(
  "VideoSink that is closed without a frame says nothing, and leaves what was there",
  async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    writeFileSync(path("former.mp4"), "former");
    const sink = await VideoSink.open(path("former.mp4"), { width: 64, height: 48 });
    await sink.close();
    setLogSink(undefined);
    expect(warnings).toEqual([]);
    expect(readFileSync(path("former.mp4"), "utf8")).toBe("former");
  },
);

test.skipIf(isFfmpegMissing)("VideoSink writes frames that are handed in at once one after the other", async () => {
  const grey = [0, 60, 120, 180, 240] as const;
  await using sink = await VideoSink.open(path("at-once.mkv"), { width: 640, height: 480, rate: 10 });
  await Promise.all(grey.map((level) => sink.write(plain(640, 480, [level, level, level]), 0)));
  await sink.finish();
  expect(sink.written).toBe(5);
  await using video = await VideoSource.open(path("at-once.mkv"), { pixels: "rgb" });
  let at = 0;
  for await (using frame of video) expect(Math.abs(frame.data[0]! - grey[at++]!)).toBeLessThan(8);
  expect(at).toBe(5);
});

test.skipIf(isFfmpegMissing)(
  "VideoSink.close() ends an ffmpeg that takes no more frames, and the write that waits for it",
  async () => {
    // Nobody reads it, so that ffmpeg waits for ever.
    Bun.spawnSync(["mkfifo", path("stuck.mkv")]);
    const sink = await VideoSink.open(path("stuck.mkv"), { width: 1280, height: 720, rate: 10 });
    const writes = [0, 1, 2, 3].map((at) => sink.write(plain(1280, 720, [9, 9, 9]), at));
    const settled = Promise.allSettled(writes);
    await Bun.sleep(100);
    await sink.close();
    expect((await settled).at(-1)?.status).toBe("rejected");
  },
  120_000,
);

test.skipIf(isFfmpegMissing)(
  "detectVideo() pairs results with their frames, around one that fails, and frees them all",
  async () => {
    let made = 0;
    const allocate = (byteLength: number): Uint8Array => {
      made += 1;
      return new Uint8Array(byteLength);
    };
    await using video = await VideoSource.open(path("clip.mp4"), { allocate, buffers: 6 });
    /** Three frames in flight; the one with index 7 fails. */
    const detector = {
      async *stream(
        frames: AsyncIterable<VideoFrame>,
        options?: { onError?: (error: unknown, index: number) => void },
      ) {
        const waiting: VideoFrame[] = [];
        const settle = function* () {
          const { index, width, height } = waiting.shift()!;
          const timing = { decode: 0, preprocess: 0, infer: index, postprocess: 0, total: 0 };
          if (index === 7) options?.onError?.(new Error("odd"), index);
          else yield { detections: [], width, height, dropped: 0, implausible: 0, timing };
        };
        for await (const frame of frames) {
          if (waiting.push(frame) === 3) yield* settle();
        }
        while (waiting.length > 0) yield* settle();
      },
    };
    const failed: number[] = [];
    const seen: number[] = [];
    for await (const { frame, timing } of detectVideo(detector, video, { onError: (_, index) => failed.push(index) })) {
      expect(timing.infer).toBe(frame.index);
      seen.push(frame.index);
    }
    expect(failed).toEqual([7]);
    expect(seen).toEqual(Array.from({ length: 40 }, (_, at) => at).filter((at) => at !== 7));
    expect(made).toBeLessThanOrEqual(6);
  },
);
