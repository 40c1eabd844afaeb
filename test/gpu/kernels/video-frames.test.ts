import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FrameMemory } from "../../../src/accelerators/tensorrt/frame-memory.ts";
import type { CudaTask } from "../../../src/accelerators/tensorrt/gpu-model.ts";
import { GpuSlot } from "../../../src/accelerators/tensorrt/gpu-slot.ts";
import { GpuStreams } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import { ofVideo } from "../../../src/api/stream.ts";
import { setLogSink } from "../../../src/core/log.ts";
import type { Tensor } from "../../../src/core/tensor.ts";
import { Device } from "../../../src/cuda/device.ts";
import { type Image, imageOf } from "../../../src/image/image.ts";
import type { DetectionBlock } from "../../../src/model/rows.ts";
import type { TaskModel } from "../../../src/runtime/task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../../src/tasks/detect/detect-task.ts";
import type { NmsOptions } from "../../../src/tasks/detect/nms.ts";
import type { TaskResult } from "../../../src/tasks/task-result.ts";
import { detectVideo, type FrameDetector } from "../../../src/video/detect-video.ts";
import type { VideoFrame } from "../../../src/video/video-frame.ts";
import type { VideoOptions } from "../../../src/video/video-options.ts";
import { VideoSource } from "../../../src/video/video-source.ts";
import { FfmpegEngines } from "../../support/ffmpeg-decoder.ts";
import { isGpuMissing } from "../../support/gpu.ts";
import { StandInEngine, standInModel } from "../../support/stand-in-engine.ts";
import { FAST, ffmpeg, isFfmpegMissing } from "../../support/videos.ts";

const gpuTest = test.skipIf(isGpuMissing || isFfmpegMissing);

const SIZE = [64, 64] as const;
const INPUT = { name: "images", dtype: "f32", shape: [2, 3, 64, 64] } as const;
const ROWS = { name: "output0", dtype: "f32", shape: [2, 6, 84] } as const;

/** A slot of two rows that detects, on a stand-in for an engine. */
class SlotOnStandIn implements Disposable {
  readonly slot: GpuSlot<NmsOptions, DetectionBlock>;
  readonly #owned: DisposableStack;

  private constructor(slot: GpuSlot<NmsOptions, DetectionBlock>, owned: DisposableStack) {
    this.slot = slot;
    this.#owned = owned;
  }

  static async open(): Promise<SlotOnStandIn> {
    using owned = new DisposableStack();
    const model = {
      inputs: [INPUT],
      outputs: [ROWS],
      metadata: { task: "detect", names: "{0: 'a', 1: 'b'}", stride: "32" },
    };
    const task = await new DetectTask({ ...DEFAULT_DETECT_TASK_OPTIONS, batch: 2 }).recognise({
      model,
      source: "a stand-in",
      described: () => Promise.resolve(model),
      rangeOf: () => undefined,
      outputsFor: () => Promise.resolve([ROWS]),
    });
    const device = owned.use(Device.open());
    const engine = owned.use(new StandInEngine(device, [ROWS]));
    const loaded = standInModel(engine, device, task as TaskModel<unknown, unknown, unknown>, 2, owned);
    const part = (await task.device.cuda!()) as CudaTask<NmsOptions, DetectionBlock>;
    const streams = owned.use(new GpuStreams(loaded.engine, device, "one", 1));
    const gpu = { ...loaded, cuda: part.load(loaded, owned), streams, trace: undefined };
    return new SlotOnStandIn(owned.use(new GpuSlot(gpu, streams)), owned.move());
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

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
  ["a.ts", { startMs: 1300, durationMs: 500 }],
  ["variable.mkv", { startMs: 900, every: 3 }],
  ["a.mp4", { fps: 7 }],
  ["a.mp4", { fps: 9.5, every: 2, startMs: 1000.5, durationMs: 900 }],
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

/** What is the same of a frame on the host. */
function hostCopy(frame: VideoFrame): Image {
  const { width, height, format, yuvStandard, yuvRange } = frame;
  return imageOf(frame.data.slice(), { width, height, format, yuvStandard, yuvRange });
}

for (const [name, surfaces] of [
  ["a.mp4", 12],
  ["deep.mkv", 12],
  // Too few: frames are copied on the device.
  ["a.mp4", 2],
  ["deep.mkv", 2],
] as const) {
  gpuTest(
    `frames of ${name} in device memory are pre-processed as those on the host, without a copy: ${surfaces} surfaces`,
    async () => {
      using engines = new FfmpegEngines({ surfaces });
      using slots = await SlotOnStandIn.open();
      const input = async (images: readonly Image[]): Promise<Tensor["data"]> => {
        await slots.slot.preprocess(images, SIZE);
        return (await slots.slot.readInput()).data;
      };
      await using video = await VideoSource.open(path(name), { decode: "gpu", durationMs: 150 });
      const frames = await Array.fromAsync(video);
      expect(frames.length).toBeGreaterThan(2);
      using uploads = spyOn(FrameMemory.prototype, "upload");
      const got: Tensor["data"][] = [];
      for (const [at, frame] of frames.entries()) got.push(await input([frame, frames.at(at - 1)!]));
      expect(uploads).not.toHaveBeenCalled();
      expect(video.copied).toBe(0);
      // A surface is the frame's own, or was copied and is the decoder's again.
      expect(engines.decoders[0]!.mostHeld > 2).toBe(surfaces > 2);
      const hosts = frames.map(hostCopy);
      for (const [at, host] of hosts.entries()) expect(got[at]).toEqual(await input([host, hosts.at(at - 1)!]));
      expect(uploads).toHaveBeenCalled();
      expect(video.copied).toBe(frames.length);
      // What has been asked for may have been drawn on.
      expect(frames.map(({ resident }) => resident)).toEqual(frames.map(() => undefined));
      for (const frame of frames) frame.release();
    },
  );
}

gpuTest("a frame whose size is no longer the first is scaled to that, on the host", async () => {
  const onFrame = (frame: { width: number; height: number; timestampUs: number }): void => {
    if (frame.timestampUs > 0) Object.assign(frame, { width: 50, height: 28 });
  };
  using _ = new FfmpegEngines({ surfaces: 4, onFrame });
  await using video = await VideoSource.open(path("a.mp4"), { decode: "gpu", durationMs: 60 });
  const sizes: unknown[] = [];
  for await (using frame of video) sizes.push([frame.width, frame.height, frame.data.length, frame.resident]);
  expect(sizes).toEqual([1, 2].map(() => [102, 58, (102 * 58 * 3) / 2, undefined]));
});

gpuTest("a loop that is left, closed or aborted leaves nothing behind", async () => {
  using _ = new FfmpegEngines({ surfaces: 3 });
  for (const stop of ["break", "close", "abort"] as const) {
    const ending = new AbortController();
    await using video = await VideoSource.open(path("a.mp4"), { decode: "gpu", signal: ending.signal });
    let seen = 0;
    const reading = (async () => {
      for await (using _frame of video) {
        if (++seen < 5) continue;
        if (stop === "break") break;
        if (stop === "close") void video.close();
        else ending.abort(new Error("enough"));
      }
    })();
    if (stop === "abort") expect(await reading.catch((error: Error) => error.message)).toBe("enough");
    else await reading;
    expect(seen).toBe(5);
  }
});

/** A model on such machines that finds nothing. */
function finder(devices: readonly (number | undefined)[]): FrameDetector<TaskResult> {
  return {
    backends: devices.map((device) => ({ device })),
    async *stream(frames) {
      let index = 0;
      for await (const { width, height } of frames) {
        yield { width, height, index: index++, timing: {} } as unknown as TaskResult;
      }
    },
  };
}

gpuTest("what is to decode is chosen by the model that reads the frames, and by the option", async () => {
  using engines = new FfmpegEngines({ surfaces: 4 });
  const lines: string[] = [];
  const former = setLogSink((level, text) => void lines.push(`${level} ${text}`));
  using _ = { [Symbol.dispose]: () => setLogSink(former) };
  const decoderOf = async (options: VideoOptions, devices: readonly (number | undefined)[]): Promise<unknown> => {
    await using video = await VideoSource.open(path("a.mp4"), { durationMs: 100, ...options });
    for await (const { frame } of detectVideo(finder(devices), video)) expect(frame.index).toBeGreaterThanOrEqual(0);
    return [video.decoder, video.read, video.copied].join(" ");
  };
  expect(await decoderOf({}, [0])).toBe("gpu 3 0");
  expect(await decoderOf({ decode: "gpu" }, [undefined])).toBe("gpu 3 0");
  expect(engines.decoders.length).toBe(2);
  for (const [options, devices] of [
    [{}, [undefined]],
    [{}, []],
    [{ decode: "cpu" }, [0]],
  ] as const) {
    expect(await decoderOf(options, devices)).toBe("cpu 3 0");
  }
  const told = (): string[] => lines.filter((line) => line.includes("decoded by"));
  expect(told()).toEqual([]);
  expect(await decoderOf({}, [0, 1])).toBe("cpu 3 0");
  expect(told()).toEqual([expect.stringMatching(/^info .*a\.mp4 is decoded by ffmpeg: its frames go to 2 GPUs$/)]);
});

gpuTest("frames that only a model sees are given back as their results are taken", async () => {
  using engines = new FfmpegEngines({ surfaces: 12 });
  await using video = await VideoSource.open(path("a.mp4"), { decode: "gpu" });
  async function* open(frames: AsyncIterable<VideoFrame>): AsyncGenerator<{ index: number }, string, undefined> {
    for await (const { index } of frames) yield { index };
    return "the end";
  }
  const results = ofVideo(video, open);
  let taken = 0;
  let step = await results.next();
  for (; step.done !== true; step = await results.next()) taken += 1;
  expect([taken, step.value]).toEqual([75, "the end"]);
  expect(engines.decoders[0]!.mostHeld).toBeLessThan(9);
});
