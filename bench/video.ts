/**
 * @module Video: frames per second of 1920x1080 through ffmpeg, its pipe, `VideoSource` and `VideoSink`, NV12 beside RGB.
 *
 * Usage: `bun bench/video.ts [clip.mp4]`. The two take turns, and the best of the rounds counts: other work on the machine
 * only ever makes it slower.
 */

import { closeSync, read } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTensor } from "../src/core/tensor.ts";
import { openPipe } from "../src/ffi/libc.ts";
import { YOLO_PREPROCESSING } from "../src/image/preprocessing.ts";
import { Preprocessor } from "../src/image/preprocessor.ts";
import { paintDetections } from "../src/tasks/detect/draw.ts";
import { transferAll } from "../src/video/ffmpeg.ts";
import { VideoSink } from "../src/video/video-sink.ts";
import { VideoSource } from "../src/video/video-source.ts";

const FRAMES = 300;
const ROUNDS = 4;
const PIXELS = ["nv12", "rgb"] as const;
type Pixels = (typeof PIXELS)[number];

const ROWS = Array.from({ length: 10 }, (_, at) => {
  const [x, y] = [(at % 5) * 380 + 20, Math.floor(at / 5) * 500 + 40];
  return { label: "person", score: 0.9, box: [x, y, x + 300, y + 400] as const };
});

async function testClip(): Promise<string> {
  const path = join(tmpdir(), "bun-tensorrt-bench.mp4");
  if (await Bun.file(path).exists()) return path;
  const source = `testsrc2=size=1920x1080:rate=30`;
  const words = ["-frames:v", String(FRAMES), "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", path];
  await Bun.spawn(["ffmpeg", "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, ...words]).exited;
  return path;
}

async function nowhere(clip: string): Promise<number> {
  const child = Bun.spawn(["ffmpeg", "-nostdin", "-loglevel", "error", "-i", clip, "-f", "null", "-"]);
  await child.exited;
  return FRAMES;
}

/** Raw frames into one buffer. */
async function pipe(clip: string, pixels: Pixels): Promise<number> {
  const { readEnd, writeEnd } = openPipe(2 ** 20);
  const format = pixels === "nv12" ? "nv12" : "rgb24";
  const words = ["-nostdin", "-loglevel", "error", "-i", clip, "-sws_flags", "bilinear", "-pix_fmt", format];
  Bun.spawn(["ffmpeg", ...words, "-f", "rawvideo", "pipe:3"], { stdio: ["ignore", "ignore", "inherit", writeEnd] });
  closeSync(writeEnd);
  const buffer = new Uint8Array(1920 * 1080 * (pixels === "nv12" ? 1.5 : 3));
  let frames = 0;
  while ((await transferAll(read, readEnd, buffer)) === buffer.length) frames += 1;
  closeSync(readEnd);
  return frames;
}

async function source(clip: string, pixels: Pixels): Promise<number> {
  await using video = await VideoSource.open(clip, { pixels });
  let frames = 0;
  for await (using _ of video) frames += 1;
  return frames;
}

/** Frames into the input of a model, 640x640. */
async function preprocess(clip: string, pixels: Pixels): Promise<number> {
  await using video = await VideoSource.open(clip, { pixels });
  const preprocessor = new Preprocessor(YOLO_PREPROCESSING);
  const input = createTensor("f32", [1, 3, 640, 640]);
  let frames = 0;
  for await (using frame of video) {
    preprocessor.run(frame, input, 0, preprocessor.place(frame, 640, 640));
    frames += 1;
  }
  return frames;
}

async function annotate(clip: string, pixels: Pixels): Promise<number> {
  await using video = await VideoSource.open(clip, { pixels });
  const path = join(tmpdir(), "bun-tensorrt-bench-out.mp4");
  await using sink = await VideoSink.open(path, { width: video.width, height: video.height, rate: 30 });
  for await (using frame of video) {
    paintDetections(frame, ROWS);
    await sink.write(frame, frame.timestampMs);
  }
  await sink.finish();
  return sink.written;
}

const clip = Bun.argv[2] ?? (await testClip());
for (const [name, work] of [
  ["ffmpeg to nowhere", nowhere],
  ["pipe into one buffer", pipe],
  ["VideoSource", source],
  ["VideoSource, pre-processed to 640", preprocess],
  ["VideoSource, painted, VideoSink", annotate],
] as const) {
  const best: Record<Pixels, number> = { nv12: 0, rgb: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    for (const pixels of PIXELS) {
      const started = performance.now();
      const frames = await work(clip, pixels);
      best[pixels] = Math.max(best[pixels], (frames * 1000) / (performance.now() - started));
    }
  }
  console.log(
    `${name.padEnd(36)} nv12 ${best.nv12.toFixed(0).padStart(4)}/s  rgb ${best.rgb.toFixed(0).padStart(4)}/s`,
  );
}
