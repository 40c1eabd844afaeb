import { afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Detector } from "../../src/api/detector.ts";
import { VideoError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { DetectionResult } from "../../src/tasks/detect/detection.ts";
import { detectInLine, detectVideos, FrameLine, type VideoInput } from "../../src/video/detect-video.ts";
import type { VideoFrame } from "../../src/video/video-frame.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { fileFolder } from "../support/folder.ts";
import { serveRtsp } from "../support/rtsp-server.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { childrenNamed, FAST, ffmpeg, isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

const path = fileFolder("videos");

/** A clip whose brightness, and so the scores of what the toy finds, comes and goes. @param period in frames */
async function clip(name: string, size: string, period: number): Promise<void> {
  const [width, height] = size.split("x");
  const grey = `nullsrc=size=${width}x${height}:rate=30,geq=lum='135+110*cos(2*PI*N/${period})':cb=128:cr=128`;
  await ffmpeg("-f", "lavfi", "-i", grey, "-frames:v", "45", ...FAST, "-g", "5", "-f", "mpegts", path(name));
}

beforeAll(async () => {
  if (isFfmpegMissing) return;
  await Promise.all([clip("slow.ts", "64x64", 40), clip("quick.ts", "96x80", 13)]);
});

afterEach(() => {
  setLogSink(undefined);
  expect(childrenNamed("ffmpeg")).toEqual([]);
});

function open(): Promise<Detector> {
  return Detector.load(toyDetector(), { backend: "cpu", batch: 4, batchWaitMs: 5, inFlight: 2 });
}

/** The tracks of each video, by name. */
async function tracksOf(detector: Detector, inputs: readonly VideoInput[]): Promise<Record<string, unknown[]>> {
  const rows: Record<string, unknown[]> = {};
  for await (const { source, index, frame, detections } of detectVideos(detector, inputs, { tracker: "bytetrack" })) {
    const tracks = detections.map(({ trackId, classId, score, box }) => [trackId, classId, score, ...box]);
    rows[source] ??= [];
    rows[source].push([index, frame.timestampMs, tracks]);
  }
  return rows;
}

test.skipIf(isFfmpegMissing)("videos that share batches have the tracks that each has alone", async () => {
  await using detector = await open();
  const inputs: VideoInput[] = [
    { source: path("slow.ts"), name: "slow" },
    { source: path("quick.ts"), name: "quick", tracker: "ocsort" },
    { source: path("quick.ts"), name: "sampled", every: 2 },
  ];
  const alone: Record<string, unknown[]> = {};
  for (const input of inputs) Object.assign(alone, await tracksOf(detector, [input]));
  expect(Object.entries(alone).map(([name, rows]) => [name, rows.length])).toEqual([
    ["slow", 45],
    ["quick", 45],
    ["sampled", 23],
  ]);
  // There are tracks, they are lost and found, and each video has its own.
  const lengths = (alone.slow as [number, number, unknown[]][]).map(([, , tracks]) => tracks.length);
  expect([Math.min(...lengths), Math.max(...lengths)]).toEqual([0, 3]);
  expect(await tracksOf(detector, inputs)).toEqual(alone);
});

test.skipIf(isFfmpegMissing)(
  "of several live sources one that fails is told of by name, and the others go on",
  async () => {
    setLogSink(() => {});
    const stream = readFileSync(path("slow.ts"));
    using first = serveRtsp(stream, { seconds: 0.5 });
    using second = serveRtsp(stream, { seconds: 0.5 });
    await using detector = await open();
    const once = { policy: "all", reconnect: false } as const;
    const again = { policy: "all", reconnect: { firstDelayMs: 20 }, durationMs: 2500 } as const;
    const told: [source: string, error: unknown, index: number | undefined][] = [];
    const found = new Map<string, number[]>();
    const videos: VideoInput[] = [
      { source: first.url, name: "first", ...once },
      { source: path("missing.ts"), name: "missing" },
      { source: second.url, ...again },
    ];
    const options = {
      onError: (...error: [unknown, string, number | undefined]) => told.push([error[1], error[0], error[2]]),
    };
    for await (const { source, index } of detectVideos(detector, videos, options)) {
      found.set(source, [...(found.get(source) ?? []), index]);
    }
    expect(told).toEqual([["missing", expect.any(VideoError), undefined]]);
    const name = second.url.replace("secret", "***");
    expect([...found.keys()].sort()).toEqual(["first", name]);
    expect(found.get("first")).toEqual(Array.from({ length: found.get("first")!.length }, (_, at) => at));
    expect(second.plays).toBeGreaterThan(2); // one for the look at it
    expect(found.get(name)!.length).toBeGreaterThan(45);
    await expect(Array.fromAsync(detectVideos(detector, videos))).rejects.toThrow("missing.ts");
  },
  120_000,
);

test.skipIf(isFfmpegMissing)("a loop that is left closes every video", async () => {
  await using detector = await open();
  await using own = await VideoSource.open(path("slow.ts"));
  let results = 0;
  for await (const _ of detectVideos(detector, [own, path("quick.ts")])) if (++results === 3) break;
  await expect(own[Symbol.asyncIterator]().next()).rejects.toThrow("closed");
  expect(childrenNamed("ffmpeg")).toEqual([]);
});

/** Frames that are made when they are asked for; `asked` and `released` count. */
function frames(counts: { made: number; released: number }, pauseMs: number, count: number): AsyncIterable<VideoFrame> {
  return (async function* () {
    for (let index = 0; index < count; index++) {
      await Bun.sleep(pauseMs);
      counts.made += 1;
      const release = (): void => {
        counts.released += 1;
      };
      yield { index, release, [Symbol.dispose]: release } as unknown as VideoFrame;
    }
  })();
}

test("videos share the places of the detector, and a silent one keeps none of the others waiting", async () => {
  const limit = 3;
  const counts = [0, 1, 2].map(() => ({ made: 0, released: 0 }));
  let most = 0;
  // As a detector's: it reads as far as it may, and answers one frame a millisecond.
  const detector = {
    async *stream(source: AsyncIterable<VideoFrame>) {
      const iterator = source[Symbol.asyncIterator]();
      const read: Promise<IteratorResult<VideoFrame>>[] = [];
      for (let ahead = 0; ahead < 16; ahead++) read.push(iterator.next());
      for (;;) {
        const { done } = await read.shift()!;
        if (done) return;
        const onTheirWay = counts.reduce((sum, { made, released }) => sum + made - released, 0);
        most = Math.max(most, onTheirWay);
        await Bun.sleep(1);
        read.push(iterator.next());
        yield { width: 1, height: 1, detections: [] } as unknown as DetectionResult;
      }
    },
  };
  const line = new FrameLine(limit);
  const lengths = [60, 60, 2];
  const pauses = [0, 0, 120];
  const done = await Promise.all(
    counts.map(async (one, at) => {
      let results = 0;
      for await (const _ of detectInLine(detector, frames(one, pauses[at]!, lengths[at]!), {}, line)) results += 1;
      return results;
    }),
  );
  expect(done).toEqual(lengths);
  expect(counts.map(({ made, released }) => made - released)).toEqual([0, 0, 0]);
  // One of each video may be asked for when the last place goes, and one of each is with its reader.
  expect(most).toBeLessThanOrEqual(limit + 2 * counts.length);
  expect(most).toBeGreaterThanOrEqual(limit);
});
