/**
 * @module Cameras: a long run of several cameras that drop and come back, with tracks: memory over time, and whether each
 * frame is counted.
 *
 * Usage: `bun bench/cameras.ts [--frames 200000] [--cameras 8] [--seconds 4]`. Each camera is an RTSP server of this process,
 * which plays a clip and hangs up, time and again, and then for good; `--seconds` is the length of a connection. The detector
 * is a toy on the CPU. The exit code is 1 where a count is wrong or memory grows.
 */

import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Detector } from "../src/api/detector.ts";
import { setLogSink } from "../src/core/log.ts";
import { formatDuration } from "../src/core/units.ts";
import { detectVideos } from "../src/video/detect-video.ts";
import { VideoSource } from "../src/video/video-source.ts";
import { serveRtsp } from "../test/support/rtsp-server.ts";
import { toyDetector } from "../test/support/toy-detector.ts";

/** Frames of a connection. The clip has one more: over RTP an image ends where the next begins, and the last one never does. */
const CLIP_FRAMES = 120;
const MIB = 2 ** 20;
/** More than that between the second quarter of a run and its last is a leak. */
const GROWTH_MIB = 16;

/** Memory of the process at a time of the run. */
interface Sample {
  readonly elapsedMs: number;
  readonly frames: number;
  readonly rssMib: number;
  readonly heapMib: number;
  /** Open files and connections. */
  readonly descriptors: number;
}

/** A run of cameras. */
interface Run {
  readonly frames: number;
  readonly cameras: number;
  /** Length of a connection. */
  readonly seconds: number;
  /** Called every so many milliseconds. */
  readonly sampleMs: number;
  readonly onSample: (sample: Sample) => void;
}

/** What became of one camera. */
interface CameraCount {
  readonly name: string;
  readonly policy: "all" | "latest";
  /** What the server has played. */
  readonly sent: number;
  readonly read: number;
  readonly results: number;
  readonly dropped: number;
  readonly reconnects: number;
  readonly tracks: number;
  /** What is wrong, each a sentence. */
  readonly faults: readonly string[];
}

/** A clip whose brightness, and with it what the toy finds, comes and goes. */
async function clip(folder: string): Promise<Uint8Array> {
  const path = join(folder, "clip.ts");
  const source = "nullsrc=size=64x48:rate=30,geq=lum='140+100*cos(2*PI*N/60)':cb=128:cr=128";
  const words = ["-frames:v", String(CLIP_FRAMES + 1), "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0"];
  const child = Bun.spawn(
    ["ffmpeg", "-y", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source, ...words, "-f", "mpegts", path],
    { stderr: "inherit" },
  );
  if ((await child.exited) !== 0) throw new Error("ffmpeg made no clip");
  return readFileSync(path);
}

function sampleNow(started: number, frames: number): Sample {
  const { rss, heapUsed } = process.memoryUsage();
  const descriptors = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
  return { elapsedMs: performance.now() - started, frames, rssMib: rss / MIB, heapMib: heapUsed / MIB, descriptors };
}

/** Counts one camera's results as they come. */
class Camera {
  readonly name: string;
  readonly policy: "all" | "latest";
  readonly video: VideoSource;
  readonly #sent: () => number;
  readonly #tracks = new Set<number>();
  readonly #faults: string[] = [];
  #results = 0;
  #last = -1;
  #lastMs = -1;
  error: string | undefined;

  constructor(name: string, policy: "all" | "latest", video: VideoSource, sent: () => number) {
    this.name = name;
    this.policy = policy;
    this.video = video;
    this.#sent = sent;
  }

  take(index: number, timestampMs: number, tracks: readonly { readonly trackId: number }[]): void {
    const isNext = this.policy === "all" ? index === this.#last + 1 : index > this.#last;
    if (!isNext) this.#fault(`frame ${index} came after ${this.#last}`);
    if (timestampMs <= this.#lastMs) this.#fault(`frame ${index} is at ${timestampMs} ms, after ${this.#lastMs}`);
    this.#last = index;
    this.#lastMs = timestampMs;
    this.#results += 1;
    for (const { trackId } of tracks) this.#tracks.add(trackId);
  }

  #fault(text: string): void {
    if (this.#faults.length < 5) this.#faults.push(text);
  }

  count(): CameraCount {
    const { read, dropped, reconnects } = this.video;
    const sent = this.#sent();
    const results = this.#results;
    if (read !== sent) this.#fault(`${read} of ${sent} frames were read`);
    if (results + dropped !== read) this.#fault(`${results} results and ${dropped} dropped of ${read} read`);
    if (this.policy === "all" && dropped > 0) this.#fault(`${dropped} were dropped`);
    if (!this.error?.includes("did not come back")) this.#fault(`it ended with ${this.error ?? "no error"}`);
    const { name, policy } = this;
    return { name, policy, sent, read, results, dropped, reconnects, tracks: this.#tracks.size, faults: this.#faults };
  }
}

/** Run cameras until each has played its share of the frames, and hung up for good. */
export async function runCameras({ frames, cameras: count, seconds, sampleMs, onSample }: Run): Promise<CameraCount[]> {
  const folder = await mkdtemp(join(tmpdir(), "bun-tensorrt-cameras-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true }));
  // Each camera that hangs up is a warning.
  setLogSink(() => {});
  stack.defer(() => void setLogSink(undefined));
  const stream = await clip(folder);
  const connections = Math.max(1, Math.ceil(frames / (count * CLIP_FRAMES)));
  const detector = stack.use(await Detector.load(toyDetector(), { backend: "cpu", batch: count, batchWaitMs: 5 }));
  const cameras = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      // The first client only looks what it is.
      const server = stack.use(serveRtsp(stream, { seconds, clients: connections + 1 }));
      const policy = at % 2 === 0 ? "all" : "latest";
      const reconnect = { attempts: 2, firstDelayMs: 50 };
      const video = stack.use(await VideoSource.open(server.url, { live: true, policy, reconnect }));
      return new Camera(`camera ${at + 1}`, policy, video, () => (server.plays - 1) * CLIP_FRAMES);
    }),
  );
  const byName = new Map(cameras.map((camera) => [camera.video.name, camera]));
  const started = performance.now();
  let done = 0;
  const timer = setInterval(() => onSample(sampleNow(started, done)), sampleMs);
  stack.defer(() => clearInterval(timer));
  const results = detectVideos(
    detector,
    cameras.map(({ video }) => video),
    {
      tracker: "bytetrack",
      onError: (error, source) => {
        byName.get(source)!.error = (error as Error).message;
      },
    },
  );
  for await (const { source, index, frame, detections } of results) {
    done += 1;
    byName.get(source)!.take(index, frame.timestampMs, detections);
  }
  onSample(sampleNow(started, done));
  return cameras.map((camera) => camera.count());
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** MiB by which memory grew from the second quarter of a run to its last: the medians, as garbage comes and goes. */
export function growthOf(samples: readonly Sample[]): number {
  const quarter = Math.floor(samples.length / 4);
  const rss = samples.map(({ rssMib }) => rssMib);
  return median(rss.slice(-Math.max(1, quarter))) - median(rss.slice(quarter, Math.max(1, 2 * quarter)));
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      frames: { type: "string", default: "200000" },
      cameras: { type: "string", default: "8" },
      seconds: { type: "string", default: "4" },
    },
  });
  const [frames, cameras, seconds] = [Number(values.frames), Number(values.cameras), Number(values.seconds)];
  const sampleMs = Math.max(1000, (frames / cameras / CLIP_FRAMES) * seconds * 25);
  const samples: Sample[] = [];
  console.log("elapsed      frames    RSS MiB   heap MiB   descriptors");
  const counts = await runCameras({
    frames,
    cameras,
    seconds,
    sampleMs,
    onSample(sample) {
      samples.push(sample);
      const { elapsedMs, frames: done, rssMib, heapMib, descriptors } = sample;
      const cells = [String(done).padStart(10), rssMib.toFixed(1).padStart(10), heapMib.toFixed(1).padStart(10)];
      console.log(formatDuration(elapsedMs).padEnd(9) + cells.join(" ") + String(descriptors).padStart(14));
    },
  });
  console.log("\ncamera       policy     sent     read  results  dropped  reconnects  tracks");
  for (const { name, policy, sent, read, results, dropped, reconnects, tracks, faults } of counts) {
    const cells = [sent, read, results, dropped].map((value) => String(value).padStart(8)).join(" ");
    console.log(`${name.padEnd(12)} ${policy.padEnd(6)} ${cells} ${String(reconnects).padStart(11)} ${tracks}`);
    for (const fault of faults) console.log(`  wrong: ${fault}`);
  }
  const growth = growthOf(samples);
  console.log(`\nRSS grew by ${growth.toFixed(1)} MiB from the second quarter to the last`);
  return counts.some(({ faults }) => faults.length > 0) || growth > GROWTH_MIB ? 1 : 0;
}

if (import.meta.main) process.exit(await main());
