/**
 * @module Video on the GPU: frames per second from packets to boxes, beside those of the video engines alone and of the model alone on
 * a frame that is decoded, and cameras whose frames come at their rate.
 *
 * Usage: `bun bench/gpu/video.bench.ts [model.onnx|PLAN] [--streams h264-1080p,hevc-1080p] [--videos 1,4,7,14] [--seconds 5]
 * [--rounds 3] [--cameras 64] [--rate 30] [--camera-seconds 60]`; the streams are those of `scripts/video-streams.ts`, and
 * `--videos none` leaves out all but the cameras, in front of which four videos are run for so many seconds. The exit code is 1 where a camera's frame has no result.
 */

import { parseArgs } from "node:util";
import { Detector } from "../../src/api/detector.ts";
import { setLogSink } from "../../src/core/log.ts";
import { Device } from "../../src/cuda/device.ts";
import { detectInLine, FrameLine } from "../../src/video/detect-video.ts";
import type { VideoFrame } from "../../src/video/video-frame.ts";
import type { VideoSource } from "../../src/video/video-source.ts";
import { recordedVideo } from "../../test/support/recorded-video.ts";
import { type ReadStream, readStream, streamNames } from "../../test/support/video-streams.ts";
import { sharedFile } from "../subject.ts";
import { medianOf, Samples, summarise } from "../support/samples.ts";
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

/** Videos that are run before cameras begin. */
const WARM_VIDEOS = 4;

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

/** What became of the frames of cameras. */
class CameraCounts {
  readonly openedMs: number = performance.now();
  /** Milliseconds from when the camera was opened to its first frame's result. */
  readonly starts = new Samples();
  /** Milliseconds from when a frame was due, by the first of its camera, to its result. */
  readonly behind = new Samples();
  /** Of each second since all were opened, frames that were dropped in it. */
  readonly droppedBySecond: number[] = [];
  readonly free: number[] = [];
  /** Of frames that are measured. */
  results = 0;
  copied = 0;
  /** Milliseconds from when the last camera had had its time until all were closed. */
  closingMs = 0;

  /** Seconds in which frames were dropped, and how many. */
  get droppedWhen(): string {
    return this.droppedBySecond.flatMap((count, second) => (count === 0 ? [] : [`${second}: ${count}`])).join(", ");
  }
}

/**
 * Cameras that are opened at once, each of which begins to send when it is asked for its first packet. Measured are the frames of so
 * many seconds from the first of each; each sends on until the last camera has had its time, and only then are they closed.
 */
async function cameras(detector: Detector, stream: ReadStream, device: Device): Promise<CameraCounts> {
  const [count, rate, length] = [Number(values.cameras), Number(values.rate), Number(values["camera-seconds"])];
  const line = new FrameLine(detector.streamAhead);
  const counts = new CameraCounts();
  const measured = length * rate;
  let running = count;
  const open = new Set<VideoSource>();
  let told = 0;
  const look = (): void => {
    const dropped = open.values().reduce((sum, video) => sum + video.dropped, 0);
    counts.droppedBySecond.push(dropped - told);
    told = dropped;
    counts.free.push(device.memory().freeBytes);
  };
  const watch = setInterval(look, 1000);
  let endedMs = 0;
  const endMeasuring = (): void => {
    clearInterval(watch);
    look();
    endedMs = performance.now();
  };
  const read = async (_: unknown, at: number): Promise<void> => {
    const timing = { rate, phaseMs: (at * 1000) / rate / count, rounds: Number.POSITIVE_INFINITY };
    await using video = await recordedVideo(stream, timing, { policy: "latest" });
    open.add(video);
    let firstMs: number | undefined;
    let isRunning = true;
    for await (const { index } of detectInLine(detector, video, {}, line)) {
      if (index >= measured - 1 && isRunning) {
        isRunning = false;
        running -= 1;
        if (running === 0) endMeasuring();
      }
      if (index >= measured) {
        if (running === 0) break;
        continue;
      }
      const now = performance.now();
      if (firstMs === undefined) counts.starts.all.push(now - counts.openedMs);
      firstMs ??= now - (index * 1000) / rate;
      counts.behind.all.push(now - firstMs - (index * 1000) / rate);
      counts.results += 1;
    }
    counts.copied += video.copied;
  };
  await Promise.all(Array.from({ length: count }, read));
  counts.closingMs = performance.now() - endedMs;
  return counts;
}

/** Print it. @returns whether each frame that is measured has a result */
async function tellCameras(detector: Detector, stream: ReadStream, device: Device): Promise<boolean> {
  let made = 0;
  let reconfigured = 0;
  setLogSink((_, text) => {
    const match = /: (\d+) decoders made, (\d+) reconfigured/.exec(text);
    made += Number(match?.[1] ?? 0);
    reconfigured += Number(match?.[2] ?? 0);
  });
  const readLoad = startLoad();
  const counts = await cameras(detector, stream, device);
  const { busy, cores } = readLoad();
  setLogSink(undefined);
  const { starts, behind, free, results, copied, droppedWhen, closingMs } = counts;
  const start = summarise(starts.all);
  const late = summarise(behind.all);
  // From the time on at which all are there.
  const steady = free.slice(Math.min(10, free.length >> 1));
  const grown = Math.round((steady[0]! - steady.at(-1)!) / 2 ** 20);
  const rss = Math.round(process.memoryUsage.rss() / 2 ** 20);
  const sent = Number(values.cameras) * Number(values.rate) * Number(values["camera-seconds"]);
  const title = `${stream.name}, ${values.cameras} cameras of ${values.rate} frames/s for ${values["camera-seconds"]} s from the first frame of each, all open until the last has had them`;
  console.log(`${title}: ${results === sent ? "KEPT" : "MISSED"}
  frames      ${results} results of ${sent} sent, ${sent - results} without one${droppedWhen === "" ? "" : ` (dropped by second: ${droppedWhen})`}, ${copied} copied to the host
  start       first result after ${Math.round(start.min)} to ${Math.round(start.max)} ms, median ${Math.round(start.p50)}; ${made} decoders made, ${reconfigured} reconfigured
  behind      the pace of its first frame: median ${late.p50.toFixed(1)} ms, p99 ${late.p99.toFixed(1)}, most ${late.max.toFixed(1)}
  closing     ${Math.round(closingMs)} ms for all of them
  memory      device ${grown} MiB more than after 10 s, RSS ${rss} MiB
  processor   JS thread ${Math.round(busy * 100)} %, ${cores.toFixed(2)} cores`);
  return results === sent;
}

using device = Device.open();
await using detector = await Detector.load(model, { backend: "gpu" });
for (const name of values.streams.split(",")) {
  const stream = readStream(name);
  for (const videos of values.videos === "none" ? [] : values.videos.split(",").map(Number)) {
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
  // What a detector makes once for frames of a kind is there before the cameras begin.
  if (values.videos === "none") await both(detector, stream, WARM_VIDEOS);
  if (!(await tellCameras(detector, stream, device))) process.exitCode = 1;
}
