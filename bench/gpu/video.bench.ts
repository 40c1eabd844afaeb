/**
 * @module Video on the GPU: frames per second from packets to boxes, beside those of the video engines alone and of the model alone on
 * a frame that is decoded, and cameras whose frames come at their rate.
 *
 * Usage: `bun bench/gpu/video.bench.ts [model.onnx|PLAN] [--streams h264-1080p,hevc-1080p] [--videos 1,4,7,14] [--seconds 5]
 * [--rounds 3] [--cameras 64] [--rate 30] [--camera-seconds 60]`; the streams are those of `scripts/video-streams.ts`.
 */

import { parseArgs } from "node:util";
import { Detector } from "../../src/api/detector.ts";
import { Device } from "../../src/cuda/device.ts";
import { detectInLine, FrameLine } from "../../src/video/detect-video.ts";
import type { VideoFrame } from "../../src/video/video-frame.ts";
import { recordedVideo } from "../../test/support/recorded-video.ts";
import { type ReadStream, readStream, streamNames } from "../../test/support/video-streams.ts";
import { sharedFile } from "../subject.ts";
import { medianOf } from "../support/samples.ts";
import { startLoad } from "../support/thread-time.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    streams: { type: "string", default: "h264-1080p,hevc-1080p" },
    videos: { type: "string", default: "1,4,7,14" },
    seconds: { type: "string", default: "5" },
    rounds: { type: "string", default: "3" },
    cameras: { type: "string", default: "64" },
    rate: { type: "string", default: "30" },
    "camera-seconds": { type: "string", default: "60" },
  },
});
if (streamNames().length === 0) throw new Error("No streams: run `bun scripts/video-streams.ts` where ffmpeg is");
const model = positionals[0] ?? sharedFile("models/yolov8n_640.onnx") ?? "yolov8n";
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);

/** Counts what comes within a window that begins a second from now. */
class Window {
  readonly startMs: number = performance.now() + 1000;
  readonly endMs: number = this.startMs + seconds * 1000;
  count = 0;

  /** @returns false once the window is over */
  note(): boolean {
    const now = performance.now();
    if (now >= this.startMs && now < this.endMs) this.count += 1;
    return now < this.endMs;
  }

  get rate(): number {
    return this.count / seconds;
  }
}

const open = (stream: ReadStream) => recordedVideo(stream, { rounds: Number.POSITIVE_INFINITY }, { readAhead: 4 });

/** The engines alone: frames are released at once. */
async function decoded(stream: ReadStream, videos: number): Promise<number> {
  const window = new Window();
  const read = async (): Promise<void> => {
    await using video = await open(stream);
    for await (using _ of video) if (!window.note()) break;
  };
  await Promise.all(Array.from({ length: videos }, read));
  return window.rate;
}

/** The model alone: a frame in device memory, again and again. */
async function detected(detector: Detector, stream: ReadStream): Promise<number> {
  await using video = await open(stream);
  let kept: VideoFrame | undefined;
  for await (const frame of video) {
    kept = frame;
    break;
  }
  using frame = kept!;
  const window = new Window();
  async function* again(): AsyncGenerator<VideoFrame> {
    while (performance.now() < window.endMs) yield frame;
  }
  for await (const _ of detector.stream(again())) window.note();
  return window.rate;
}

/** Both: every frame of each video. @returns frames per second, and frames whose pixels came to the host */
async function both(detector: Detector, stream: ReadStream, videos: number): Promise<[rate: number, copied: number]> {
  const window = new Window();
  const line = new FrameLine(detector.streamAhead);
  let copied = 0;
  const read = async (): Promise<void> => {
    await using video = await open(stream);
    for await (const _ of detectInLine(detector, video, {}, line)) if (!window.note()) break;
    copied += video.copied;
  };
  await Promise.all(Array.from({ length: videos }, read));
  return [window.rate, copied];
}

/** Cameras, each with its own tracker's worth of order: what came, what was dropped, and what memory it took. */
async function cameras(detector: Detector, stream: ReadStream, device: Device): Promise<string> {
  const [count, rate, length] = [Number(values.cameras), Number(values.rate), Number(values["camera-seconds"])];
  const line = new FrameLine(detector.streamAhead);
  const startMs = performance.now() + 2000;
  const free: number[] = [];
  const watch = setInterval(() => free.push(device.memory().freeBytes), 1000);
  const readLoad = startLoad();
  let [results, dropped, sentAll, copied] = [0, 0, 0, 0];
  const read = async (_: unknown, at: number): Promise<void> => {
    const sent = { packets: 0 };
    const timing = { rate, startMs: startMs + (at * 1000) / rate / count, sent };
    const stop = Math.ceil((length * rate) / stream.data.length);
    await using video = await recordedVideo(stream, { ...timing, rounds: stop }, { policy: "latest" });
    for await (const _result of detectInLine(detector, video, {}, line)) results += 1;
    dropped += video.dropped;
    copied += video.copied;
    sentAll += sent.packets;
  };
  await Promise.all(Array.from({ length: count }, read));
  clearInterval(watch);
  const { busy, cores } = readLoad();
  // From the time on at which all are there.
  const steady = free.slice(Math.min(10, free.length >> 1));
  const grown = Math.round((steady[0]! - steady.at(-1)!) / 2 ** 20);
  const rss = Math.round(process.memoryUsage.rss() / 2 ** 20);
  return `${results} of ${sentAll} frames, ${dropped} dropped, ${copied} copied to the host, device memory ${grown} MiB more than after 10 s, RSS ${rss} MiB, JS thread ${Math.round(busy * 100)} %, ${cores.toFixed(2)} cores`;
}

using device = Device.open();
await using detector = await Detector.load(model, { backend: "gpu" });
for (const name of values.streams.split(",")) {
  const stream = readStream(name);
  for (const videos of values.videos.split(",").map(Number)) {
    const rates: Record<"engines" | "model" | "both", number[]> = { engines: [], model: [], both: [] };
    let copied = 0;
    for (let round = 0; round < rounds; round++) {
      rates.engines.push(await decoded(stream, videos));
      rates.model.push(await detected(detector, stream));
      const [rate, copies] = await both(detector, stream, videos);
      rates.both.push(rate);
      copied += copies;
    }
    const [engines, alone, all] = [medianOf(rates.engines), medianOf(rates.model), medianOf(rates.both)];
    const share = Math.round((all / Math.min(engines, alone)) * 100);
    const words = [`engines ${Math.round(engines)}`, `model ${Math.round(alone)}`, `both ${Math.round(all)} frames/s`];
    console.log(
      `${name} × ${videos}: ${words.join(", ")}, ${share} % of the lower, ${copied} frames copied to the host`,
    );
  }
  console.log(
    `${name}, ${values.cameras} cameras of ${values.rate} frames/s: ${await cameras(detector, stream, device)}`,
  );
}
