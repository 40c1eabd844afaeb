/**
 * @module RecordParts: what the run of record measures, each part in a process of its own: a second engine with its own stream in a
 * process makes the graphs of both 0.02 to 0.035 ms slower, and who runs one model has no second one.
 */

import { Detector } from "../../src/api/detector.ts";
import type { DetectorOptions } from "../../src/api/detector-config.ts";
import { DeviceBuffer, PinnedBuffer } from "../../src/cuda/buffers.ts";
import { copyToDevice } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { EngineRun, gpuTimes } from "../gpu/engine-runs.ts";
import { overlapOf, tracedRun } from "../gpu/traced-run.ts";
import { drive } from "../support/drive.ts";
import { planOf } from "../support/engines.ts";
import { nvjpegRate } from "../support/nvjpeg-rate.ts";
import { nv12Of, pageLocked } from "../support/page-locked.ts";

/** Runs of a graph, or copies, before any is measured. */
const WARM_UP = 300;
/**
 * Frames before any is measured. JavaScriptCore compiles the way of a frame anew until about then: on an H200 frames 300 to 900 of a
 * process took 0.01 to 0.025 ms more at the median, and their 99th percentile lay as much further off.
 */
const FRAME_WARM_UP = 1500;
/** A run of two in flight whose copies are looked at takes so long. */
const TRACED_MS = 400;
/** Frames each call in flight takes before rates are measured. */
const WARM_UP_IN_FLIGHT = 20;
/** nvJPEG is set up with the first file, which takes a second and a half; then every slot takes its memory. */
const NVJPEG_WARM_UP_MS = 2500;

/** What is measured in a process of its own. */
type Part =
  | "engine"
  | "copy-rgb"
  | "copy-nv12"
  | "rgb"
  | "rgb-mapped"
  | "nv12"
  | "nv12-mapped"
  | "ordinary"
  | "rate"
  | "overlap"
  | "jpeg"
  | "nvjpeg";

/** What a part is asked for. */
export interface PartAsk {
  readonly part: Part;
  /** The engine or the ONNX model. */
  readonly source: string;
  /** A JPEG. */
  readonly image: string;
  /** How often what has a beginning and an end is measured. */
  readonly count: number;
  /** How long what has a rate is measured. */
  readonly durationMs: number;
  /** Frames in flight, where the part has some. */
  readonly inFlight?: number;
  /** Tell the stages of frames as well. */
  readonly hasStages?: boolean;
  /** How the detector runs, where that is not as usual. */
  readonly options?: Pick<DetectorOptions, "wait" | "zeroCopy">;
}

/** How a process is started. */
export interface ProcessForm {
  /** Words before its own, such as `taskset -c 2`. */
  readonly before?: readonly string[];
  readonly variables?: Readonly<Record<string, string>>;
}

const load = ({ source }: PartAsk, options: DetectorOptions): Promise<Detector> =>
  Detector.load(source, { backend: "gpu", firstEngine: "full", ...options });

/** The engine by our graph, by GPU events. */
async function measureEngine(ask: PartAsk): Promise<number[]> {
  using owned = new DisposableStack();
  const device = owned.use(Device.open(0));
  const runtime = owned.use(await Runtime.create({ device }));
  const plan = await planOf({ source: ask.source, progress() {} }, device);
  const engine = owned.use(await runtime.deserialize(plan, { source: ask.source }));
  const shape = engine.inputs[0]!.shape.map((side, axis) => (side > 0 ? side : axis === 0 ? 1 : 640));
  const run = owned.use(await EngineRun.create(device, engine, { shape }));
  run.times("graph", WARM_UP);
  return run.times("graph", ask.count);
}

/** Copies of all of a frame, by GPU events. @param share of its bytes */
async function measureCopies(ask: PartAsk, share: number): Promise<number[]> {
  const { data } = await decodeImage(ask.image);
  using owned = new DisposableStack();
  const device = owned.use(Device.open(0));
  const stream = owned.use(Stream.create(device));
  const frame = owned.use(PinnedBuffer.create("u8", [data.length], device));
  const target = owned.use(DeviceBuffer.create("u8", [data.length], { device }));
  const byteLength = Math.floor(data.length * share);
  return gpuTimes(device, stream, { warmUp: WARM_UP, count: ask.count }, () =>
    copyToDevice(target, frame, { stream, byteLength }),
  );
}

/** What is measured of each frame, where its stages are asked for: all of it, what comes before the launch, the GPU's part, the results. */
export const FRAME_STAGES = ["latency", "preprocess", "infer", "postprocess"] as const;

/** One frame at a time: its milliseconds from the call to the boxes; where stages are asked for, those of all frames after them. */
async function measureFrames(
  ask: PartAsk,
  frameOf: (image: Image, owner: DisposableStack) => Image,
): Promise<number[]> {
  using owned = new DisposableStack();
  const frame = frameOf(await decodeImage(ask.image), owned);
  await using detector = await load(ask, { inFlight: 1, ...ask.options });
  const times = new Float64Array(ask.count * FRAME_STAGES.length);
  for (let at = -FRAME_WARM_UP; at < ask.count; at++) {
    const started = performance.now();
    const { timing } = await detector.detect(frame);
    if (at < 0) continue;
    times[at] = performance.now() - started;
    times[ask.count + at] = timing.preprocess;
    times[2 * ask.count + at] = timing.infer;
    times[3 * ask.count + at] = timing.postprocess;
  }
  return [...(ask.hasStages === true ? times : times.subarray(0, ask.count))];
}

/** Frames in flight from one JS thread: frames per second. */
async function measureRate(ask: PartAsk): Promise<number[]> {
  using owned = new DisposableStack();
  const frame = pageLocked(await decodeImage(ask.image), owned);
  const { inFlight = 1, durationMs } = ask;
  await using detector = await load(ask, { inFlight });
  return (await drive(detector, frame, { inFlight, durationMs, warmUp: WARM_UP_IN_FLIGHT })).rates;
}

/** The share of the copies' time in which another frame is computed; nothing where no copy was seen. */
async function measureOverlap(ask: PartAsk): Promise<number[]> {
  using owned = new DisposableStack();
  const frame = pageLocked(await decodeImage(ask.image), owned);
  const share = overlapOf(await tracedRun(ask.source, frame, { inFlight: 2, durationMs: TRACED_MS }));
  return share === undefined ? [] : [share];
}

/** JPEG files to boxes: frames per second. */
async function measureJpeg(ask: PartAsk): Promise<number[]> {
  const bytes = await Bun.file(ask.image).bytes();
  const { inFlight = 1, durationMs } = ask;
  await using detector = await load(ask, { inFlight, jpeg: "gpu" });
  await drive(detector, bytes, { inFlight, durationMs: NVJPEG_WARM_UP_MS, warmUp: 2 });
  return (await drive(detector, bytes, { inFlight, durationMs, warmUp: 0 })).rates;
}

/** nvJPEG with nothing else to do: images per second. */
async function measureNvjpeg({ image, durationMs }: PartAsk): Promise<number[]> {
  const rates = await nvjpegRate(await Bun.file(image).bytes(), durationMs);
  if (typeof rates === "string") throw new Error(rates);
  return [...rates];
}

const PARTS: Readonly<Record<Part, (ask: PartAsk) => Promise<number[]>>> = {
  engine: measureEngine,
  "copy-rgb": (ask) => measureCopies(ask, 1),
  "copy-nv12": (ask) => measureCopies(ask, 0.5),
  rgb: (ask) => measureFrames(ask, pageLocked),
  "rgb-mapped": (ask) => measureFrames(ask, (image, owner) => pageLocked(image, owner, "mapped")),
  nv12: (ask) => measureFrames(ask, (image, owner) => pageLocked(nv12Of(image), owner)),
  "nv12-mapped": (ask) => measureFrames(ask, (image, owner) => pageLocked(nv12Of(image), owner, "mapped")),
  ordinary: (ask) => measureFrames(ask, (image) => imageOf(image.data, image)),
  rate: measureRate,
  overlap: measureOverlap,
  jpeg: measureJpeg,
  nvjpeg: measureNvjpeg,
};

/**
 * Measure a part in a process of its own.
 *
 * @returns its samples: milliseconds, frames per second, or a share
 * @throws {Error} With what the process wrote, if it failed
 */
export async function measureApart(ask: PartAsk, { before = [], variables = {} }: ProcessForm = {}): Promise<number[]> {
  const child = Bun.spawn([...before, process.execPath, import.meta.path, JSON.stringify(ask)], {
    env: { ...process.env, ...variables },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, faults] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`cannot measure ${ask.part}: ${faults.trim() || "its process died"}`);
  return JSON.parse(text.trimEnd().split("\n").at(-1)!);
}

if (import.meta.main) {
  const ask: PartAsk = JSON.parse(process.argv[2]!);
  console.log(JSON.stringify(await PARTS[ask.part](ask)));
}
